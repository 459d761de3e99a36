"""Every method that the generated code knows, and what docs/protocol.md says of each."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grpc_health.v1 import health_pb2

import concordat.wire.v1
from concordat.identity.names import Role
from concordat.rpc.method_page import BEGIN, END

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

PAGE: Final = Path(__file__).parents[3] / "docs" / "protocol.md"


def files() -> list[FileDescriptor]:
    """Return the descriptors of every generated file, whatever it is called."""
    names = [one.name for one in pkgutil.iter_modules(concordat.wire.v1.__path__) if one.name.endswith("_pb2")]
    return [importlib.import_module(f"concordat.wire.v1.{name}").DESCRIPTOR for name in sorted(names)]


def methods() -> dict[str, MethodDescriptor]:
    """Return every method, the health service's with them."""
    services = [one for file in (*files(), health_pb2.DESCRIPTOR) for one in file.services_by_name.values()]
    return {f"/{service.full_name}/{one.name}": one for service in services for one in service.methods}


def in_the_page() -> dict[tuple[str, str], frozenset[Role]]:
    """Return (server, method) -> roles that docs/protocol.md lets in, read from its text alone."""
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    found = {}
    for line in text.strip().splitlines()[2:]:
        name, servers, _, who = (cell.strip() for cell in line.strip("|").split(" | "))
        name = name.strip("`")
        roles = {
            Role(role.strip()) for part in who.split("; ") if ":" in part for role in part.partition(":")[0].split(",")
        }
        grpc = "/" in name and " " not in name
        full = name if name.startswith("/") or not grpc else f"/concordat.wire.v1.{name}"
        for server in servers.split(", "):
            found[server, full] = frozenset(roles)
    return found
