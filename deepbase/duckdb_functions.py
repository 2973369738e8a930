"""What DuckDB's own functions are: which aggregate, and which give the same whenever they are called."""

from __future__ import annotations

from functools import cache

import duckdb


@cache
def aggregates() -> frozenset[str]:
    """The names of the functions that can only aggregate, in lower case."""
    return frozenset(
        {n for n, kinds in _functions().items() if {k for k, _ in kinds} == {"aggregate"}} | {"count_star"}
    )


@cache
def lasting() -> frozenset[str]:
    """The names of the scalar functions that give the same for the same arguments at any time, in lower case."""
    return frozenset(n for n, kinds in _functions().items() if kinds <= {("scalar", "CONSISTENT")})


@cache
def _functions() -> dict[str, set[tuple[str, str | None]]]:
    """Kind and stability of every function, by its name."""
    with duckdb.connect() as fresh:
        rows = fresh.execute("SELECT function_name, function_type, stability FROM duckdb_functions()").fetchall()
    found: dict[str, set[tuple[str, str | None]]] = {}
    for name, kind, stability in rows:
        found.setdefault(str(name).lower(), set()).add((kind, stability))
    return found
