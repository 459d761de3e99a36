"""Readers of the files that investigators hand to the node: CSV, JSON lines, MISP event JSON, STIX 2.1 bundles.

Each item of a file becomes a `Row`, or a `Refusal` with line and reason; nothing is dropped. A file that cannot be
taken as a whole raises `InputError` with a code of `FileCode`.
"""

from services.node.importers.limits import Limits
from services.node.importers.opening import ImportedFile, delimiter_name, open_file
from services.node.importers.refusals import FileCode, LineCode
from services.node.importers.tally import Tally
from services.node.record import FileFacts, Refusal, Row, RowDefaults

__all__ = [
    "FileCode",
    "FileFacts",
    "ImportedFile",
    "Limits",
    "LineCode",
    "Refusal",
    "Row",
    "RowDefaults",
    "Tally",
    "delimiter_name",
    "open_file",
]
