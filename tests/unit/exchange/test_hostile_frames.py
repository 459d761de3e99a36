"""Whatever a gateway sends, a node answers, refuses or ends the session; it never falls over and never believes it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concordat.errors import ConcordatError
from concordat.wire.v1 import check_pb2, session_pb2
from tests.unit.exchange.hub_by_hand import HubByHand
from tests.unit.exchange.parties import AskerByHand, Item, Party

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE = "+447700900001"
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
COLUMNS = ("tokens", "references", "ask_macs", "grades", "audiences")


@pytest.fixture
def attached(party: Callable[[str], Party]) -> Party:
    """A node that holds one published value and is attached."""
    node = party("NL")
    node.submit(PHONE)
    node.publish()
    HubByHand(node).attach()
    return node


def witnesses(node: Party) -> int:
    with node.store.read() as db:
        found: int = db.execute("SELECT count(*) FROM witness").fetchone()[0]
    return found


@SOME
@given(data=st.data())
def test_a_question_that_was_changed_on_its_way_gets_no_hit(
    attached: Party, asker: AskerByHand, data: st.DataObject
) -> None:
    header = asker.header(1, check_id=data.draw(st.binary(min_size=16, max_size=16)))
    question = asker.question(header, [Item(PHONE, b"t" * 16)])
    part = data.draw(st.sampled_from([*COLUMNS, "header", "signature", "positions", "audience_salt"]))
    target = question.items if part in COLUMNS else question
    was = getattr(target, part)
    now = data.draw(st.binary(max_size=len(was) + 4).filter(lambda value: value != was))
    if part == "audiences" and not now:
        # No column of audiences means the first set for all, which is what stood there.
        return
    setattr(target, part, now)
    try:
        (frame,) = attached.core.step([session_pb2.HubFrame(question=question)], work=False)
    except ConcordatError:
        assert part == "header"
    else:
        assert not frame.answer.references
    assert witnesses(attached) == 0


@SOME
@given(
    kind=st.sampled_from(["certificate", "notice", "question", "published", "snapshot_installed", "check_refused"]),
    content=st.binary(max_size=200),
    number=st.integers(0, 2**63 - 1),
)
def test_frames_without_sense_change_nothing_that_shows(
    attached: Party, kind: str, content: bytes, number: int
) -> None:
    frames = {
        "certificate": session_pb2.HubFrame(certificate=check_pb2.Certificate(body=content, signature=content[:64])),
        "notice": session_pb2.HubFrame(
            notice=check_pb2.Notice(cursor=number, told=check_pb2.Told(edge_id=content[:16], asked=bool(number % 2)))
        ),
        "question": session_pb2.HubFrame(question=check_pb2.Question(header=content, signature=content)),
        "published": session_pb2.HubFrame(published=session_pb2.Published(sequence=number)),
        "snapshot_installed": session_pb2.HubFrame(snapshot_installed=session_pb2.SnapshotInstalled(sequence=number)),
        "check_refused": session_pb2.HubFrame(check_refused=check_pb2.CheckRefused(check_id=content[:16], code="busy")),
    }
    pending = attached.pending()
    with suppress(ConcordatError):
        attached.core.step([frames[kind]], work=False)
    assert attached.store.all_told() == []
    assert attached.pending() == pending
    assert attached.published_through() == 1
