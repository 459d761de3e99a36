"""Programs that do a sweep's work without Concordat, on one central table of all tokens in the clear.

They run in a virtual environment of their own (bench/requirements.lock) and know nothing of Concordat: `central` writes
the table, `polars_query` and `duckdb_query` ask it how many tokens two or more sources hold, and in how many rows.
"""
