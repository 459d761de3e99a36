"""The node's truth: one SQLite file, WAL, full synchronisation."""
