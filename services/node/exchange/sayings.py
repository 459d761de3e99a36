"""What this node says of a batch that is about to leave: who may be told of each item, and its group tags (3.4 (1)).

Read from the records at each send, so that a record that was withdrawn, hidden or opened since counts as it is now. A
value that no live record lets be compared is not asked about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES, column
from services.node.exchange.audience import Audiences, audience_columns, read_policy
from services.node.exchange.coincidence import group_tag

if TYPE_CHECKING:
    from collections.abc import Collection

    from concordat.wire.v1 import check_pb2 as wire
    from services.node.exchange.identity import Identity
    from services.node.store.rows import Batch
    from services.node.store.store import Store


@dataclass(frozen=True, slots=True)
class Said:
    """A batch as it leaves.

    Attributes:
        batch: With the items that leave; it may be empty.
        sets: Audience sets, at most 255.
        audiences: Index of each item's set, or empty where all have the first.
        tags: Group tags, 16 bytes an item.
        over: References of the items for which no set was left; they have to leave in another batch.
    """

    batch: Batch
    sets: tuple[wire.AudienceSet, ...]
    audiences: bytes
    tags: bytes
    over: tuple[bytes, ...]


class Sayings:
    """Says it for one node under one manifest."""

    def __init__(self, identity: Identity, store: Store) -> None:
        self._audiences = Audiences(identity.manifest.party_by_id(identity.spiffe), identity.manifest)
        self._store = store
        self._tag_key = b""

    def of(self, batch: Batch) -> Said:
        """Return what is said of a batch now."""
        values = self._store.asked_values(batch)
        compared = {
            policies: any(read_policy(one).compared for one in policies)
            for policies in {value.policies for value in values.values()}
        }
        references = column(batch.references, REFERENCE_BYTES)
        leaving = [
            at
            for at, reference in enumerate(references)
            if (value := values.get(reference)) is not None and compared[value.policies]
        ]
        wanted = [self._audiences.of(values[references[at]].policies) for at in leaving]
        sets, audiences, over = audience_columns(wanted)
        late = {leaving[at] for at in over}
        leaving = [at for at in leaving if at not in late]
        self._tag_key = self._tag_key or self._store.tag_key()
        tags = [group_tag(self._tag_key, values[references[at]].place, values[references[at]].uid) for at in leaving]
        return Said(
            batch=_part(batch, leaving),
            sets=tuple(sets),
            audiences=audiences,
            tags=b"".join(tags),
            over=tuple(references[at] for at in sorted(late)),
        )


def _part(batch: Batch, chosen: Collection[int]) -> Batch:
    if len(chosen) == batch.count:
        return batch

    def rows(packed: bytes, width: int) -> bytes:
        return b"".join([packed[at * width : (at + 1) * width] for at in chosen])

    return replace(
        batch,
        tokens=rows(batch.tokens, TOKEN_BYTES),
        references=rows(batch.references, REFERENCE_BYTES),
        secrets=rows(batch.secrets, SECRET_BYTES),
        grades=rows(batch.grades, 1),
    )
