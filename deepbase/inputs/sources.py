"""Whatever may be a source of records, as something that DuckDB can select from.

Files that DuckDB reads well are left to its readers. Text lines and CoNLL-U come as a stream of Arrow batches from a
generator. Queries become a temporary view, and Arrow data and data frames are registered; what is made for that is
undone when the caller's exit stack closes.

An error inside a generator that DuckDB calls would abort the caller's transaction and lose its type, so there it is
noted, the stream ends, and the caller raises it. Memory: `_LINES` lines, or one batch of the source.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from deepbase.errors import DatasetError
from deepbase.inputs import conllu, files
from deepbase.inputs.files import identifier

numbers = itertools.count()
"""Of names: a function or a view of an aborted transaction may still occupy its own."""

_QUERY = re.compile(
    r"(\s|\(|--[^\n]*\n|/\*.*?\*/)*(select|from|with|values|table|pivot|unpivot|describe|summarize|show)\b",
    re.IGNORECASE | re.DOTALL,
)
_LINES = 4096


@dataclass
class Source:
    """A source that DuckDB can select from.

    Attributes:
        relation: what stands after FROM.
        name: how messages call it.
        source: as in `DatasetInfo`.
        fingerprint: of a file; None where it has to come from the rows.
        empty_text: whether NULL is the empty text.
        complete: whether it has the columns of `conllu.SCHEMA`, spans and all.
        table: for files of CSV, which have to be told which column is text.
        failures: what went wrong inside a generator or a function that DuckDB called.
    """

    relation: str
    name: str
    source: str
    fingerprint: str | None = None
    empty_text: bool = False
    complete: bool = False
    table: files.DelimitedFile | None = None
    failures: list[BaseException] = field(default_factory=list)


def open_source(
    con: duckdb.DuckDBPyConnection, source: object, query_con: duckdb.DuckDBPyConnection, stack: ExitStack
) -> Source:
    """Make a source something that `con` can select from, until the stack closes.

    Raises:
        DatasetError: there is no such thing, or it is of no known kind.
    """
    if isinstance(source, Path):
        return _open_file(con, source, stack)
    if isinstance(source, str):
        if _QUERY.match(source) and not os.path.exists(source):
            return _open_query(con, source, query_con, stack)
        return _open_file(con, Path(source), stack)
    if isinstance(source, list):
        return _register(con, _list_table(source), "list", stack)
    if isinstance(source, pa.RecordBatchReader):
        opened = Source("", "the arrow reader", "arrow reader")
        return _stream(con, opened, source.schema, _foreign(source, opened.name), stack)
    module = type(source).__module__.split(".")[0]
    kinds: Mapping[type, str] = {
        pa.Table: "arrow table",
        duckdb.DuckDBPyRelation: "duckdb relation",
    }
    label = kinds.get(type(source), f"{module.removeprefix('_')} {type(source).__name__}")
    return _register(con, source, label, stack)


def _open_file(con: duckdb.DuckDBPyConnection, path: Path, stack: ExitStack) -> Source:
    path = path.expanduser()
    kind = files.check(path)
    digest = files.fingerprint(path, kind)
    if not path.stat().st_size:
        raise DatasetError(f"{str(path)!r} is empty")
    name, source = repr(path.name), str(path.absolute())
    if kind in ("txt", "conllu"):
        opened = Source("", name, source, digest, complete=kind == "conllu")
        if kind == "conllu":
            return _stream(con, opened, conllu.SCHEMA, conllu.batches(path), stack)
        return _stream(con, opened, pa.schema({"text": pa.string()}), _lines(path), stack)
    if kind in ("csv", "tsv"):
        # On a cursor, because a failing statement would abort the transaction in which the next guess is tried.
        cursor = con.cursor()
        stack.callback(cursor.close)
        table = files.DelimitedFile(cursor, path, kind)
        return Source(table.relation(), name, source, digest, empty_text=True, table=table)
    return Source(files.relation(path, kind), name, source, digest)


def _open_query(
    con: duckdb.DuckDBPyConnection, query: str, query_con: duckdb.DuckDBPyConnection, stack: ExitStack
) -> Source:
    opened = Source("", "the query", query.strip())
    with reading(opened):
        statements = query_con.extract_statements(query)
    if len(statements) != 1:
        raise DatasetError("A dataset is one query, not several statements", "Pass one SELECT.")
    if query_con is not con:
        with reading(opened):
            reader = query_con.sql(query).to_arrow_reader()
        stack.callback(reader.close)
        return _stream(con, opened, reader.schema, _foreign(reader, opened.name), stack)
    opened.relation = identifier(f"deepbase_query_{next(numbers)}")
    with reading(opened):
        con.execute(f"CREATE TEMP VIEW {opened.relation} AS {query}")
    stack.callback(quietly, lambda: con.execute(f"DROP VIEW {opened.relation}"))
    return opened


def _list_table(rows: list[Any]) -> pa.Table:
    kinds = {type(row) for row in rows}
    if not kinds <= {str} and not kinds <= {dict}:
        odd = next(i for i, row in enumerate(rows) if type(row) is not type(rows[0]) or kinds.isdisjoint({str, dict}))
        raise DatasetError(
            f"the list is neither of texts nor of dictionaries: item {odd} is of type {type(rows[odd]).__name__}"
        )
    try:
        if kinds <= {str}:
            return pa.table({"text": pa.array(rows, pa.string())})
        names = dict.fromkeys(name for row in rows for name in row)
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, ValueError) as error:  # ValueError where a text has half a surrogate pair
        raise DatasetError(f"the values of the list do not make columns: {error}") from error


def _register(con: duckdb.DuckDBPyConnection, data: object, label: str, stack: ExitStack) -> Source:
    try:
        return Source(_registered(con, data, stack), f"the {label}", label)
    except duckdb.InvalidInputException as error:
        raise DatasetError(
            f"an object of type {type(data).__name__} is no dataset",
            "Pass a path, a query, an Arrow table or reader, a data frame, a list of texts or a list of dictionaries.",
        ) from error


def _registered(con: duckdb.DuckDBPyConnection, data: object, stack: ExitStack) -> str:
    name = f"deepbase_source_{next(numbers)}"
    con.register(name, data)
    stack.callback(quietly, lambda: con.unregister(name))
    return identifier(name)


def _lines(path: Path) -> Iterator[pa.RecordBatch]:
    """The lines of a text file that are not blank, without their line breaks."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        while lines := list(itertools.islice(file, _LINES)):
            texts = [line.removesuffix("\n").removesuffix("\r") for line in lines if not line.isspace()]
            yield pa.record_batch({"text": pa.array(texts, pa.string())})


def _stream(
    con: duckdb.DuckDBPyConnection,
    opened: Source,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    stack: ExitStack,
) -> Source:
    """Let a source be read from a generator; it ends where it fails, and the failure is noted."""

    def noted() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except GeneratorExit:
            raise
        except BaseException as error:
            opened.failures.append(error)

    opened.relation = _registered(con, pa.RecordBatchReader.from_batches(schema, noted()), stack)
    return opened


def _foreign(reader: pa.RecordBatchReader, name: str) -> Iterator[pa.RecordBatch]:
    """The batches of a reader that is not ours, and neither are its errors."""
    try:
        yield from reader
    except Exception as error:
        raise DatasetError(f"{name} cannot be read: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def reading(opened: Source) -> Iterator[None]:
    """Turn what DuckDB says of a source into a DatasetError; interrupts and the like pass."""
    try:
        yield
    except (
        duckdb.InterruptException,
        duckdb.OutOfMemoryException,
        duckdb.InternalException,
        duckdb.FatalException,
        duckdb.TransactionException,
    ):
        raise
    except duckdb.Error as error:
        raise DatasetError(f"{opened.name} cannot be read: {files.first_line(error)}") from error


def quietly(close: Callable[[], object]) -> None:
    """Clean up, unless an aborted transaction will do it."""
    with contextlib.suppress(duckdb.Error):
        close()
