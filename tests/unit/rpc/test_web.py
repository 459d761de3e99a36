"""A port on all addresses of a host, or a refusal that says so."""

from __future__ import annotations

import socket

import pytest

from concordat.errors import ConfigError
from concordat.web import bind


def test_a_port_is_bound_on_every_address_of_a_host_or_not_at_all() -> None:
    sockets = bind("localhost:0")
    (port,) = {one.getsockname()[1] for one in sockets}
    with socket.create_connection(("127.0.0.1", port)):
        pass
    with pytest.raises(ConfigError, match=f"localhost:{port}: in use"):
        bind(f"localhost:{port}")
    for one in sockets:
        one.close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="not of this machine"):
        bind("192.0.2.1:0")
