"""The operations that this node has opened or signed: charter and key in its folder (3.6 (1)).

    operations/ID.charter   as signed
    operations/ID.key       the operation key, 0600

A node acts on what it keeps here, never on what the gateway says of an operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError, IdentityError, InputError
from concordat.identity.files import read_private, read_public, write_private, write_public
from concordat.protocol.charter import OPERATION_ID, charter_hash, parse_charter
from concordat.tokens import MASK_KEY_BYTES, MaskKey

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.wire.v1 import operations_pb2 as wire

FOLDER: Final = "operations"
_CHARTER: Final = ".charter"


@dataclass(frozen=True, slots=True)
class HeldOperation:
    """An operation whose charter this node has checked, with its key."""

    raw: bytes
    charter: wire.Charter
    key: MaskKey

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 of the charter."""
        return charter_hash(self.raw)


class NotSignedError(ConfigError):
    """This node has not signed such an operation; all else that is wrong with one that it has is another error."""


def load_operation(home: Path, operation: str) -> HeldOperation:
    """Return an operation that this node has opened or signed.

    Raises:
        NotSignedError: There is none.
        ConfigError: Its files cannot be read, or its key file is too open or another than the charter names.
    """
    path = charter_path(home, operation)
    try:
        raw = read_public(path)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise NotSignedError(f"{path}: no such operation was signed here") from error
        raise
    charter = parse_charter(raw)
    key = read_private(_key_path(home, operation))
    if len(key) != MASK_KEY_BYTES or MaskKey(key).hash != charter.operation_key_hash:
        raise ConfigError(f"{_key_path(home, operation)}: not the key that the charter names")
    return HeldOperation(raw, charter, MaskKey(key))


def held_charters(home: Path) -> list[wire.Charter]:
    """Return all charters that this node has opened or signed, ascending by id."""
    return [parse_charter(read_public(path)) for path in sorted((home / FOLDER).glob(f"*{_CHARTER}"))]


def exercise_of(home: Path, operation: str) -> str:
    """Return the domain of values that are submitted for an operation: its id in an exercise, else ''.

    A charter that is not here makes nothing an exercise: what is submitted for it is real, and stays out of its sweep
    should it turn out to be one.
    """
    if not operation or not OPERATION_ID.fullmatch(operation) or not charter_path(home, operation).exists():
        return ""
    return operation if parse_charter(read_public(charter_path(home, operation))).exercise else ""


def require_running(home: Path, operation: str, *, now: float) -> None:
    """Refuse what would be submitted for an exercise that is over, and be wiped or taken for real.

    Raises:
        InputError: With code `exercise_over`.
    """
    if exercise_of(home, operation) and parse_charter(read_public(charter_path(home, operation))).ends_at < now:
        raise InputError(f"the exercise {operation} is over: nothing is submitted for it", code="exercise_over")


def ended_exercises(home: Path, *, now: float) -> list[str]:
    """Return the exercises that this node took part in and that are over, ascending by id."""
    return [one.operation for one in held_charters(home) if one.exercise and one.ends_at < now]


def ended_operations(home: Path, *, now: float) -> list[str]:
    """Return the operations, exercises too, that this node took part in and that are over, ascending by id."""
    return [one.operation for one in held_charters(home) if one.ends_at < now]


def forget_key(home: Path, operation: str) -> None:
    """Delete the key of an operation that is over.

    Its charter stays: without it, what somebody submits for it by mistake would be taken for real.
    """
    _key_path(home, operation).unlink(missing_ok=True)


def keep_operation(home: Path, held: HeldOperation) -> None:
    """Keep a charter and its key before its signature leaves.

    Raises:
        IdentityError: Another charter was signed under this id before.
    """
    operation = held.charter.operation
    path = charter_path(home, operation)
    if path.exists() and read_public(path) != held.raw:
        raise IdentityError("another charter was signed under this operation's id before")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(_key_path(home, operation), held.key.secret())
    write_public(path, held.raw)


def charter_path(home: Path, operation: str) -> Path:
    """Return where a charter is kept.

    Raises:
        InputError: The id is none; it would become a file name.
    """
    return _folder(home, operation) / f"{operation}{_CHARTER}"


def _key_path(home: Path, operation: str) -> Path:
    return _folder(home, operation) / f"{operation}.key"


def _folder(home: Path, operation: str) -> Path:
    # The id comes from the gateway and becomes a file name.
    if not OPERATION_ID.fullmatch(operation):
        raise InputError("an operation's id has at most 64 letters, digits, dots, hyphens and underscores")
    return home / FOLDER
