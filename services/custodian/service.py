"""From a folder to a custodian, and from a custodian to a server."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from concordat.identity.manifest import KeyClass
from concordat.identity.names import Role
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import BoundServer, ServerSettings, build_server
from concordat.wire.v1.custodian_pb2_grpc import add_CustodianServiceServicer_to_server
from services.custodian.core import Custodian
from services.custodian.journal import FILE_NAME, Journal
from services.custodian.quotas import QuotaStore
from services.custodian.servicer import CustodianServicer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concordat.clock import Clock
    from concordat.identity.home import Home

_log = logging.getLogger(__name__)


@contextmanager
def open_custodian(home: Home, *, clock: Clock) -> Iterator[Custodian]:
    """Give the custodian of a folder, with every share of an epoch in force.

    Raises:
        ConfigError: A share, the quota store or the log is missing, too open or damaged.
        IdentityError: The folder is not a custodian's, or a share is not the one that the manifest names.
    """
    shares = {(epoch, key_class): home.share(epoch, key_class) for epoch, key_class in _keys(home)}
    journal = Journal(home.path / FILE_NAME)
    quotas = QuotaStore.open(home.path, now=clock.now(), used_before=journal.used)
    if quotas.restored:
        _log.error("the quotas were put back from a copy or moved; this UTC day counts as spent for every authority")
    try:
        yield Custodian(home.identity, home.manifest, shares, quotas, journal, clock)
    finally:
        quotas.close()
        journal.close()


def _keys(home: Home) -> Iterator[tuple[int, KeyClass]]:
    for epoch in home.manifest.epochs.in_force:
        for key_class in KeyClass:
            yield epoch, key_class


def server_of(custodian: Custodian, home: Home, settings: ServerSettings) -> BoundServer:
    """Return a server with its port bound, not yet started.

    Raises:
        ConfigError: The address cannot be bound.
    """
    return build_server(
        settings,
        home=home,
        table=grpc_table(Role.CUSTODIAN),
        known=home.manifest.knows,
        add=lambda server: add_CustodianServiceServicer_to_server(CustodianServicer(custodian), server),
    )
