"""One federation in containers for all tests of this folder; without DOCKER_HOST they are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.docker.containers import CASE, Containers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
# The images are built in the first test's time.
TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: it needs an engine, and shares one federation."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.docker)
        item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        if "DOCKER_HOST" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="DOCKER_HOST names no container engine"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what the containers said."""
    report = yield
    found = getattr(item, "funcargs", {}).get("containers")
    if report.failed and isinstance(found, Containers):
        report.sections.append(("containers", found.logs()))
    return report


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build the images, make the parties' folders, and give the folder that has them."""
    folder = tmp_path_factory.mktemp("containers")
    settings = {
        "CONCORDAT_LOCAL": str(folder / "local"),
        "CONCORDAT_POSTGRES": os.environ.get("CONCORDAT_POSTGRES", "postgres:15"),
        # Free ports: this machine may run a federation already.
        "CONCORDAT_API": "127.0.0.1:",
        "CONCORDAT_CONSOLE": "127.0.0.1:",
        # A check costs half a second of CPU in each of seven containers.
        "CONCORDAT_HEALTH_INTERVAL": "8s",
    }
    (folder / "settings.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    for script in ("images", "compose-init"):
        subprocess.run([ROOT / "scripts" / script], env={**os.environ, **settings}, check=True, timeout=TIMEOUT_S)
    yield folder / "local"
    # Its files belong to the users of the containers; whoever reaches the engine's socket is root or as good as root.
    shutil.rmtree(folder / "local", ignore_errors=True)


@pytest.fixture(scope="session")
def docker_compose_command(local: Path) -> str:
    return f"docker compose --env-file {local.parent}/settings.env"


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(ROOT / "deploy" / "compose.yaml")


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up -d --wait"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["down --volumes --timeout 5"]


@pytest.fixture(scope="session")
def containers(
    local: Path,
    docker_compose_command: str,
    docker_compose_file: str,
    docker_compose_project_name: str,
    request: pytest.FixtureRequest,
) -> Containers:
    """Start the federation; nodes have a case profile."""
    command = (*docker_compose_command.split(), "-f", docker_compose_file, "-p", docker_compose_project_name)
    found = Containers(docker_compose_project_name, command, local)
    try:
        request.getfixturevalue("docker_services")
    except Exception as error:
        # pytest-docker tears nothing down where its start failed.
        error.add_note(found.logs())
        found.compose("down", "--volumes", "--timeout", "5")
        raise
    for node in ("node-nl", "node-ro"):
        found.execute(node, "concordat", "node", "case", "new", CASE)
    return found
