"""`concordat gateway renew-ledger`: the operator has put the ledger back from a copy and says so (C10)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from concordat.cli import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_renewal_is_another_ledger_with_what_it_held(
    federation_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = next((federation_folder / "gateway").iterdir())

    def gateway(command: str) -> dict[str, object]:
        code = run(["gateway", command, "--home", str(home), "--ledger", str(tmp_path / "ledger.db"), "--json"])
        assert code == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    before = gateway("status")
    first, second = gateway("renew-ledger"), gateway("renew-ledger")
    assert first["after"] == second["before"]
    assert len({first["before"], first["after"], second["after"]}) == 3
    assert gateway("status") == before
