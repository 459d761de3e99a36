"""Exercise mode at the node: domain, tokens, batches, matches of their own, and nothing left at its end (3.6 (8))."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.canon import Kind
from concordat.cli import run
from concordat.clock import ManualClock, SystemClock
from concordat.custodians import CustodianPool
from concordat.errors import InputError
from concordat.tokens import MASK_KEY_BYTES, MaskKey, token_input
from concordat.wire.v1 import check_pb2 as wire
from concordat.wire.v1 import operations_pb2
from services.node.cli_operation import real_files
from services.node.events import Told, as_json, as_text
from services.node.exercise_view import BANNER
from services.node.exercises import wipe_ended
from services.node.held import HeldOperation, charter_path, exercise_of, keep_operation
from services.node.store.rows import PairRow, ToldRow, WitnessRow
from services.node.submit import Submitter
from services.node.tokenise import Tokeniser, token_domain
from tests.unit.custodian.running import CASE, RunningCustodians, until

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home
    from services.node.store.store import Store

CLOCK = SystemClock()
TYPED = ["+44 7700 900100", "+44 7700 900101"]
OTHER = "spiffe://test.example/node/DE"


def sign_charter(home: Home, operation: str, *, exercise: bool, ends_at: float | None = None) -> None:
    key = hashlib.sha256(operation.encode()).digest()
    assert len(key) == MASK_KEY_BYTES
    charter = operations_pb2.Charter(
        federation=home.manifest.federation,
        manifest_hash=home.manifest.hash,
        operation=operation,
        title="Rehearsal",
        opener=str(home.identity),
        participants=sorted([str(home.identity), OTHER]),
        purpose="prevention",
        namespaces=["e164"],
        starts_at=1,
        ends_at=int(CLOCK.now() + 3600 if ends_at is None else ends_at),
        exercise=exercise,
        operation_key_hash=MaskKey(key).hash,
        epoch=1,
        justification_hash=bytes(32),
    )
    keep_operation(home.path, HeldOperation(charter.SerializeToString(deterministic=True), charter, MaskKey(key)))


domains = st.text(alphabet="abc./", max_size=12)
operations = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
values = st.text(max_size=20)


@settings(max_examples=300, deadline=None)
@given(domains, operations, operations, values, values)
def test_inputs_of_an_exercise_equal_no_real_ones_and_none_of_another_exercise(
    federation: str, one: str, other: str, value: str, second: str
) -> None:
    """Equal inputs are the only way to equal tokens: the OPRF is a permutation of what the domain string is part of."""
    real = token_input(token_domain(federation, ""), "e164", 1, 1, value)
    rehearsed = token_input(token_domain(federation, one), "e164", 1, 1, second)
    assert real != rehearsed
    if one != other:
        assert rehearsed != token_input(token_domain(federation, other), "e164", 1, 1, second)


def test_only_a_charter_that_was_signed_here_makes_an_exercise(home: Home) -> None:
    sign_charter(home, "real-day", exercise=False)
    sign_charter(home, "rehearsal", exercise=True)
    found = [exercise_of(home.path, name) for name in ("", "real-day", "rehearsal", "unknown", "../rehearsal")]
    assert found == ["", "", "rehearsal", "", ""]


def submit_both(home: Home, store: Store) -> None:
    sign_charter(home, "rehearsal", exercise=True)
    for operation in ("rehearsal", ""):
        Submitter(home, store, CLOCK, CASE, operation=operation).submit_values(TYPED, Kind.PHONE)


def test_one_number_is_two_values_where_one_is_of_an_exercise(home: Home, store: Store) -> None:
    submit_both(home, store)
    with store.read() as db:
        rows = db.execute("SELECT canonical, domain, reference FROM value WHERE grade = 1").fetchall()
    assert sorted(row[:2] for row in rows) == sorted(
        (f"+4477009001{number:02}", domain) for number in (0, 1) for domain in ("", "rehearsal")
    )
    assert len({row[2] for row in rows}) == 4


def test_values_submitted_before_the_charter_was_signed_stay_real_and_out_of_the_exercise(
    home: Home, store: Store
) -> None:
    submitter = Submitter(home, store, CLOCK, CASE, operation="rehearsal")
    submitter.submit_values(TYPED, Kind.PHONE)
    sign_charter(home, "rehearsal", exercise=True)
    report = submitter.submit_values(TYPED, Kind.PHONE)
    assert not report.again, "the same file is another one in an exercise"
    with store.read() as db:
        assert sorted(db.execute("SELECT domain, count(*) FROM file GROUP BY domain")) == [("", 1), ("rehearsal", 1)]


async def tokenise(home: Home, store: Store, federation: Path) -> None:
    async with (
        RunningCustodians(federation) as running,
        CustodianPool(home, clock=CLOCK, first_rest_s=0.05, timeout_s=10) as pool,
    ):
        await running.start(1, 2, 3)
        stop = asyncio.Event()
        task = asyncio.create_task(Tokeniser(home, store, pool, clock=CLOCK).run(stop))
        await until(lambda: not store.untokenised_count())
        stop.set()
        await task


async def test_tokens_batches_and_look_ups_of_an_exercise_never_meet_real_ones(
    federation: Path, home: Home, store: Store
) -> None:
    submit_both(home, store)
    await tokenise(home, store, federation)
    with store.read() as db:
        rows = db.execute("SELECT t.token, v.domain FROM token t JOIN value v ON v.id = t.value_id").fetchall()
    tokens = {domain: {row[0] for row in rows if row[1] == domain} for domain in ("", "rehearsal")}
    assert len(tokens[""]) == len(tokens["rehearsal"]) == 4, "strong and weak"
    assert not tokens[""] & tokens["rehearsal"]
    while (batch := store.take_unpublished(1, 100)) is not None:
        store.acknowledge_published(batch.sequence)
    hits = store.lookup(b"".join(tokens["rehearsal"]), 1)
    assert {hit.domain for hit in hits} == {"rehearsal"}
    ids = store.form_batches(1, 100, [OTHER], random.Random(1))
    batches = [store.batch(one) for one in ids]
    assert sorted((one.operation, one.exercise, one.count) for one in batches) == [
        ("", False, 4),
        ("rehearsal", True, 4),
    ]


async def test_a_spent_budget_of_exercises_does_not_make_real_work_wait(home: Home, store: Store) -> None:
    """I7: the store gives real values and those of exercises apart."""
    submit_both(home, store)
    real = store.untokenised(1, "strong", 100)
    rehearsed = store.untokenised(1, "strong", 100, exercise=True)
    assert real is not None
    assert rehearsed is not None
    assert (real.domain, rehearsed.domain) == ("", "rehearsal")
    assert {row.value_id for row in real.rows}.isdisjoint(row.value_id for row in rehearsed.rows)


def test_nothing_is_submitted_for_an_exercise_that_is_over(home: Home, store: Store) -> None:
    """It would be wiped at once, or, were its charter gone, be taken for real."""
    sign_charter(home, "rehearsal", exercise=True, ends_at=CLOCK.now() - 1)
    with pytest.raises(InputError) as refusal:
        Submitter(home, store, CLOCK, CASE, operation="rehearsal").submit_values(TYPED, Kind.PHONE)
    assert refusal.value.code == "exercise_over"


def told_row(reference: bytes, cursor: int) -> ToldRow:
    return ToldRow(
        edge_id=reference[::-1],
        own_reference=reference,
        other=OTHER,
        other_reference=bytes([cursor]) * 16,
        handle=f"M-{cursor}",
        grade=1,
        told_at_ms=0,
        asked=True,
        check_id=None,
        sweep_id=None,
        look_once=False,
    )


def fill(store: Store) -> None:
    """Give every value a match, a witness, a verified pair and a check that was sent, as a real exercise does."""
    with store.read() as db:
        references = [row[0] for row in db.execute("SELECT reference FROM value WHERE grade = 1 ORDER BY id")]
    for cursor, reference in enumerate(references, 1):
        edge, theirs = reference[::-1], bytes([cursor]) * 16
        told = wire.Told(edge_id=edge, own_reference=reference, other=OTHER, other_reference=theirs)
        row = told_row(reference, cursor)
        store.witness([WitnessRow(reference, OTHER, theirs, bytes(16))], [])
        store.verified_pairs([PairRow(reference, OTHER, theirs, bytes(16))])
        content = wire.Notice(cursor=cursor, told=told).SerializeToString()
        store.receive_notice(cursor, content, told=row, at=0.0)
    for number, batch_id in enumerate(store.form_batches(1, 100, [OTHER], random.Random(1))):
        store.record_sent(bytes([number]) * 16, batch_id, b"header", bytes(32), 0.0)


def everything(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store.read() as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {one: sorted(db.execute(f"SELECT * FROM {one}"), key=repr) for one in tables if one != "meta"}


async def test_at_its_end_the_store_is_as_if_there_had_been_no_exercise(
    federation: Path, home: Home, store: Store
) -> None:
    submit_both(home, store)
    await tokenise(home, store, federation)
    while (batch := store.take_unpublished(1, 100)) is not None:
        store.acknowledge_published(batch.sequence)
    fill(store)
    with store.read() as db:
        references = [row[0] for row in db.execute("SELECT reference FROM value WHERE domain = 'rehearsal'")]
        before = {one: db.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for one in ("value", "told", "batch")}
    clock = ManualClock(CLOCK.now())
    assert wipe_ended(home, store, clock=clock) == 0, "it is not over yet"
    clock.advance(3600 + home.manifest.max_skew_s + 2)
    assert wipe_ended(home, store, clock=clock) == 4
    left = everything(store)
    assert before == {"value": 8, "told": 4, "batch": 2}
    assert (len(left["value"]), len(left["told"]), len(left["batch"]), len(left["file"])) == (4, 2, 1, 1)
    assert (len(left["sent_check"]), len(left["pending"])) == (1, 1)
    assert not any(one in repr(left).encode() for one in [b"rehearsal", *(repr(r).encode() for r in references)])
    with store.read() as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        notices = [wire.Notice.FromString(row[0]) for row in db.execute("SELECT content FROM notice ORDER BY cursor")]
    # C8: the list keeps its places, of which two are empty now.
    assert [one.cursor for one in notices] == [1, 2, 3, 4]
    assert sorted(one.WhichOneof("content") or "" for one in notices) == ["told", "told", "wiped", "wiped"]
    assert wipe_ended(home, store, clock=clock) == 0
    assert store.plane_is_stale(), "its bits go from the hub's plane with the next snapshot"


def test_the_key_of_an_exercise_goes_and_its_charter_stays_to_tell_that_it_was_one(home: Home, store: Store) -> None:
    sign_charter(home, "rehearsal", exercise=True, ends_at=1000)
    sign_charter(home, "real-day", exercise=False, ends_at=1000)
    wipe_ended(home, store, clock=CLOCK)
    assert charter_path(home.path, "rehearsal").exists()
    keys = sorted(path.name for path in (home.path / "operations").glob("*.key"))
    assert keys == ["real-day.key"]
    with pytest.raises(InputError):
        Submitter(home, store, CLOCK, CASE, operation="rehearsal").submit_values(TYPED, Kind.PHONE)


def command(*words: str) -> int:
    return run(["node", *words])


def test_the_banner_stands_above_what_people_see_of_an_exercise(
    home: Home, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_charter(home, "rehearsal", exercise=True)
    case, where = tmp_path / "case.toml", ("--home", str(home.path))
    command("case", "new", str(case))
    listing = tmp_path / "list.csv"
    listing.write_text("identifier\n+49 30 23125384\n")
    capsys.readouterr()
    told: dict[str, bool] = {}
    for operation in ("rehearsal", ""):
        marked = ("--operation", operation) if operation else ()
        given = ("submit", str(listing), "--case", str(case), *where, "--kind", "phone", "--region", "GB", "--no-wait")
        assert command(*given, *marked) == 0
        told[operation] = BANNER in capsys.readouterr().err
    assert told == {"rehearsal": True, "": False}
    assert command("matches", *where) == 0
    assert BANNER not in capsys.readouterr().out
    with store.read() as db:
        references = dict(db.execute("SELECT domain, reference FROM value WHERE grade = 1").fetchall())
    for cursor, reference in enumerate(references.values(), 1):
        row = told_row(reference, cursor)
        store.receive_notice(cursor, b"", told=row, at=0.0)
    assert command("matches", *where) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(BANNER)
    assert shown.count("(EXERCISE)") == 1
    assert command("matches", *where, "--json") == 0
    found = json.loads(capsys.readouterr().out)["matches"]
    assert sorted((one["operation"], one["exercise"]) for one in found) == [("", False), ("rehearsal", True)]


def test_a_line_of_the_running_node_says_that_a_match_is_of_an_exercise() -> None:
    real = Told("M-1", "DE", "e164", "strong", asked=True, look_once=False)
    assert as_text(replace(real, exercise="drill")) == f"EXERCISE drill: {as_text(real)}"
    assert json.loads(as_json("NL", replace(real, exercise="drill")))["exercise"] == "drill"


def test_whoever_signs_an_exercise_hears_of_files_that_were_real_before(home: Home, store: Store) -> None:
    charter = operations_pb2.Charter(operation="rehearsal", exercise=True)
    assert real_files(home.path, charter) == 0
    Submitter(home, store, CLOCK, CASE, operation="rehearsal").submit_values(TYPED, Kind.PHONE)
    assert real_files(home.path, charter) == 1
    assert real_files(home.path, operations_pb2.Charter(operation="rehearsal")) == 0
