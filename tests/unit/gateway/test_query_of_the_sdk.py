"""What the SDK signs is what the gateway takes, and what the gateway answers is what the SDK believes (3.9)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from concordat.client.asking import Question, Questions, Tokenised
from concordat.client.results import Verdict
from concordat.clock import ManualClock, SystemClock
from concordat.identity.home import load_home
from concordat.justification import Justification
from gateway.api.access import Caller
from gateway.api.queries import answer_query
from tests.unit.gateway.query_world import WorldHub
from tests.unit.gateway.world import START, Node, World, secret, token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.api.model import QueryResponse

CASE = Justification(
    reference="case 1",
    authority="IJM",
    officer="officer-1",
    purpose="investigation",  # type: ignore[arg-type]  # read as its word
    offence="trafficking_in_human_beings",  # type: ignore[arg-type]
    subject_category="victim",  # type: ignore[arg-type]
    aim="identify",  # type: ignore[arg-type]
    valid_until=date(2099, 1, 1),
)


def value(name: str, namespace: str = "e164") -> Tokenised:
    """Return a value with the token and secret that the world's nodes give it."""
    return Tokenised(namespace, token(name), name.encode().ljust(16, b"l"), secret(name))


@pytest.fixture
def asked(make_world: Callable[..., World], federation_folder: Path) -> tuple[World, Node, Questions]:
    """A world under the manifest of the folders, a holder, and the questions of a partner there."""
    home = load_home(federation_folder / "partner" / "IJM", clock=SystemClock())
    world = make_world(manifest=home.manifest)
    return world, world.attached("DE", "x"), Questions(home, clock=world.clock)


async def send(world: World, question: Question) -> QueryResponse:
    """Bring a question to the route's function, as JSON and back."""
    body = type(question.body).model_validate_json(question.body.model_dump_json())
    manifest = world.federation.manifest
    caller = Caller(manifest.party("IJM"))
    return await answer_query(body, caller, hub=WorldHub(world), manifest=manifest, now=world.clock.now())


async def test_a_hit_a_miss_and_what_is_not_allowed(asked: tuple[World, Node, Questions]) -> None:
    world, _, questions = asked
    question = questions.question([value("x"), value("y"), value("z", "account")], CASE, epoch=1)
    found = question.verify(await send(world, question))
    assert [one.result for one in found] == [Verdict.HIT, Verdict.NO_HIT, Verdict.NOT_ALLOWED]
    assert [hit.party for hit in found[0].hits] == ["DE"]


async def test_a_repeated_question_has_the_same_handle_and_tells_nobody_again(
    asked: tuple[World, Node, Questions],
) -> None:
    world, de, questions = asked
    handles = []
    for _ in range(2):
        question = questions.question([value("x")], CASE, epoch=1)
        handles += [one.hits[0].handle for one in question.verify(await send(world, question))]
    assert len(set(handles)) == 1
    assert len(de.told) == 1


async def test_what_a_holder_did_not_prove_is_no_hit(asked: tuple[World, Node, Questions]) -> None:
    world, de, questions = asked
    de.bad_mac = True
    question = questions.question([value("x")], CASE, epoch=1)
    (found,) = question.verify(await send(world, question))
    assert (found.result, found.hits) == (Verdict.NOT_COVERED, ())


@pytest.mark.parametrize("differs_s", [-50, 50])
async def test_a_partner_s_clock_may_differ_by_less_than_half_the_skew(
    asked: tuple[World, Node, Questions], federation_folder: Path, differs_s: int
) -> None:
    world, _, _ = asked
    home = load_home(federation_folder / "partner" / "IJM", clock=SystemClock())
    question = Questions(home, clock=ManualClock(START + differs_s)).question([value("x")], CASE, epoch=1)
    assert [one.result for one in question.verify(await send(world, question))] == [Verdict.HIT]
