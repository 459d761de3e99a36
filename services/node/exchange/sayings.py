"""What this node says of a batch that is about to leave: who may be told of each item, and its group tags (3.4 (1)).

Read from the records at each send, so that a record that was withdrawn, hidden or opened since counts as it is now. A
value that no live record lets be compared is not asked about.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES
from services.node.exchange.audience import Audiences, audience_columns, read_policy
from services.node.exchange.coincidence import GroupTags

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
        self._tags: GroupTags | None = None

    def of(self, batch: Batch) -> Said:
        """Return what is said of a batch now."""
        values = self._store.asked_values(batch)
        # Many values share few policies.
        sets = {
            policies: self._audiences.of(policies)
            for policies in {value.policies for value in values.values()}
            if any(read_policy(one).compared for one in policies)
        }
        leaving = [
            (at, values[one])
            for at, one in enumerate(batch.value_ids)
            if one in values and values[one].policies in sets
        ]
        shared, audiences, over = audience_columns([sets[value.policies] for _, value in leaving])
        late = {leaving[at][0] for at in over}
        if late:
            leaving = [one for one in leaving if one[0] not in late]
        width, tag = REFERENCE_BYTES, self._group_tags().of
        return Said(
            batch=_part(batch, [at for at, _ in leaving]),
            sets=tuple(shared),
            audiences=audiences,
            tags=b"".join([tag(value.line, value.uid) for _, value in leaving]),
            over=tuple(batch.references[at * width : (at + 1) * width] for at in sorted(late)),
        )

    def _group_tags(self) -> GroupTags:
        if self._tags is None:
            self._tags = GroupTags(self._store.tag_key())
        return self._tags


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
        value_ids=tuple(batch.value_ids[at] for at in chosen),
    )
