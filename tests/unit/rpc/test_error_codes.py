"""Every code that the sources raise has its row in the catalogue, or is one of those that stay at a node."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from concordat.canon.model import READING_CODES
from concordat.errors import CATALOGUE

ROOT = Path(__file__).parents[3]
SOURCES = ("concordat", "gateway", "services", "demo")
CATALOGUE_FILE = ROOT / "concordat" / "errors.py"
# Said to the officer at a node's desk, and to nobody else.
NODE_CODES = {"exercise_over", "no_such_match", "no_such_record", "party_unknown", "store_restored"}


def _trees() -> dict[Path, ast.Module]:
    files = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path: ast.parse(path.read_text("utf-8")) for path in files if "wire" not in path.parts}


def _codes(tree: ast.Module) -> set[str]:
    """Return what is written as `code="..."`, in a call or on a class."""
    found: set[str] = set()
    for node in ast.walk(tree):
        in_call = isinstance(node, ast.keyword) and node.arg == "code"
        on_class = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code"
        value = node.value if isinstance(node, ast.keyword | ast.Assign) and (in_call or on_class) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.add(value.value)
    return found


def test_every_code_that_is_raised_is_in_the_catalogue_or_stays_at_a_node() -> None:
    where: dict[str, set[str]] = defaultdict(set)
    for path, tree in _trees().items():
        for code in _codes(tree):
            where[code].add(str(path.relative_to(ROOT)))
    known = CATALOGUE.keys() | READING_CODES | NODE_CODES
    unknown = {code: sorted(files) for code, files in where.items() if code not in known}
    assert unknown == {}


def test_the_codes_of_a_node_s_desk_are_raised_there_only() -> None:
    raised: set[str] = set()
    for path, tree in _trees().items():
        local = _codes(tree) & NODE_CODES
        assert not local or path.is_relative_to(ROOT / "services" / "node"), path
        raised |= local
    assert raised == NODE_CODES


def test_the_codes_of_readings_are_raised_by_canonical_forms_only() -> None:
    raised: set[str] = set()
    for path, tree in _trees().items():
        local = _codes(tree) & READING_CODES
        assert not local or path.is_relative_to(ROOT / "concordat" / "canon"), path
        raised |= local
    assert raised == READING_CODES


def test_the_two_lists_share_no_code() -> None:
    assert CATALOGUE.keys() & READING_CODES == set()


def test_every_code_of_the_catalogue_is_used_outside_it() -> None:
    written = {
        node.value
        for path, tree in _trees().items()
        if path != CATALOGUE_FILE
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    defaults = _codes(ast.parse(CATALOGUE_FILE.read_text("utf-8")))
    assert CATALOGUE.keys() - written - defaults == set()


def test_a_code_without_a_row_is_found() -> None:
    assert _codes(ast.parse('raise RefusedError("x", code="no_such_code")')) - CATALOGUE.keys() == {"no_such_code"}
