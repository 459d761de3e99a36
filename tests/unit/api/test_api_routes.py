"""I8: no route without a scope can be made, and what no route names is refused with a problem."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import FastAPI

from concordat.api.model import Scope
from concordat.errors import CATALOGUE
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.app import require_guarded
from gateway.api.problems import STATUS


def test_every_code_of_the_catalogue_has_a_status_and_no_other() -> None:
    assert set(STATUS) == set(CATALOGUE)


def test_a_route_without_a_scope_cannot_be_made() -> None:
    router = guarded_router()
    with pytest.raises(ValueError, match="exactly one scope"):

        @router.get("/v1/forgotten")
        async def forgotten() -> None: ...


def test_a_route_with_two_scopes_cannot_be_made() -> None:
    router = guarded_router()
    with pytest.raises(ValueError, match="exactly one scope"):

        @router.get("/v1/both")
        async def both(
            one: Annotated[Caller, caller(Scope.QUERY)], two: Annotated[Caller, caller(Scope.REPORT)]
        ) -> None: ...


def test_an_app_with_a_route_of_another_kind_is_refused() -> None:
    app = FastAPI()
    with pytest.raises(ValueError, match="guarded_router"):
        require_guarded(app)
