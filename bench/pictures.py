"""Draw docs/performance/*.svg from what the benches have left, and put the figures into docs/performance.md.

    python -m bench.pictures [--out bench/out]

A picture whose rows are not there is left as it is, and that is said; so is the table where no rows are there at all.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.central import ROOT
from bench.drawing import Bar, Chart
from bench.rows import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rows import Row

FOLDER: Final = ROOT / "docs" / "performance"
PAGE: Final = ROOT / "docs" / "performance.md"
ORDER: Final = ("sweep", "live", "tokenise", "index", "planes", "submit", "psi")
_FIGURES: Final = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)
PEERS: Final = {"polars": "Polars, streaming", "duckdb": "DuckDB", "postgresql": "PostgreSQL"}
LATE_PART: Final = 0.01
"""More hits that come after their window are overload: who asks again for them would have to be counted too."""
TENTHS_BELOW_MS: Final = 100
LIVE_TOKENS_A_S: Final = 400_000
LIMIT_MB: Final = 256.0


def sweep(rows: dict[str, Row]) -> Chart:
    """Return how long a sweep takes beside peers."""
    row = rows["sweep-26x1M"]
    theirs = sorted(row.peers.items(), key=lambda one: one[1])
    bars = [Bar("Concordat", row.seconds, _seconds(row.seconds))]
    bars += [
        Bar(PEERS[name], seconds, f"{_seconds(seconds)}, {seconds / row.seconds:.1f} times", ours=False)
        for name, seconds in theirs
    ]
    return Chart(
        "26 sources of 1 M tokens: which do two or more hold?",
        "seconds; ours over gRPC with mTLS and with exact counts by class, theirs on one central table in the clear",
        tuple(bars),
        _note(row),
    )


def memory(rows: dict[str, Row]) -> Chart:
    """Return the hub's memory as sets grow."""
    grown = sorted((row for row in rows.values() if row.name.startswith("growth-")), key=lambda row: row.seconds)
    largest = rows["sweep-26x10M"]
    bars = [
        Bar(
            f"26 x {row.name.partition('x')[2]}",
            row.hub_rss_mb or 0.0,
            f"{row.hub_rss_mb:.0f} MB, {_seconds(row.seconds)}",
        )
        for row in (*grown, largest)
    ]
    return Chart(
        "A hub's memory follows the window, not the set",
        "peak resident memory of the hub's process, MB, and the time of the sweep",
        tuple(bars),
        _note(largest),
        limit=(LIMIT_MB, f"{LIMIT_MB:.0f} MB"),
    )


def tokens(rows: dict[str, Row]) -> Chart:
    """Return tokens a core and second."""
    bars = []
    for name, engine, ours in (("tokenise", "libsodium", False), ("tokenise-fast", "fast", True)):
        if name in rows:
            for part in ("client", "custodian"):
                rate = rows[name].details[f"{part}_tokens_per_core_s"]
                bars.append(Bar(f"{part}, {engine}", rate, f"{rate:,.0f}", ours=ours))
    rate = rows["tokenise"].details["scalarmult_per_core_s"]
    bars.append(Bar("one multiplication", rate, f"{rate:,.0f}", ours=False))
    return Chart(
        "Tokens a core and second, every proof verified",
        "a client makes a token with two custodians and checks both; the last bar is libsodium's scalar multiplication",
        tuple(bars),
        _note(rows["tokenise"]),
    )


def live(rows: dict[str, Row]) -> Chart:
    """Return how long a live check takes."""
    measured = [row for row in rows.values() if row.name.startswith("live-") and "p50_ms" in row.details]
    found = [row for row in measured if not row.name.endswith("-few")]
    bars = []
    for row in found:
        p50, p99 = row.details["p50_ms"], row.details["p99_ms"]
        bars.append(Bar(_load(row.name), p50, f"{_ms(p50)}, p99 {_ms(p99)} ms", ours="x" not in row.name))
    return Chart(
        "A live check, from the question to the last notice",
        "median milliseconds, logarithmic; 26 holders, mTLS, durable; grey: many at once, so that they queue",
        tuple(bars),
        _note(found[0]),
        logarithmic=True,
    )


def throughput(rows: dict[str, Row]) -> Chart:
    """Return how many values are checked a second, by how many of them are held, where their hits came in time."""
    measured = [row for row in rows.values() if row.name.startswith("live-1000x") and "tokens_a_s" in row.details]
    found = [row for row in measured if row.details["hits_too_late"] <= row.details["hits"] * LATE_PART]
    bars = []
    for row in found:
        rate, label = row.details["tokens_a_s"], _load(row.name).removeprefix("1000 values, ")
        bars.append(Bar(label, rate, f"{rate:,.0f}", ours=row.name.endswith("-few")))
    return Chart(
        "Values checked a second, in checks of 1 000",
        "one value in a hundred is held by somebody, of few hits one in a thousand; every match is durable at three",
        tuple(bars),
        _note(found[0]),
        limit=(LIVE_TOKENS_A_S, f"{LIVE_TOKENS_A_S:,}"),
    )


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < TENTHS_BELOW_MS else f"{value:.0f}"


def _load(name: str) -> str:
    if name == "live-work":
        return "1 value, work alone"
    text, _, few = name.removeprefix("live-").partition("-")
    size, _, concurrent = text.partition("x")
    parts = [
        f"{size} value{'s' if size != '1' else ''}",
        f"{concurrent} at once" if concurrent else "",
        few and "few hits",
    ]
    return ", ".join(part for part in parts if part)


def index(rows: dict[str, Row]) -> Chart:
    """Return what a node's index takes."""
    found = [row for row in rows.values() if row.name.startswith("index-")]
    names = {"build": "build from the store", "start": "start", "lookup": "look up 1 000 tokens", "scan": "read all"}
    bars = []
    for row in found:
        kind, size = row.name.split("-")[1], row.name.rpartition("-")[2]
        bars.append(Bar(f"{names.get(kind, kind)}, {size}", row.seconds * 1000, _seconds(row.seconds)))
    return Chart(
        "A node's index",
        "milliseconds, logarithmic; every other token that is looked up is there",
        tuple(bars),
        _note(found[0]),
        logarithmic=True,
    )


PICTURES: Final[dict[str, Callable[[dict[str, Row]], Chart]]] = {
    "sweep": sweep,
    "memory": memory,
    "tokens": tokens,
    "live": live,
    "throughput": throughput,
    "index": index,
}


def draw(out: Path, folder: Path, say: Callable[[str], None]) -> list[str]:
    """Draw what there are rows for, and return the names.

    Args:
        out: Where the benches' files lie.
        folder: Where pictures go.
        say: Told what is left as it is.
    """
    rows = read(out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, picture in PICTURES.items():
        try:
            text = picture(rows).svg()
        except (KeyError, IndexError):
            say(f"{name}.svg left as it is: its rows are not in {out}")
            continue
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")
        drawn.append(name)
    return drawn


def read(out: Path) -> dict[str, Row]:
    """Return all rows that the benches have left, by name."""
    known = [path for name in ORDER for path in (out / f"{name}.json", out / f"{name}-large.json") if path.exists()]
    return {row.name: row for path in known for row in load(path)}


def with_figures(page: str, rows: dict[str, Row]) -> str:
    """Return the page with the table of these rows in its place."""
    lines = [
        "| row | exact | seconds | hub CPU s | nodes CPU s | hub MB | beside it, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows.values():
        beside = ", ".join(f"{name} {_short(seconds)}" for name, seconds in row.peers.items())
        cells = (row.name, "yes" if row.exact else "**no**", *map(_short, _figures(row)), beside)
        lines.append(f"| {' | '.join(cells)} |")
    loads: defaultdict[str, set[float]] = defaultdict(set)
    for row in rows.values():
        if note := _note(row):
            loads[note].add(row.details["machine"]["load_at_start"])
    seen = [f"{note}, load at the start {min(them)} to {max(them)}" for note, them in loads.items()]
    table = "\n".join([*lines, "", f"Measured on: {'; '.join(seen)}.", ""])
    return _FIGURES.sub(lambda found: found[1] + table + found[2], page)


def _figures(row: Row) -> tuple[float | None, ...]:
    return row.seconds, row.hub_cpu_s, row.nodes_cpu_s, row.hub_rss_mb


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.2f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def _note(row: Row) -> str:
    machine = row.details.get("machine", {})
    return f"{machine['processor']}, {machine['cores']} cores, {machine['date']}" if machine else ""


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    parser.add_argument("--to", type=Path, default=FOLDER)
    given = parser.parse_args()
    drawn = draw(given.out, given.to, lambda text: print(text, file=sys.stderr))
    if drawn and given.to == FOLDER:
        PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), read(given.out)), encoding="utf-8")
    sys.stdout.write(f"{given.to}: {', '.join(drawn)}\n")


if __name__ == "__main__":
    main()
