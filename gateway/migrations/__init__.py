"""The history of the gateway's tables, one file a step, for Alembic; `gateway.schema_versions` runs it."""
