"""The command line: one line or one object for every error, and an exit code that says whose fault it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concordat.cli import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_federation_is_made_and_a_folder_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "f"
    assert run(["federation", "init", str(folder), "--nodes", "NL,DE,EUROPOL", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["nodes"], made["custodians"], made["threshold"]) == (["NL", "DE", "EUROPOL"], 3, 2)
    assert run(["federation", "check", str(folder / "node/NL"), "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["identity"] == "spiffe://concordat.example/node/NL"
    assert (checked["manifest"], checked["root_keys"]) == (made["manifest"], made["root_keys"])
    assert run(["federation", "check", str(folder / "custodian/c1")]) == 0
    assert checked["root_keys"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["federation", "init", "DIR", "--nodes", "ACME"], "bad_input"),
        (["federation", "init", "DIR", "--nodes", "NL", "--threshold", "4"], "bad_input"),
        (["federation", "init", "DIR", "--nodes", "NL", "--custodians", "many"], "bad_input"),
        (["federation", "init", "DIR"], "bad_input"),
        (["federation", "check", "DIR"], "bad_config"),
        (["federation", "nothing"], "bad_input"),
        (["nothing"], "bad_input"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(tmp_path / "nowhere") if one == "DIR" else one for one in arguments]
    assert run(given) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("concordat: ")
    assert told.err.endswith(f"[{code}]\n")
    assert told.err.count("\n") == 1
    assert run([*given, "--json"]) == 2
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert error["code"] == code
    assert error["message"]
    assert told.err == ""


def test_another_error_is_exit_code_1(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = federation / "node/NL/manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "AAAA', 1))
    assert run(["federation", "check", str(path.parent)]) == 1
    assert capsys.readouterr().err.endswith("[bad_signature]\n")


def test_help_and_version_need_no_extra() -> None:
    program = (
        "import sys, concordat.cli as c; assert c.run(['--help']) == 0; assert c.run(['--version']) == 0; "
        "assert not {'numpy', 'sqlalchemy', 'phonenumbers', 'demo', 'gateway'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "federation", "custodian", "gateway", "node", "oprf"):
        assert command in done.stdout


def test_no_command_leaves_its_memory_in_a_core_file() -> None:
    """Keys, labels and match secrets are in it; and the hub writes no token anywhere (I2)."""
    program = (
        "import resource, sys, concordat.cli as c\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_CORE); resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "try: c.main(['--version'])\n"
        "except SystemExit: print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("(0, 0)\n"), done.stderr


@pytest.mark.parametrize(
    ("module", "told"),
    [("sqlalchemy", "with the extra [gateway]"), ("gateway.cli", "has no 'gateway' yet")],
)
def test_a_command_whose_packages_are_missing_is_one_line_that_says_what_to_do(module: str, told: str) -> None:
    # None in sys.modules is how Python marks a module as one that cannot be imported.
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import types, importlib.abc, importlib.machinery\n"
        "class Stub(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        return importlib.machinery.ModuleSpec(name, self) if name == 'gateway.cli' else None\n"
        "    def exec_module(self, module): import sqlalchemy\n"
        "sys.meta_path.insert(0, Stub())\n"
        "import concordat.cli as c; sys.exit(c.run(['gateway', 'status']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
