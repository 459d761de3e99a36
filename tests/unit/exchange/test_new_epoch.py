"""C11: a new epoch has a pending set of its own, so whoever re-tokenises asks anew, and keeps its references."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from services.node.store import checks
from tests.unit.exchange.hub_by_hand import COVERED, OFFLINE, HubByHand, header_of
from tests.unit.exchange.parties import Federation, Party, secret, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.node.store.rows import Untokenised

ONE, TWO = "+447700900001", "+447700900002"


@dataclass
class Rotated:
    """A node whose federation goes over to epoch 2."""

    node: Party

    def tokenise(self, epoch: int) -> None:
        """Do what the tokeniser does for an epoch."""
        with self.node.store.write() as db:
            db.execute("INSERT INTO to_tokenise SELECT ?, 'strong', id, 1 FROM value", (epoch,))
        while (batch := self.node.store.untokenised(epoch, "strong", 100)) is not None:
            self._put(batch)

    def _put(self, batch: Untokenised) -> None:
        rows = [
            (row.value_id, b"l" * 16, secret(row.canonical, batch.epoch), token(row.canonical, batch.epoch))
            for row in batch.rows
        ]
        self.node.store.store_tokens(batch, rows)

    def go_over(self) -> HubByHand:
        """Take the manifest whose only epoch is 2; return a gateway that holds it too."""
        old = self.node.federation
        epochs = old.manifest.epochs.model_copy(update={"current": 2})
        self.node.federation = Federation(old.manifest.model_copy(update={"epochs": epochs}), old.keys)
        self.node.core.detach()
        identity = replace(self.node.federation.identity("NL"), manifest=self.node.federation.manifest)
        self.node.core.use_identity(identity)
        return HubByHand(self.node)


@pytest.fixture
def rotated(party: Callable[[str], Party]) -> Rotated:
    return Rotated(party("NL"))


def test_every_value_is_asked_again_under_the_new_epoch_with_the_same_reference(rotated: Rotated) -> None:
    rotated.node.submit(ONE, TWO)
    hub = HubByHand(rotated.node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    assert rotated.node.pending() == {}
    rotated.tokenise(2)
    (again,) = rotated.go_over().attach()
    assert header_of(again).fields.epoch == 2
    assert {again.items.references[at : at + 16] for at in (0, 16)} == {
        check.items.references[at : at + 16] for at in (0, 16)
    }
    assert again.items.tokens != check.items.tokens


def test_what_gets_its_new_token_later_is_asked_about_then(rotated: Rotated) -> None:
    rotated.node.submit(ONE)
    hub = HubByHand(rotated.node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    hub = rotated.go_over()
    assert hub.attach() == []
    rotated.tokenise(2)
    (again,) = hub.work()
    assert header_of(again).fields.epoch == 2


def test_nobody_is_pending_for_ever_under_an_epoch_that_is_over(rotated: Rotated) -> None:
    rotated.node.submit(ONE)
    hub = HubByHand(rotated.node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": OFFLINE, "FR": COVERED})
    rotated.tokenise(2)
    hub = rotated.go_over()
    (again,) = hub.attach()
    hub.certify(again, {"DE": COVERED, "FR": COVERED})
    assert rotated.node.pending() == {}


def test_what_was_looked_up_once_and_answered_by_all_is_not_asked_again(rotated: Rotated) -> None:
    rotated.node.submit(ONE, look_once=True)
    hub = HubByHand(rotated.node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    rotated.tokenise(2)
    assert rotated.go_over().attach() == []


def test_a_value_counts_as_asked_under_the_newest_epoch_also_where_an_older_batch_was_cut_since(
    rotated: Rotated,
) -> None:
    """What a refused edge reopens must not end with an epoch that is over."""
    node = rotated.node
    node.submit(ONE, TWO)
    HubByHand(node).attach()
    rotated.tokenise(2)
    rotated.go_over().attach()
    reference = node.reference(ONE)
    with node.store.read() as db:
        of_one = [row[0] for row in db.execute("SELECT id FROM batch ORDER BY epoch")]
        assert checks.batch_of(db, reference) == of_one[1]
    part = node.store.split_batch(of_one[0], [reference])
    assert part > of_one[1]
    with node.store.read() as db:
        assert checks.batch_of(db, reference) == of_one[1]
