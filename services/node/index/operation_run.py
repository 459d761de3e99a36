"""The set of an operation as files: made when the node joins a sweep, used again while nothing changed (3.6 (2)).

    columns = build_operation_run(store, query, held.key, sweep_id, home / FOLDER, progress)

    index/OPERATION.set       sweep tokens, references, class bytes and match secrets, ascending by token
    index/OPERATION.answers   what is answered for the rows in one sweep, confirm MACs among it, in the same order

Both hold secrets of the operation: 0600, and deleted with its end. Whether a set is still that of the store shows in a
stamp that the store draws anew with every change of a record of the operation, and in all that else decides: the day,
the policies that let all be told, epoch and rules versions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from concordat.errors import ConfigError, UnavailableError
from concordat.protocol.sweep_frames import ANSWER
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES
from services.node.index.confirming import confirm_blocks
from services.node.index.rows import order_of, words_of
from services.node.index.run import Column, Run, RunFacts
from services.node.index.run_writer import RunWriter
from services.node.index.spill import Spill
from services.node.store import meta
from services.node.store.database import Database
from services.node.store.sweep_set import stream_sweep_set, visible_policies
from services.node.sweep_rows import SweepColumns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from concordat.tokens import MaskKey
    from services.node.store.store import Store
    from services.node.store.sweep_set import SetQuery, SweepSet

KIND: Final = "set"
ANSWERS_KIND: Final = "answers"
LAYOUT: Final = (
    Column("high", "<u8"),
    Column("low", "<u8"),
    Column("reference", "|u1", REFERENCE_BYTES),
    Column("classes", "|u1"),
    Column("secret", "|u1", SECRET_BYTES),
)
_Hear: TypeAlias = "Callable[[str, int, int], None]"
READ: Final = "read"
PROVED: Final = "prepared"
ANSWERS_LAYOUT: Final = (Column("answer", "|u1", ANSWER.itemsize),)
_ANSWERED: Final = (("high", "high"), ("low", "low"), ("reference", "reference"), ("class", "classes"))
_ROW: Final = np.dtype([(one.name, one.type, *([(one.width,)] if one.width > 1 else [])) for one in LAYOUT])
_TRAFFICKING: Final = np.uint8(0x30)
_ABUSE: Final = np.uint8(0xC0)
_NAMESPACE: Final = np.uint8(0x0F)


def build_operation_run(
    store: Store,
    query: SetQuery,
    key: MaskKey,
    sweep_id: bytes,
    folder: Path,
    progress: _Hear,
) -> SweepColumns:
    """Return the rows of a sweep, mapped from files; what is there of an earlier sweep is used if it is still right.

    Args:
        store: The node's store; it is read over a connection of its own.
        query: Which records make the set.
        key: Of the operation.
        sweep_id: Which the confirm MACs are for.
        folder: For the files.
        progress: Hears `READ` or `PROVED`, how many rows are done, and of about how many.

    Raises:
        UnavailableError: Values of the set have no token of the epoch yet, the disk is full, or what was written cannot
            be read back.
    """
    path = set_path(folder, query.operation)
    folder.mkdir(mode=0o700, exist_ok=True)
    database = Database.open(_file_of(store))
    try:
        with database.read() as db:
            facts = {"of": _fingerprint(db, query, key)}
            run = _good(path, facts)
            if run is None:
                blocks, expected = stream_sweep_set(db, query), records_of(db, query)
                _write_set(path, facts, key, blocks=blocks, expected=expected, hear=progress)
                run = _opened(path, KIND, facts)
    finally:
        database.close()
    answers = _answers(run, answers_path(folder, query.operation), sweep_id, progress)
    packed = answers.column("answer").view(ANSWER).reshape(-1)
    return SweepColumns(run.column("high"), packed, run.column("secret"))


def set_path(folder: Path, operation: str) -> Path:
    """Return where the set of an operation stands; its id was checked when its charter was kept."""
    return folder / f"{operation}.set"


def answers_path(folder: Path, operation: str) -> Path:
    """Return where the answers of an operation's last sweep stand."""
    return folder / f"{operation}.answers"


def forget_sets(folder: Path, operations: Iterable[str]) -> None:
    """Delete the sets of operations that are over, wiped, or changed."""
    for operation in operations:
        for path in (set_path(folder, operation), answers_path(folder, operation)):
            path.unlink(missing_ok=True)


def _file_of(store: Store) -> Path:
    with store.read() as db:
        return Path(db.execute("PRAGMA database_list").fetchone()[2])


def _fingerprint(db: sqlite3.Connection, query: SetQuery, key: MaskKey) -> str:
    """Return what decides of the set: where two are equal, so are the sets."""
    stamp = db.execute("SELECT hex(stamp) FROM set_stamp WHERE operation = ?", (query.operation,)).fetchone()
    decides = (
        *(query.operation, query.domain, query.epoch, query.today.isoformat(), sorted(query.rules_versions.items())),
        *(visible_policies(db, query), key.hash.hex(), meta.get_bytes(db, meta.INCARNATION).hex(), stamp),
    )
    return hashlib.sha256(repr(decides).encode()).hexdigest()


def _good(path: Path, facts: Mapping[str, str]) -> Run | None:
    try:
        # All of a set is read only where it may be used.
        return Run.open(path, KIND) if Run.open(path, KIND, check=False).facts == facts else None
    except ConfigError:
        # Missing, or damaged: it is made again.
        return None


def _write_set(
    path: Path, facts: Mapping[str, str], key: MaskKey, *, blocks: Iterable[SweepSet], expected: int, hear: _Hear
) -> None:
    read = 0
    with Spill(path.parent, _ROW, expected) as spill:
        for block in blocks:
            spill.add(_tokenised(block, key))
            read += len(block.classes)
            hear(READ, read, max(read, expected))
        with RunWriter.begin(path, RunFacts(KIND, facts), LAYOUT, capacity=read) as writer:
            for share in spill.shares():
                writer.append(_distinct(share[order_of(share["high"], share["low"])]))
            writer.commit()


def records_of(db: sqlite3.Connection, query: SetQuery) -> int:
    """Return how many records the files of an operation have, which is about the size of its set."""
    text = "SELECT count(*) FROM record r JOIN file f ON f.id = r.file_id WHERE f.operation = ? AND f.domain = ?"
    number: int = db.execute(text, (query.operation, query.domain)).fetchone()[0]
    return number


def _tokenised(block: SweepSet, key: MaskKey) -> npt.NDArray[Any]:
    rows = np.empty(len(block.classes), _ROW)
    rows["high"], rows["low"] = words_of(key.apply(block.labels))
    rows["reference"] = np.frombuffer(block.references, np.uint8).reshape(-1, REFERENCE_BYTES)
    rows["classes"] = np.frombuffer(block.classes, np.uint8)
    rows["secret"] = np.frombuffer(block.secrets, np.uint8).reshape(-1, SECRET_BYTES)
    return rows


def _distinct(rows: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return ascending rows with each token once, under the gravest assessments of its records."""
    columns: dict[str, npt.NDArray[Any]] = {column.name: rows[column.name] for column in LAYOUT}
    high, low, classes = columns["high"], columns["low"], columns["classes"]
    again = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    if not np.any(again):
        return columns
    firsts = np.flatnonzero(np.concatenate(([True], ~again)))
    gravest = [np.maximum.reduceat(classes & mask, firsts) for mask in (_TRAFFICKING, _ABUSE)]
    columns = {name: values[firsts] for name, values in columns.items()}
    columns["classes"] = columns["classes"] & _NAMESPACE | gravest[0] | gravest[1]
    return columns


def _answers(run: Run, path: Path, sweep_id: bytes, hear: _Hear) -> Run:
    """Return what is answered for the rows of a set in one sweep; it is of no use in another."""
    done, facts = 0, {**run.facts, "sweep": sweep_id.hex()}
    with RunWriter.begin(path, RunFacts(ANSWERS_KIND, facts), ANSWERS_LAYOUT, capacity=run.rows) as writer:
        for confirm in confirm_blocks(run, sweep_id):
            end = done + len(confirm)
            block = np.empty(len(confirm), ANSWER)
            for field, column in _ANSWERED:
                block[field] = run.column(column)[done:end]
            block["confirm"] = confirm
            writer.append({"answer": block.view(np.uint8).reshape(len(confirm), -1)})
            run.release()
            done = end
            hear(PROVED, done, run.rows)
        writer.commit()
    return _opened(path, ANSWERS_KIND, facts)


def _opened(path: Path, kind: str, facts: Mapping[str, int | str]) -> Run:
    """Open what was just written; another task may have written its own under the same name meanwhile."""
    try:
        run = Run.open(path, kind, check=False)
    except ConfigError as error:
        raise UnavailableError(error.message) from error
    if run.facts != facts:
        raise UnavailableError(f"{path}: was replaced while it was made")
    return run
