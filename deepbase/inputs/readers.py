"""Sources of records to one DuckDB table.

`ingest` takes files, queries, Arrow data, data frames and lists, and makes of each the same: a table with `record`,
`text`, the source's own columns, and, if words are given, `word`, `word_start` and `word_end`. It is one streaming
`CREATE TABLE AS` over a DuckDB reader, or, for text lines and CoNLL-U, over a generator of Arrow batches, so the size
of a source does not matter; `record` counts the rows in their order.

What is a record: a line of a text file unless it is blank, a row of a table, a sentence of CoNLL-U. A CSV cannot tell
an empty text from none, so there both are an empty record; anywhere else a NULL text is an error. An empty record is
kept, and counted when it turns out to have no symbols.

Nothing is left behind on an error, whether the caller has a transaction open or not.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from deepbase.blocks import ColumnLevel
from deepbase.errors import DatasetError
from deepbase.inputs import columns, conllu, words
from deepbase.inputs.base import DatasetInfo
from deepbase.inputs.files import identifier
from deepbase.inputs.sources import Source, numbers, open_source, quietly, reading

_SPANS = pa.struct({"first": pa.list_(pa.int32()), "last": pa.list_(pa.int32())})


def ingest(
    con: duckdb.DuckDBPyConnection,
    table: str,
    source: object,
    *,
    text: str | None = None,
    query_con: duckdb.DuckDBPyConnection | None = None,
) -> DatasetInfo:
    """Read a source into a new table.

    Args:
        con: the connection that creates the table, in the caller's transaction if there is one.
        table: the name of the table, qualified and quoted; there must be none of that name.
        source: a path to a file (.txt .csv .tsv .jsonl .ndjson .json .parquet .conllu), a query, an Arrow table,
            dataset or reader, a data frame of pandas or polars, a list of texts or a list of dictionaries.
        text: the column of the text; by default it is found by its name (see `columns`).
        query_con: where a query runs, if not on `con`.

    Raises:
        DatasetError: the source cannot be read, has no text, has no records, or its lists do not fit their records.
    """
    with ExitStack() as stack:
        opened = open_source(con, source, query_con or con, stack)
        roles = _roles(con, opened, text)
        selected = _select(con, opened, roles, stack) if roles else _numbered("*", opened.relation)
        stack.enter_context(_ordered(con))
        with reading(opened):
            con.execute(f"CREATE TABLE {table} AS {selected}")
        try:
            if opened.failures:
                raise opened.failures[0]
            return _finish(con, table, opened, roles)
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                con.execute(f"DROP TABLE {table}")
            raise


def _roles(con: duckdb.DuckDBPyConnection, opened: Source, text: str | None) -> columns.Roles | None:
    """What the columns of a source are; None where they are those of CoNLL-U."""
    if opened.complete:
        if text is not None:
            raise DatasetError(f"{opened.name} is CoNLL-U, whose text needs no column", f"Leave text={text!r} out.")
        return None
    with reading(opened):
        described = con.execute(f"DESCRIBE SELECT * FROM {opened.relation}").fetchall()
    types = {row[0]: row[1].strip('"') for row in described}
    if opened.table:  # there a text that looks like a number or a date is a text all the same
        wanted = {"text", "sentence"} if text is None else {text.lower()}
        types |= {column: "VARCHAR" for column in types if column.lower() in wanted}
    roles = columns.roles(types, opened.name, text)
    if opened.table:
        if roles.guessed and not opened.table.has_header():
            raise DatasetError(
                f"{opened.name} seems to have no header: its first line is no line of names",
                "Write a first line that names the columns.",
            )
        opened.relation = opened.table.relation(roles.text)
    if opened.fingerprint and text is not None:  # the same bytes with another text are another dataset
        opened.fingerprint = hashlib.sha256(f"{opened.fingerprint} {text}".encode()).hexdigest()
    return roles


def _finish(con: duckdb.DuckDBPyConnection, table: str, opened: Source, roles: columns.Roles | None) -> DatasetInfo:
    """Check the records of an ingested table and say what it is."""
    count, null, nul = con.execute(
        f"SELECT count(*), min(record) FILTER (text IS NULL), min(record) FILTER (contains(text, chr(0))) FROM {table}"
    ).fetchall()[0]
    if not count:
        raise DatasetError(f"{opened.name} has no records")
    if null is not None:
        raise DatasetError(
            f"{opened.name}, record {null}: its text is NULL",
            "Leave such records out: SELECT ... WHERE text IS NOT NULL.",
        )
    if nul is not None:
        raise DatasetError(f"{opened.name}, record {nul}: its text has a NUL character", "Remove it.")
    if roles is None:
        lists = list(conllu.LISTS)
        levels: dict[str, ColumnLevel] = dict.fromkeys(lists, "word")
        own = ["sent_id", "doc_id", *lists]
    else:
        own = list(roles.others)
        lists = [name for name, kind in roles.others.items() if columns.is_annotation(kind)]
        levels = columns.levels(con, table, lists, given_words=roles.words is not None, name=opened.name)
    multiple = conllu.MULTIPLE if roles is None else frozenset[str]()
    found = columns.describe(con, table, own, levels=levels, multiple=multiple)
    return DatasetInfo(count, opened.fingerprint or _fingerprint(con, table), opened.source, found)


def _fingerprint(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """A digest of the rows of a table, with their order, names and types: sums of MD5, so that no row is kept."""
    described = [row[:2] for row in con.execute(f"DESCRIBE {table}").fetchall()]
    sums = con.execute(
        f"SELECT count(*), sum(md5_number_lower(t::VARCHAR)), sum(md5_number_upper(t::VARCHAR)) FROM {table} t"
    ).fetchall()
    return hashlib.sha256(repr((described, sums)).encode()).hexdigest()


def _numbered(what: str, relation: str) -> str:
    return f"SELECT row_number() OVER () - 1 AS record, {what} FROM {relation}"


def _select(con: duckdb.DuckDBPyConnection, opened: Source, roles: columns.Roles, stack: ExitStack) -> str:
    """The query whose rows are the records of the table."""
    pieces = []
    if roles.text is not None:
        text = f"{identifier(roles.text)}::VARCHAR"
        pieces.append(f"coalesce({text}, '') AS text" if opened.empty_text else f"{text} AS text")
    else:
        pieces.append(f"array_to_string({identifier(roles.words or '')}, ' ') AS text")
    if roles.words is not None:
        pieces.append(f"{identifier(roles.words)}::VARCHAR[] AS word")
    for name, kind in roles.others.items():
        stored = columns.stored(kind)
        pieces.append(f"{identifier(name)}::{stored} AS {identifier(name)}" if stored != kind else identifier(name))
    query = _numbered(", ".join(pieces), opened.relation)
    if roles.words is None:
        return query
    function = _spans_function(con, opened, roles.words, stack)
    others = "".join(f", {identifier(name)}" for name in roles.others)
    return (
        f"SELECT record, text, word, spans_.first AS word_start, spans_.last AS word_end{others} "
        f"FROM (SELECT *, {function}(record, text, word) AS spans_ FROM ({query}))"
    )


def _spans_function(con: duckdb.DuckDBPyConnection, opened: Source, column: str, stack: ExitStack) -> str:
    """An SQL function (record, text, words) -> their spans in the text."""

    def spans(record: pa.ChunkedArray, text: pa.ChunkedArray, word: pa.ChunkedArray) -> pa.Array:
        rows: list[dict[str, list[int]] | None] = []
        for number, characters, given in zip(record.to_pylist(), text.to_pylist(), word.to_pylist(), strict=True):
            if given is None or characters is None or opened.failures:
                rows.append(None)
                continue
            places = words.locate(characters, [w or "" for w in given])
            if len(places) < len(given):
                opened.failures.append(_not_in_text(opened.name, number, column, given, len(places)))
            rows.append({"first": [first for first, _ in places], "last": [last for _, last in places]})
        return pa.array(rows, _SPANS)

    name = f"deepbase_spans_{next(numbers)}"
    con.create_function(
        name,
        spans,
        ["BIGINT", "VARCHAR", "VARCHAR[]"],
        "STRUCT(first INTEGER[], last INTEGER[])",
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
    )
    stack.callback(quietly, lambda: con.remove_function(name))
    return name


def _not_in_text(name: str, record: int, column: str, given: list[str | None], missing: int) -> DatasetError:
    word = given[missing]
    what = "is NULL or empty" if not word else f"{word!r} is not in the text after the words in front of it"
    return DatasetError(
        f"{name}, record {record}: word {missing} of column {column!r} {what}",
        "Words are found in the text one after another; correct them, or leave the column out.",
    )


@contextlib.contextmanager
def _ordered(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Rows come in the order of the source, even where the user gave that up."""
    if con.execute("SELECT current_setting('preserve_insertion_order')").fetchall() == [(True,)]:
        yield
        return
    with contextlib.closing(con.cursor()) as cursor:
        cursor.execute("SET GLOBAL preserve_insertion_order = true")
        try:
            yield
        finally:
            cursor.execute("SET GLOBAL preserve_insertion_order = false")
