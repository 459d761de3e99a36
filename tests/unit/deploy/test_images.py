"""What the images are built from: each role's part of the lock is all that its extra needs, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.deploy.rendered import ROOT

ROLES: Final = ("custodian", "gateway", "node", "console", "partner")
LOCKS: Final = (*ROLES, "fast")
FAST: Final = {"custodian", "node"}
DOCKERFILE: Final = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")


def role_lock(role: str) -> str:
    """Return a role's part of the lock."""
    command = (sys.executable, str(ROOT / "scripts/role-lock"), role)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def named(lock: str) -> set[str]:
    """Return the packages of a lock that this Python would install."""
    lines = (line.removesuffix("\\") for line in lock.splitlines() if re.match(r"\w", line))
    found = (Requirement(line.strip()) for line in lines)
    return {canonicalize_name(one.name) for one in found if one.marker is None or one.marker.evaluate()}


def needs_of(name: str, extra: str) -> list[str]:
    """Return what an installed package says that it needs; for ours, what pyproject.toml says."""
    if name == "concordat":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return [*project["dependencies"], *project["optional-dependencies"][extra]]
    return requires(name) or []


def closure(role: str) -> set[str]:
    """Return all packages that our own needs with an extra."""
    todo = [("concordat", role)]
    seen = set(todo)
    while todo:
        name, extra = todo.pop()
        for one in map(Requirement, needs_of(name, extra)):
            if one.marker is not None and not one.marker.evaluate({"extra": extra}):
                continue
            for wanted in ((canonicalize_name(one.name), each) for each in (one.extras or {""})):
                if wanted not in seen:
                    seen.add(wanted)
                    todo.append(wanted)
    return {name for name, _ in seen} - {"concordat"}


HEALTHCHECK: Final = re.compile(r"^HEALTHCHECK (.*)", re.MULTILINE)


@pytest.mark.parametrize("role", LOCKS)
def test_a_roles_lock_is_what_its_extra_needs(role: str) -> None:
    assert named(role_lock(role)) == closure(role)


@pytest.mark.parametrize("role", LOCKS)
def test_every_package_is_held_to_a_hash_and_to_the_version_that_is_tested(role: str) -> None:
    lock = role_lock(role)
    blocks = re.split(r"\n(?=\w)", lock.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    for line in (block.splitlines()[0].removesuffix("\\").strip() for block in blocks):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate():
            assert distribution(wanted.name).version in wanted.specifier


def test_there_is_no_part_for_a_role_that_is_none() -> None:
    command = (sys.executable, str(ROOT / "scripts/role-lock"), "../../etc")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("role", ROLES)
def test_an_image_ends_as_nobody_with_the_command_of_its_role(role: str) -> None:
    stage = DOCKERFILE.partition(f"FROM runtime AS {role}\n")[2].partition("\nFROM ")[0]
    assert f"COPY --from=build-{role} " in stage
    assert f'CMD ["{role}"' in stage
    assert "USER" not in stage
    # From `runtime`, unless the role's own stage says it differently.
    runtime = DOCKERFILE.partition(" AS runtime\n")[2].partition("\nFROM ")[0]
    (checked,) = re.findall(r"^HEALTHCHECK (.*)", stage, re.MULTILINE) or re.findall(
        r"^HEALTHCHECK (.*)", runtime, re.MULTILINE
    )
    assert (checked == "NONE") == (role == "partner")


@pytest.mark.parametrize("file", ["deploy/docker/Dockerfile", "tests/e2e/docker/postgres/Dockerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    command = (Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", ROOT / file)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_build_needs_no_frontend_and_no_network() -> None:
    assert "# syntax" not in DOCKERFILE
    assert "PIP_NO_INDEX=1" in DOCKERFILE
    assert "USER 10001:10001" in DOCKERFILE
    assert DOCKERFILE.count("--require-hashes") == DOCKERFILE.count("-r /locks/") == 2 + len(ROLES) - 1 + len(FAST)
    assert DOCKERFILE.count("pip install") == DOCKERFILE.count("--require-hashes") + 1


@pytest.mark.parametrize("role", ROLES)
def test_who_makes_or_evaluates_many_tokens_has_compiled_code_and_nobody_else(role: str) -> None:
    stage = DOCKERFILE.partition(f"FROM build AS build-{role}\n")[2].partition("\nFROM ")[0]
    assert stage
    assert ("/locks/fast.txt" in stage) == (role in FAST)
    assert ("numba" in named(role_lock(role))) is False


def test_no_image_keeps_compiled_code_nor_loads_any(tmp_path: Path) -> None:
    """Under the settings of the image, with a home that can be written, as in a container."""
    settings = dict(re.findall(r"(NUMBA_\w+)=(\S+)", DOCKERFILE))
    assert settings
    program = "from small import add; print(add(1))"
    (tmp_path / "small.py").write_text(
        "from concordat.oprf.fast.compiler import kernel\n\n\n@kernel('int64(int64)')\ndef add(a):\n    return a + 1\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    where = {"PATH": "/usr/bin", "HOME": str(home), "PYTHONPATH": f"{ROOT}:{tmp_path}"}

    def kept(**more: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", program], env={**where, **more}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "2\n"
        return len([*tmp_path.rglob("*.nbi"), *tmp_path.rglob("*.nbc")])

    assert kept(**settings) == 0
    # Without them there would be something to load next time.
    assert kept() > 0
