"""What Alembic runs for each use: the connection comes from the program, in a transaction that it has begun."""

from __future__ import annotations

from alembic import context

from gateway import operations_schema
from gateway.ledger_schema import metadata

# All tables hang on one object, those of operations once their module is loaded.
assert operations_schema.operation_table.metadata is metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
