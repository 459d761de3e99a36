"""Parties and a service to call, as the tests of `concordat.rpc` have them."""

from tests.unit.rpc.conftest import echo, folders, parties

__all__ = ["echo", "folders", "parties"]
