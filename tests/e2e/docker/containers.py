"""A federation in containers, as tests handle it: commands in a container, networks cut, processes killed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOME: Final = "/var/lib/concordat"
CASE: Final = f"{HOME}/case.toml"
COMMAND_S: Final = 120
SERVICES: Final = (
    "custodian-1",
    "custodian-2",
    "custodian-3",
    "ledger",
    "gateway",
    "console",
    "node-nl",
    "node-ro",
)


def run(command: Sequence[str], *, stdin: str = "", codes: Sequence[int] = (0,)) -> str:
    """Run a command of this machine and return its standard output."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert done.returncode in codes, f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Containers:
    """The services of deploy/compose.yaml under one project name."""

    project: str
    compose_command: tuple[str, ...]
    local: Path
    """Where the parties' folders are on this machine."""

    def compose(self, *arguments: str, stdin: str = "", codes: Sequence[int] = (0,)) -> str:
        """Run a command of docker compose."""
        return run((*self.compose_command, *arguments), stdin=stdin, codes=codes)

    def execute(self, service: str, *command: str, stdin: str = "", codes: Sequence[int] = (0,)) -> str:
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *command, stdin=stdin, codes=codes)

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.project}-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        found: list[dict[str, Any]] = json.loads(run(("docker", "inspect", self.container(service))))
        return found[0]

    def health(self, service: str) -> str:
        """Return the health of a service's container."""
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def kill(self, service: str) -> None:
        """End a service as a power cut would."""
        run(("docker", "kill", "--signal", "KILL", self.container(service)))

    def start(self, *services: str) -> None:
        """Start what was killed, and wait until it is healthy."""
        self.compose("up", "-d", "--no-recreate", "--wait", *services)

    def disconnect(self, service: str, network: str) -> None:
        """Take a service out of a network; what it had open there is gone."""
        run(("docker", "network", "disconnect", f"{self.project}_{network}", self.container(service)))

    def connect(self, service: str, network: str) -> None:
        """Put a service back into a network."""
        name = f"{self.project}_{network}"
        run(("docker", "network", "connect", "--alias", service, name, self.container(service)))

    def logs(self, *services: str) -> str:
        """Return what the services have said."""
        return self.compose("logs", "--no-color", "--tail", "60", *services)

    def node(self, name: str, *command: str, stdin: str = "") -> dict[str, Any]:
        """Run a command of `concordat node` in a node's container and return the object that it prints."""
        options = ("--home", HOME, "--json")
        found: dict[str, Any] = json.loads(
            self.execute(f"node-{name}", "concordat", "node", *command, *options, stdin=stdin)
        )
        return found

    def check(self, name: str, address: str) -> dict[str, Any]:
        """Check and keep one e-mail address at a node."""
        return self.node(name, "check", "-", "--kind", "email", "--case", CASE, stdin=f"{address}\n")

    def keep(self, name: str, address: str) -> None:
        """Store one e-mail address at a node, without waiting for anything."""
        self.node(name, "check", "-", "--kind", "email", "--case", CASE, "--no-wait", stdin=f"{address}\n")

    def partner(self, *addresses: str) -> dict[str, Any]:
        """Check e-mail addresses as the partner does, in containers that end with their answer."""
        command = ("run", "--rm", "-T", "partner", "partner")
        if not (self.local / "federation/partner/IJM/justification.toml").exists():
            self.compose(*command, "justification", f"{HOME}/justification.toml")
        asked = self.compose(*command, "check", "-", "--home", HOME, "--json", stdin="\n".join(addresses))
        found: dict[str, Any] = json.loads(asked)
        return found

    def matches(self, name: str, address: str) -> list[Mapping[str, Any]]:
        """Return a node's matches of one e-mail address."""
        return [one for one in self.node(name, "matches")["matches"] if one["typed"] == address]

    def condition(self, name: str) -> str:
        """Return why a node has no session; empty while it has one."""
        found = self.node(name, "status")["conditions"]
        return next((str(one["text"]) for one in found if one["name"] == "session"), "")
