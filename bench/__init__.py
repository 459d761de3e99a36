"""Measurements of Concordat beside what would do the same work without it; in no wheel (docs/performance.md).

    python -m bench [NAMES] [--large] [--json]

A bench is a module of this package with `rows(context) -> list[Row]` and, where it needs much room, `needs(context) ->
Needs`; `bench.__main__.BENCHES` names them. Each may import every part of Concordat; no part imports this package.
"""
