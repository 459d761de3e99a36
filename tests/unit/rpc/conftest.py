from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.unit.identity import small_federation
from tests.unit.identity.small_federation import under
from tests.unit.rpc.echo import Echo

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.certificates import LocalAuthority
    from concordat.identity.home import Home


@dataclass(frozen=True)
class Parties:
    """A custodian that serves, a node and a gateway that call, all under an authority that the test holds."""

    authority: LocalAuthority
    custodian: Home
    node: Home
    gateway: Home


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_federation.make(tmp_path_factory.mktemp("rpc") / "federation")


@pytest.fixture(scope="session")
def parties(folders: Path) -> Parties:
    authority = small_federation.authority()
    load = small_federation.home
    return Parties(
        authority=authority,
        custodian=under(load(folders, "custodian/c1"), authority),
        node=under(load(folders, "node/NL"), authority),
        gateway=under(load(folders, "gateway/g1"), authority),
    )


@pytest.fixture
def echo() -> Echo:
    return Echo()
