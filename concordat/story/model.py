"""The file of a story: what each party signed, was certified and was told, and what the teller says happened.

It holds signed bytes, random references and times; no identifier, token, label or secret is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from concordat.config import explain
from concordat.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MAX_STORY_BYTES: Final = 64 << 20
MAX_ENTRIES: Final = 100_000

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=1 << 20)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,63}$")]
State = Literal["covered", "timed_out", "offline", "outside"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SentCheck(_Part):
    """A question that a party signed, and the certificate that came."""

    header: Base64
    certificate: Base64 | None = None


class PartyPart(_Part):
    """What one node's store shows; `notices` is its list as it came, in order."""

    party: Name
    checks: tuple[SentCheck, ...] = Field(default=(), max_length=MAX_ENTRIES)
    notices: tuple[Base64, ...] = Field(default=(), max_length=MAX_ENTRIES)


class Act(_Part):
    """One thing that was done, in order; what follows it until the next act came of it."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    at_ms: int = Field(ge=0, description="Unix milliseconds at which it began.")


class Claim(_Part):
    """What the teller says of one act, by its number from 1.

    `told`: the party was told `times` times of the other. `state`: the party's last certificate of the act says so of
    the other. `withdrawn`: the party was told that the other withdrew. `receipt`: the party got the other's receipt.
    """

    act: int = Field(ge=1)
    kind: Literal["told", "state", "withdrawn", "receipt"]
    party: Name
    other: Name
    times: int = Field(default=1, ge=0, le=1000)
    state: State | None = None


class Story(_Part):
    """A story; the manifest is the signed envelope that every party holds."""

    version: Literal[1] = 1
    manifest: Base64
    parties: tuple[PartyPart, ...] = Field(max_length=256)
    acts: tuple[Act, ...] = Field(default=(), max_length=1000)
    claims: tuple[Claim, ...] = Field(default=(), max_length=10_000)


def load_story(path: Path) -> Story:
    """Read a story.

    Raises:
        InputError: It cannot be read, is too large, or is no story; the field is named.
    """
    try:
        size = path.stat().st_size
        if size > MAX_STORY_BYTES:
            raise InputError(f"{path}: a story has at most {MAX_STORY_BYTES} bytes", code="too_large")
        return Story.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise InputError(f"{path}: is no story: {explain(error)}") from None
