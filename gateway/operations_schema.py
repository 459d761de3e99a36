"""The tables of operations, beside those of the ledger in one database (3.6)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, PrimaryKeyConstraint, Table

from gateway.ledger_schema import metadata, ordered

operation_table: Final = Table(
    "operation",
    metadata,
    Column("operation", ordered(64), primary_key=True),
    Column("charter", LargeBinary, nullable=False),
    Column("charter_hash", LargeBinary(32), nullable=False),
    Column("opener", ordered(400), nullable=False),
    Column("state", Integer, nullable=False),  # wire OperationState
    Column("sweep_id", LargeBinary(16)),
    Column("number", Integer),  # in the order in which all had signed; empty before
)

# participants; the signature comes later
participant_table: Final = Table(
    "operation_participant",
    metadata,
    Column("operation", ordered(64), ForeignKey("operation.operation"), nullable=False),
    Column("party", ordered(400), nullable=False),
    Column("signature", LargeBinary(64)),
    Column("key_ciphertext", LargeBinary, nullable=False),
    Column("key_signature", LargeBinary(64), nullable=False),
    PrimaryKeyConstraint("operation", "party"),
)

# every version of a report, as signed; none is ever changed
report_table: Final = Table(
    "operation_report",
    metadata,
    Column("operation", ordered(64), ForeignKey("operation.operation"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
    PrimaryKeyConstraint("operation", "version"),
)
