"""Which column of a source is the text, which are the words, and what the others say.

The text is the column that `text=` names; else the first of `TEXT_NAMES` that is there, whatever its case; else, if
words are given, these words joined by single spaces; else the only column that is text. The words are a list of texts
called like one of `WORD_NAMES`. Every other column stays as it is (but times, UUIDs and JSON become their text), unless
its name is one of `RESERVED`, which the tables of DeepBase use themselves: that is an error, because a silent renaming
would be found too late.

A column is usable by hypotheses, predicates and groups if its values, or the elements of its lists, are booleans,
numbers or something with a short text: then there is a `Column` for it. Structs, maps, nested lists and blobs are
kept in the table and otherwise left alone.

Everything here is SQL over the ingested table. Memory: DuckDB's, and at most some thousand distinct values a column,
because exact counting starts only where an estimate in constant memory says that there are few.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from deepbase.blocks import Column, ColumnLevel, Kind
from deepbase.errors import DatasetError, nearest
from deepbase.inputs.files import identifier, quoted
from deepbase.inputs.words import NON_SPACES

TEXT_NAMES = (
    *("text", "sentence", "content", "document", "string", "body", "query"),
    *("utterance", "prompt", "question", "review"),
)
WORD_NAMES = ("words", "word", "tokens", "token")
RESERVED = frozenset(
    {"dataset", "record", "text", "position", "symbol", "token", "start", "end"}
    | {"word", "word_index", "word_start", "word_end"}
)
MOST_VALUES = 1_000
_FEW = 4 * MOST_VALUES  # the estimate is off by some per cent; beyond this there are certainly more than MOST_VALUES

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_NUMBERS = re.compile(r"UBIGINT|HUGEINT|UHUGEINT|FLOAT|DOUBLE|DECIMAL\(.*\)|BIGNUM")
_CATEGORIES = re.compile(r"VARCHAR|JSON|UUID|DATE|TIME(STAMP)?(_\w+)?( WITH TIME ZONE)?|ENUM\(.*\)", re.DOTALL)
_ODD = re.compile(r"JSON|UUID|TIME.*")
_LIST = re.compile(r"(.*)\[\d*\]", re.DOTALL)


@dataclass(frozen=True)
class Roles:
    """What the columns of a source are.

    Attributes:
        text: the column of the text; None if it is to be spelled from the words.
        words: the column of the words; None if they are not given.
        others: name and type of the rest.
        guessed: whether the text is only what was left, and no name spoke for it.
    """

    text: str | None
    words: str | None
    others: Mapping[str, str]
    guessed: bool = False


def element(kind: str) -> str | None:
    """The type of the elements of a list or array type, None for other types."""
    found = _LIST.fullmatch(kind)
    return found[1] if found else None


def stored(kind: str) -> str:
    """The type under which a column of some type is kept: arrays become lists, and times and the like their text.

    Arrow and DuckDB write a time in different ways, so that a value of a `Column` would not be found again.
    """
    inner = element(kind)
    if inner is not None:
        return f"{stored(inner)}[]"
    return "VARCHAR" if _ODD.fullmatch(kind) else kind


def is_annotation(kind: str) -> bool:
    """Whether a type is a list of values that hypotheses can use."""
    return _kind(element(kind) or "") is not None


def roles(columns: Mapping[str, str], name: str, text: str | None) -> Roles:
    """Find out what the columns are.

    Args:
        columns: their types by name, as DuckDB spells them.
        name: of the source, for messages.
        text: the column that the user says is the text.

    Raises:
        DatasetError: no column is the text, or one has a name that is taken.
    """
    lower = {column.lower(): column for column in columns}
    words = next((lower[w] for w in WORD_NAMES if w in lower and element(columns[lower[w]]) == "VARCHAR"), None)
    guessed = False
    if text is not None:
        chosen: str | None = _named(text, columns, lower, name)
    else:
        known = [lower[n] for n in TEXT_NAMES if n in lower]
        texts = [column for column, kind in columns.items() if _is_text(kind)]
        chosen = next((column for column in known if column in texts), None)
        guessed = chosen is None and words is None
        if guessed:
            if known or len(texts) != 1:
                raise _no_text(columns, name, known)
            chosen = texts[0]
    others = {column: kind for column, kind in columns.items() if column not in (chosen, words)}
    taken = [column for column in others if column.lower() in RESERVED]
    if taken:
        raise DatasetError(
            f"{name} has a column {taken[0]!r}, a name that DeepBase needs for its own tables",
            f"Rename it or leave it out, for example with a query: SELECT * RENAME ({identifier(taken[0])} AS "
            f"{taken[0].lower()}_) FROM ...",
        )
    return Roles(chosen, words, others, guessed)


def _is_text(kind: str) -> bool:
    return kind == "VARCHAR" or kind.startswith("ENUM(")


def _named(text: str, columns: Mapping[str, str], lower: Mapping[str, str], name: str) -> str:
    column = text if text in columns else lower.get(text.lower())
    if column is None:
        raise DatasetError(f"{name} has no column {text!r}", nearest(text, columns))
    if not _is_text(columns[column]):
        raise DatasetError(f"the column {column!r} of {name} is {columns[column]}, not text", "Name a column of text.")
    return column


def _no_text(columns: Mapping[str, str], name: str, known: Sequence[str]) -> DatasetError:
    if known:
        return DatasetError(
            f"the column {known[0]!r} of {name} is {columns[known[0]]}, not text",
            "Say which column is the text: text='...' in Python, --text ... on the command line.",
        )
    listed = ", ".join(f"{column} ({kind})" for column, kind in columns.items())
    return DatasetError(
        f"{name} does not say which of its columns is the text: {listed}",
        "Say it: text='...' in Python, --text ... on the command line.",
    )


def describe(
    con: duckdb.DuckDBPyConnection,
    table: str,
    own: Sequence[str],
    *,
    levels: Mapping[str, ColumnLevel],
    multiple: frozenset[str] = frozenset(),
) -> tuple[Column, ...]:
    """The usable columns of an ingested table with their kinds and values.

    Args:
        con: the connection that has the table.
        table: its name, quoted.
        own: the source's own columns.
        levels: the levels of those that are lists.
        multiple: those that hold several values joined by `|`.
    """
    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {table}").fetchall()}
    found = []
    for column in own:
        listed, several = column in levels, column in multiple
        kind = _kind((element(types[column]) or "") if listed else types[column])
        if kind is None:
            continue
        items = _items(table, column, listed=listed, multiple=several)
        values = _values(con, items, several) if kind == "category" else None
        integer = (element(types[column]) if listed else types[column]) in _INTEGERS
        found.append(Column(column, levels.get(column, "record"), kind, values, several, integer))
    return tuple(found)


def _kind(kind: str) -> Kind | None:
    if kind == "BOOLEAN":
        return "boolean"
    if kind in _INTEGERS or _NUMBERS.fullmatch(kind):
        return "number"
    return "category" if _CATEGORIES.fullmatch(kind) else None


def _items(table: str, column: str, *, listed: bool, multiple: bool) -> str:
    """A subquery with the single values of a column as `v`, one a row."""
    name = identifier(column)
    items = f"SELECT {f'unnest({name})' if listed else name} AS v FROM {table}"
    return f"(SELECT unnest(string_split(v, '|')) AS v FROM ({items}))" if multiple else f"({items})"


def _values(con: duckdb.DuckDBPyConnection, items: str, multiple: bool) -> tuple[str, ...] | None:
    """The distinct values, the most frequent first; None if there are too many."""
    if con.execute(f"SELECT approx_count_distinct(v) FROM {items}").fetchall()[0][0] > _FEW:
        return None
    some = "v IS NOT NULL AND v <> ''" if multiple else "v IS NOT NULL"
    rows = con.execute(
        f"SELECT v::VARCHAR AS v FROM {items} WHERE {some} "
        f"GROUP BY ALL ORDER BY count(*) DESC, v LIMIT {MOST_VALUES + 1}"
    ).fetchall()
    return tuple(row[0] for row in rows) if len(rows) <= MOST_VALUES else None


def levels(
    con: duckdb.DuckDBPyConnection, table: str, lists: Sequence[str], *, given_words: bool, name: str
) -> dict[str, ColumnLevel]:
    """What the lists of a table are about, and that all of them have the length which that demands.

    A list is about the words if it is as long as there are words in at least half of the records that have it, else
    in the same way about the characters, else about the symbols, of which only the model's tokenizer knows how many
    there are.

    Raises:
        DatasetError: a list has another length.
    """
    if not lists:
        return {}
    words = "coalesce(len(word), 0)" if given_words else f"len(regexp_extract_all(text, {quoted(NON_SPACES)}))"
    counted = f"(SELECT *, {words} AS deepbase_words, length(text) AS deepbase_characters FROM {table})"
    sums = ", ".join(
        f"count({c}), count(*) FILTER (len({c}) = deepbase_words), count(*) FILTER (len({c}) = deepbase_characters)"
        for c in map(identifier, lists)
    )
    row = con.execute(f"SELECT {sums} FROM {counted}").fetchall()[0]
    found: dict[str, ColumnLevel] = {}
    for i, column in enumerate(lists):
        present, by_words, by_characters = row[3 * i : 3 * i + 3]
        found[column] = "word" if 2 * by_words >= present else "character" if 2 * by_characters >= present else "symbol"
    for column, level in found.items():
        if level != "symbol":
            _check_lengths(con, counted, column, level, name)
    return found


def _check_lengths(con: duckdb.DuckDBPyConnection, counted: str, column: str, level: ColumnLevel, name: str) -> None:
    c, demanded = identifier(column), f"deepbase_{level}s"
    wrong = con.execute(
        f"SELECT record, len({c}), {demanded} FROM {counted} WHERE len({c}) <> {demanded} ORDER BY record LIMIT 1"
    ).fetchall()
    if wrong:
        record, values, expected = wrong[0]
        raise DatasetError(
            f"{name}, record {record}: column {column!r} has {values} values for {expected} {level}s",
            f"Most records have one value per {level}; correct this one, or leave the column out.",
        )
