"""I3, C1, 3.5: whatever is away while the other side submits, both are told, once, when it is back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from concordat.wire.v1 import check_pb2 as wire
from services.node.store.store import FILE_NAME
from tests.e2e.local import count, mail, mails, settled, until

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from tests.e2e.local import KillableFederation

WAITS: Final = "SELECT (SELECT count(*) FROM to_check) + (SELECT count(*) FROM pending WHERE state = 'new')"
OFFLINE: Final = "SELECT count(*) FROM pending WHERE state = 'offline'"

pytestmark = pytest.mark.slow


def both_once(numbers: range) -> dict[tuple[str, str, str, str], int]:
    return {(a, mail(n), b, mail(n)): 1 for n in numbers for a, b in (("NL", "DE"), ("DE", "NL"))}


def told_of(told: Counter[tuple[str, str, str, str]], numbers: range) -> dict[tuple[str, str, str, str], int]:
    values = {mail(n) for n in numbers}
    return {key: number for key, number in told.items() if values & set(key)}


def shown(federation: KillableFederation) -> int:
    """Return how many notices are shown already, by tests before this one."""
    with federation.stores() as stores:
        return len(stores.told())


def last_coverage(home: Path, holder: str) -> int:
    """Return the state of a holder in the certificate that came last."""
    with closing(sqlite3.connect(home / FILE_NAME)) as db:
        (content,) = db.execute(
            "SELECT certificate FROM sent_check WHERE certificate IS NOT NULL ORDER BY sent_at DESC"
        ).fetchone()
    body = wire.CertificateBody.FromString(wire.Certificate.FromString(content).body)
    return next(one.state for one in body.holders if one.holder.endswith(holder))


@pytest.mark.parametrize("first", [20_000, pytest.param(20_100, marks=pytest.mark.full)])
def test_a_gateway_that_is_killed_between_two_submits_loses_no_match(
    whole_federation: KillableFederation, tmp_path: Path, first: int
) -> None:
    federation, numbers = whole_federation, range(first, first + 20)
    before = shown(federation)
    file = mails(tmp_path / "same.csv", numbers)
    federation.submit("NL", file)
    home = federation.home("NL")
    until("NL's submit is over", lambda: count(home, "SELECT count(*) FROM token") and not count(home, WAITS))

    federation.kill(federation.hub)
    federation.hub.start()
    # At once: DE's session, NL's session and NL's snapshot race.
    federation.submit("DE", file)

    state = settled(federation, told=before + 2 * len(numbers))
    assert told_of(state.told, numbers) == both_once(numbers)
    assert state.left == {"NL": 0, "DE": 0}


def test_a_party_that_was_away_is_asked_when_it_returns_and_both_are_told_once(
    whole_federation: KillableFederation, tmp_path: Path
) -> None:
    federation = whole_federation
    held, later = range(30_000, 30_010), range(30_010, 30_020)
    before = shown(federation)
    federation.submit("DE", mails(tmp_path / "held.csv", held))
    settled(federation, told=before)
    federation.kill(federation.host_of("DE"))

    federation.submit("NL", mails(tmp_path / "all.csv", range(held.start, later.stop)))
    home = federation.home("NL")
    until("DE is pending", lambda: count(home, OFFLINE) and not count(home, WAITS))
    assert last_coverage(home, "/DE") == wire.HOLDER_STATE_OFFLINE
    pending = federation.status("NL")["pending"]
    assert [(one["holder"].rpartition("/")[2], one["state"]) for one in pending] == [("DE", "offline")]
    assert shown(federation) == before

    # What DE held before is found when it returns; the rest when it submits it, which it does without its node.
    federation.submit("DE", mails(tmp_path / "later.csv", later))
    federation.whole()
    state = settled(federation, told=before + 2 * (len(held) + len(later)))
    assert told_of(state.told, range(held.start, later.stop)) == both_once(range(held.start, later.stop))
    assert federation.status("NL")["pending"] == []
    assert last_coverage(home, "/DE") == wire.HOLDER_STATE_COVERED
