"""I1 and I2 over a whole run: identifiers, labels, secrets stay with their party; the hub writes and keeps no token.

Each surface has two tests: nothing is on it, and the same search finds what is planted on it.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.canaries import Canary, Finding, Scanner
from tests.e2e.canary_plants import FOR_BYTES, FOR_NUMBERS, FOR_TEXT
from tests.e2e.canary_run import CHECKED_CANARY, PARTIES, PARTNER, SHARED_VALUES, TOLD, CanaryRun, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable

# One worker for all, so that there is one run.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("canaries")]

SURFACES: Final = (
    "wire",
    "gateway_disk",
    "custodian_disks",
    "node_disks",
    "logs",
    "events",
    "spans",
    "errors",
    "after_plant",
)
REFUSED_ROWS: Final = 4 * len(PARTIES)


@pytest.fixture(scope="module")
def canary_evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return CanaryRun(tmp_path_factory.mktemp("canaries")).go()


@pytest.fixture(scope="module")
def canary_scanner(canary_evidence: Evidence) -> Scanner:
    return Scanner(canary_evidence.canaries)


@pytest.fixture(scope="module")
def token_scanner(canary_evidence: Evidence) -> Scanner:
    return Scanner(Canary(number, "token", token) for number, token in enumerate(canary_evidence.all_tokens()))


def on(evidence: Evidence, surface: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = getattr(evidence, surface)
    return found


def by_place(found: Iterable[Finding]) -> Counter[tuple[str, str, str]]:
    """Return what a failed test may show."""
    return Counter((one.what, one.encoding, one.place) for one in found)


def test_the_run_did_all_that_the_search_is_about(canary_evidence: Evidence) -> None:
    """A run that does nothing leaks nothing."""
    assert canary_evidence.told == TOLD
    assert canary_evidence.partner_results == ["hit", "no_hit", "no_hit"]
    assert canary_evidence.partner_refusals == ["bad_input", "bad_input", "bad_signature"]
    assert len(canary_evidence.tokens[PARTNER]) == 3
    assert canary_evidence.refused_rows == REFUSED_ROWS
    assert canary_evidence.report is not None
    assert canary_evidence.report["totals"]["communication_devices"] > 0
    assert canary_evidence.wire_errors == []
    kinds = Counter(one.what for one in canary_evidence.canaries)
    assert kinds["typed"] >= len(PARTIES) * 7
    assert kinds["label"] == kinds["match secret"] >= SHARED_VALUES
    assert kinds["key share"] == 9
    assert kinds["mask key"] == kinds["operation key"] == 1
    exits = {place: content for place, content in canary_evidence.errors if place.startswith("node")}
    assert sum("exit 2, stdout" in place for place in exits) == 2, "two commands are refused, and say why"


def test_each_party_spoke_through_the_relays(canary_evidence: Evidence) -> None:
    heard = {place.partition(",")[0] for place, content in canary_evidence.wire if content}
    for party in PARTIES:
        for server in ("gateway/g1", "custodian/c1", "custodian/c3"):
            assert f"wire node/{party} > {server}" in heard
            assert f"wire {server} > node/{party}" in heard


@pytest.mark.parametrize("surface", SURFACES)
def test_i1_no_secret_of_a_party_is_on(surface: str, canary_evidence: Evidence, canary_scanner: Scanner) -> None:
    contents = on(canary_evidence, surface)
    assert sum(len(content) for _, content in contents) > 100, "there is something to search"
    assert by_place(canary_scanner.find_all(contents)) == Counter()


@pytest.mark.parametrize("surface", SURFACES)
def test_i1_every_secret_that_is_planted_is_found_on(
    surface: str, canary_evidence: Evidence, canary_scanner: Scanner
) -> None:
    """Each canary in each encoding, in a copy of the longest content of the surface."""
    found = unseen(canary_scanner, on(canary_evidence, surface), canary_evidence.canaries)
    assert found == []


def unseen(scanner: Scanner, contents: list[tuple[str, bytes]], planted: Iterable[Canary]) -> list[str]:
    """Plant every leak of these canaries into a copy; return those that the scanner does not see."""
    _, longest = max(contents, key=lambda one: len(one[1]))
    content, borders = bytearray(longest[: len(longest) // 2]), list[tuple[int, int, str]]()
    for canary in planted:
        for name, leak in leaks(canary):
            content += b"\0<"
            borders.append((len(content), len(content) + len(leak), f"canary {canary.number} as {name}"))
            content += leak
    content += longest[len(longest) // 2 :]
    offsets = sorted(one.offset for one in scanner.find("planted", bytes(content)))
    return [name for begin, end, name in borders if bisect_left(offsets, begin) == bisect_left(offsets, end)]


def leaks(canary: Canary) -> list[tuple[str, bytes]]:
    if isinstance(canary.value, bytes):
        hashes = ("md5", "sha1", "sha256") if canary.named_by_hash else ("-",)
        return [(name, write(canary.value)) for name, write in FOR_BYTES.items() if not name.startswith(hashes)]
    raw = canary.value.encode()
    return [(name, write(raw)) for name, write in FOR_TEXT.items()]


def test_i1_digits_of_a_typed_number_are_found(canary_evidence: Evidence, canary_scanner: Scanner) -> None:
    numbers = [one for one in canary_evidence.canaries if isinstance(one.value, str) and one.value.startswith("+44")]
    assert numbers
    for canary in numbers:
        for name, write in FOR_NUMBERS.items():
            leak = write(str(canary.value).encode())
            assert canary_scanner.find("planted", b"<" + leak + b">"), f"canary {canary.number} as {name}"


def test_i1_what_a_party_says_in_a_wrong_place_is_seen_on_the_wire(
    canary_evidence: Evidence, canary_scanner: Scanner
) -> None:
    """A client put an identifier into a field, into a field that straddles frames, and into a header."""
    before = {place for place, _ in canary_evidence.wire}
    new = [one for one in canary_evidence.planted_wire if one[0] not in before]
    found = canary_scanner.find_all(new)
    assert {one.place.rpartition(", ")[2] for one in found} == {"stream 1", "stream 3", "headers"}
    assert all("node/RO > gateway/g1" in one.place for one in found), "and the gateway does not say it back"
    numbers = {one.number for one in canary_evidence.canaries if one.value == CHECKED_CANARY}
    assert {one.canary for one in found if one.place.endswith("headers")} <= numbers


def test_i2_tokens_travel_between_nodes_and_the_gateway_and_nowhere_else(
    canary_evidence: Evidence, token_scanner: Scanner
) -> None:
    """So the search finds tokens, and what follows is not blind."""
    numbers = {token: number for number, token in enumerate(canary_evidence.all_tokens())}
    seen: dict[str, set[int]] = {}
    for one in token_scanner.find_all(canary_evidence.wire):
        seen.setdefault(one.place.partition(",")[0], set()).add(one.canary)
    sweep = {numbers[token] for token in canary_evidence.sweep_tokens}
    for party in PARTIES:
        asked = {numbers[token] for token in canary_evidence.tokens[party]}
        said = seen[f"wire node/{party} > gateway/g1"]
        assert said - sweep == asked, "every token was asked"
        assert said & sweep, "sweep tokens were streamed"
        assert not seen[f"wire gateway/g1 > node/{party}"] & sweep, "the gateway gives no sweep token to anybody"
    assert set(seen) == {
        f"wire {way}" for party in PARTIES for way in (f"node/{party} > gateway/g1", f"gateway/g1 > node/{party}")
    }


@pytest.mark.parametrize("surface", ["gateway_disk", "custodian_disks", "logs", "events", "spans"])
def test_i2_no_token_is_written_on(surface: str, canary_evidence: Evidence, token_scanner: Scanner) -> None:
    assert by_place(token_scanner.find_all(on(canary_evidence, surface))) == Counter()


@pytest.mark.parametrize("surface", ["gateway_disk", "custodian_disks", "logs", "events", "spans"])
def test_i2_a_token_that_is_planted_is_found_on(
    surface: str, canary_evidence: Evidence, token_scanner: Scanner
) -> None:
    tokens = [Canary(number, "token", token) for number, token in enumerate(canary_evidence.all_tokens())]
    assert unseen(token_scanner, on(canary_evidence, surface), tokens) == []


def test_i2_the_ledger_was_searched_with_its_log(canary_evidence: Evidence) -> None:
    places = {place for place, content in canary_evidence.gateway_disk if content}
    assert {"g1/ledger.db, while running", "g1/ledger.db-wal, while running", "g1/ledger.db, stopped"} <= places


def test_i2_no_live_object_of_the_hub_holds_a_token_after_certificates_and_sweep(canary_evidence: Evidence) -> None:
    said = canary_evidence.objects
    assert said is not None
    assert said.objects > 10_000
    assert said.planted == 1, "the search finds what is kept on purpose"
    assert said.tokens == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to overwrite what is given back")
def test_i2_no_token_is_in_the_hub_s_memory_that_is_in_use(canary_evidence: Evidence) -> None:
    """Whatever the process or a library still holds, Python or not; memory that was given back is overwritten here."""
    said = canary_evidence.memory
    if said is None:
        pytest.skip("the memory of another process may not be read on this machine")
    assert said.planted, "the search finds what is kept on purpose"
    assert said.tokens == 0
