from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import ManualClock, SystemClock
from services.custodian.service import open_custodian
from tests.unit.custodian.running import BUDGETS, elements, home_of, make_federation, request_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concordat.identity.home import Home
    from concordat.wire.v1.custodian_pb2 import EvaluateRequest
    from services.custodian.core import Custodian


@pytest.fixture(scope="session")
def small_quotas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_federation(tmp_path_factory.mktemp("custodian") / "small", budgets=BUDGETS)


@pytest.fixture(scope="session")
def large_quotas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_federation(tmp_path_factory.mktemp("custodian") / "large")


class Bench:
    """Custodian c1 of a fresh copy of a federation, and requests of NL to it; may be stopped and opened again."""

    def __init__(self, federation: Path) -> None:
        self.path = federation / "custodian/c1"
        self.home: Home = home_of(federation, "custodian/c1")
        self.node: Home = home_of(federation, "node/NL")
        self.other: Home = home_of(federation, "node/DE")
        self.clock = ManualClock(SystemClock().now() // 86_400 * 86_400 + 43_200)
        self._stack = ExitStack()
        self.custodian: Custodian = self._open()

    def _open(self) -> Custodian:
        return self._stack.enter_context(open_custodian(self.home, clock=self.clock))

    def close(self) -> None:
        self._stack.close()

    def reopen(self) -> None:
        self.close()
        self.custodian = self._open()

    def request(self, count: int = 10, *, node: Home | None = None, **changed: Any) -> EvaluateRequest:
        asker = node or self.node
        key = changed.pop("key", asker.signing_key)
        fields = {
            "requester": asker.identity,
            "custodian": str(self.home.identity),
            "now": self.clock.now(),
            "blinded": elements(count),
            **changed,
        }
        return request_of(asker.manifest, key, **fields)

    def used(self, key_class: str = "strong") -> int:
        found = {one.key_class: one.used for one in self.custodian.quota_of(self.node.identity)}
        return found[key_class]


@pytest.fixture
def bench(small_quotas: Path, tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "federation"
    shutil.copytree(small_quotas, folder)
    opened = Bench(folder)
    yield opened
    opened.close()
