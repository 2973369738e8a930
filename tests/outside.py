"""A database file seen by DuckDB alone."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb


def opened(path):
    """A connection that may write, once the file is free."""
    until = time.monotonic() + 10
    while True:
        try:
            return duckdb.connect(str(path))
        except duckdb.IOException:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def look(path, query):
    """Rows of a database file by DuckDB alone; None while another process holds it."""
    try:
        with duckdb.connect(str(path), read_only=True) as plain:
            return plain.execute(query).fetchall()
    except duckdb.IOException:
        return None


def contents(path):
    """Everything that is in a database file, to compare."""
    if not Path(path).exists():
        return None
    with duckdb.connect(str(path), read_only=True) as plain:
        tables = plain.execute(
            "SELECT schema_name, table_name, sql FROM duckdb_tables() UNION ALL "
            "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        ).fetchall()
        rows = [plain.execute(f'SELECT * FROM "{s}"."{t}" ORDER BY ALL').fetchall() for s, t, _ in tables]
        return tables, rows
