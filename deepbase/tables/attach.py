"""The virtual tables of a connection: what is registered there, and the macros over it.

Registered objects and temporary macros belong to one connection, so each connection that runs a user's SQL gets its own
when it is made. `symbols` has other columns for every dataset; so there is one object a dataset, under a name that the
macro makes of the dataset's, and `refresh` registers those of datasets that have come or changed since.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from deepbase import catalog
from deepbase.errors import CatalogError, nearest
from deepbase.inputs.symbols import symbols_schema
from deepbase.store import Store
from deepbase.tables.arrow import VirtualDataset
from deepbase.tables.base import ARGUMENTS, REQUEST, SCHEMAS, Source, request_sql
from deepbase.tables.scan import Make, SymbolRows, scan

SYMBOLS = "deepbase_symbols_"
"""What stands before the name of a dataset, in hexadecimal, where its symbols are registered."""
SHARED = "deepbase_"
"""What stands before the names of the tables that are the same for every dataset."""

MENTIONED = re.compile(rf"\b({'|'.join(ARGUMENTS)}|contexts)\b", re.IGNORECASE)
MISSING = "is computed by DeepBase"
"""What the tables say in a file that DeepBase did not open."""

T = TypeVar("T")


class Tables:
    """The virtual tables of a database.

    Args:
        source: where they get what they show.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fingerprints: weakref.WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, str]] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def _store(self) -> Store:
        return self._source.store

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the virtual tables known to a new connection."""
        for table, schema in SCHEMAS.items():
            self._register(connection, f"{SHARED}{table}", table, schema)
            columns = ", ".join(catalog.quoted(n) for n in schema.names if n != REQUEST)
            self._define(connection, table, f"SELECT {columns} FROM {SHARED}{table} WHERE {REQUEST} =")
        source = f"query_table('{SYMBOLS}' || hex(dataset::VARCHAR))"
        self._define(connection, "symbols", f"SELECT * EXCLUDE ({REQUEST}) FROM {source} WHERE {REQUEST} =")
        self.refresh(connection)

    def run(self, cursor: duckdb.DuckDBPyConnection, query: str, work: Callable[[], T]) -> T:
        """Run a query on a cursor of its own, with the virtual tables if it needs them, which take some milliseconds.

        Whether it does is seen in its text, or, where a view or a macro is in between, from how it fails without.
        """
        if MENTIONED.search(query):
            self.attach(cursor)
            return work()
        try:
            return work()
        except duckdb.Error as error:
            if not isinstance(error, duckdb.BinderException) and MISSING not in str(error):
                raise
        self.attach(cursor)
        return work()

    def refresh(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the symbols of datasets known that are new or have changed."""
        with suppress(duckdb.Error):  # an open result, or a transaction that failed: the query itself will say so
            found = connection.execute(
                f"SELECT d.dataset, d.fingerprint, v.view_name IS NOT NULL FROM {self._store.name}.main.datasets d "
                f"LEFT JOIN duckdb_views() v ON v.temporary AND v.view_name = '{SYMBOLS}' || hex(d.dataset)"
            ).fetchall()
            known = self._fingerprints.setdefault(connection, {})
            for name, fingerprint, is_there in found:
                if not is_there or known.get(name) != fingerprint:
                    self._register_symbols(connection, name)
                    known[name] = fingerprint

    def explained(self, error: duckdb.Error) -> CatalogError | None:
        """What an error of DuckDB means that is about the table of a dataset which is not there; None for others."""
        text = str(error)
        at = text.find(f"name {SYMBOLS}")
        if not isinstance(error, duckdb.CatalogException) or at < 0:
            return None
        code = text[at:].split()[1].removeprefix(SYMBOLS)
        with self._store.session() as cursor:
            names = catalog.names(cursor, "dataset")
        name = bytes.fromhex(code).decode()
        return CatalogError(f"there is no dataset '{name}'", nearest(name, names))

    def _register_symbols(self, connection: duckdb.DuckDBPyConnection, dataset: str) -> None:
        with self._store.session() as cursor:
            columns = catalog.dataset(cursor, dataset).columns
        fields = symbols_schema(columns)
        schema = pa.schema([pa.field(REQUEST, pa.string()), *fields])
        self._register(connection, f"{SYMBOLS}{dataset.encode().hex().upper()}", "symbols", schema)

    def _register(self, connection: duckdb.DuckDBPyConnection, name: str, table: str, schema: pa.Schema) -> None:
        own = weakref.ref(self)  # DuckDB keeps what is registered, and would keep the database that keeps DuckDB

        def rows(columns: list[str], expression: Any) -> Iterator[pa.RecordBatch]:
            tables = own()
            if tables is None:
                raise CatalogError("the database of this query is gone", "Keep it as long as its relations.")
            return scan(tables._source, table, schema, columns, expression, _maker(table))

        connection.register(name, VirtualDataset(schema, rows))

    def _define(self, connection: duckdb.DuckDBPyConnection, table: str, query: str) -> None:
        parameters = ", ".join(ARGUMENTS[table])
        connection.execute(
            f"CREATE OR REPLACE TEMP MACRO {table}({parameters}, \"at\" := 'token') AS TABLE "
            f"{query} {request_sql(table)}"
        )


def _maker(table: str) -> Make:
    """What makes the rows of a table; labels and models are imported when they are first needed."""
    if table == "symbols":
        return SymbolRows
    if table == "hypothesis_values":
        from deepbase.tables.labels import LabelRows

        return LabelRows
    from deepbase.tables.units import ActivationRows, UnitRows

    return UnitRows if table == "unit_activations" else ActivationRows
