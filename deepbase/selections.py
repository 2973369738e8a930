"""Stored selections: records that were chosen by more than a predicate over the dataset's own columns.

A query may choose its records by a join or a subquery, and group them by what it found there. Which records these are,
and the values of their groups, is written once; a run names the selection by its id, so that it can be resumed.

The id is a digest of the content, whatever the order: the same content is stored once. Memory: DuckDB's, which spills.
"""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb

from deepbase.errors import QueryError

INCOMING, NEW = "deepbase_incoming_selection", "deepbase_new_selection"


def add(cursor: duckdb.DuckDBPyConnection, rows: Any) -> str:
    """Store a selection.

    Args:
        cursor: on the catalog, in a transaction of the caller's.
        rows: an Arrow reader or table with the columns `record` (BIGINT) and `groups` (VARCHAR[]); read once.

    Returns:
        Its id.

    Raises:
        QueryError: if a record is in it twice, or NULL.
    """
    cursor.register(INCOMING, rows)
    try:
        cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE {NEW} AS SELECT record::BIGINT AS record, "
            f"coalesce(groups::VARCHAR[], []) AS groups FROM {INCOMING}"
        )
    finally:
        cursor.unregister(INCOMING)
    try:
        _check(cursor)
        return _store(cursor)
    finally:
        cursor.execute(f"DROP TABLE temp.{NEW}")


def _check(cursor: duckdb.DuckDBPyConnection) -> None:
    if cursor.execute(f"SELECT 1 FROM temp.{NEW} WHERE record IS NULL LIMIT 1").fetchall():
        raise QueryError("a selected record is NULL", "Leave out rows that have no record.")
    twice = cursor.execute(
        f"SELECT record, count(*) FROM temp.{NEW} GROUP BY record HAVING count(*) > 1 ORDER BY record LIMIT 1"
    ).fetchall()
    if twice:
        record, times = twice[0]
        raise QueryError(
            f"record {record} is selected {times} times, so that it has no one group",
            "Select each record once: make what it is joined with unique, or aggregate it.",
        )


def _store(cursor: duckdb.DuckDBPyConnection) -> str:
    content = cursor.execute(
        f"SELECT count(*), bit_xor(md5_number(record || ' ' || to_json(groups)::VARCHAR)) FROM temp.{NEW}"
    ).fetchall()
    selection = hashlib.sha256(repr(content).encode()).hexdigest()[:32]
    if not cursor.execute("SELECT 1 FROM selections WHERE selection = ? LIMIT 1", [selection]).fetchall():
        cursor.execute(f"INSERT INTO selections SELECT ?, record, groups FROM temp.{NEW}", [selection])
    return selection


def remove_unused(cursor: duckdb.DuckDBPyConnection) -> None:
    """Forget the selections that no run names."""
    cursor.execute("DELETE FROM selections WHERE selection NOT IN (SELECT coalesce(spec->>'selection', '') FROM runs)")
