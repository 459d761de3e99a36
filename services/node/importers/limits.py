"""Limits of what a file may ask of the node, so that a hostile or broken file costs bounded memory and time."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, PositiveInt

_KIB = 1024
_MIB = 1024 * _KIB


class Limits(BaseModel):
    """Upper bounds, all inclusive; a file within them is read, whatever it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file_bytes: PositiveInt = 512 * _MIB
    """Size of a file."""
    line_bytes: PositiveInt = _MIB
    """Length of a line of CSV or JSON lines, and of a cell of CSV that spans lines."""
    cell_lines: PositiveInt = 100
    """Lines that one quoted cell of CSV may span."""
    rows: PositiveInt = 5_000_000
    """Rows and refusals that one file may give."""
    document_bytes: PositiveInt = 64 * _MIB
    """Size of a MISP or STIX document, which is held in memory whole."""
    document_objects: PositiveInt = 500_000
    """Attributes of a MISP event or objects of a STIX bundle."""
    nesting_levels: PositiveInt = 64
    """Depth of objects and lists within each other in JSON."""
    field_characters: PositiveInt = 2_048
    """Length of one field."""
