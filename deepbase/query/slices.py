"""GROUP BY: which columns there are to group by, and how the values of a group are written in `scores.slice`.

Each group of values gets a set of scores of its own. A column is qualified by the table that it is of: `inputs.genre`
and `inputs.dataset` differ from record to record, while the columns of `models`, `units`, `layers` and `hypotheses` are
constants of a row of `scores`.

A slice is a text that can be read and turned back. Of one column it is the value, with `NULL` for NULL; a value that is
that word, or that begins with a single quote, is written as an SQL string literal. Of several columns it is a JSON
object in the order of GROUP BY.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from deepbase.errors import QueryError, nearest

OF_RECORDS = "inputs"
"""The table whose columns differ from record to record."""
ORDER = (OF_RECORDS, "models", "layers", "hypotheses", "units")
"""In which tables a bare name is looked up, one after another."""
NULL = "NULL"


def resolve(requests: Sequence[str], columns: Mapping[str, Sequence[str]], lists: Sequence[str]) -> tuple[str, ...]:
    """The qualified names of some columns.

    Args:
        requests: qualified or bare names, in any case of letters.
        columns: the columns of each table of `ORDER`.
        lists: the columns of the dataset that have several values a record.

    Raises:
        QueryError: for a column that is not there, has several values a record, or is named twice.
    """
    found: list[str] = []
    for request in requests:
        name = _resolve(request, columns, lists)
        if name in found:
            raise QueryError(f"cannot group by '{request}' twice", "Name it once.")
        found.append(name)
    return tuple(found)


def _resolve(request: str, columns: Mapping[str, Sequence[str]], lists: Sequence[str]) -> str:
    table, _, column = request.partition(".")
    qualified = {f"{t}.{c}".lower(): f"{t}.{c}" for t in ORDER for c in columns[t]}
    bare = {c.lower(): f"{t}.{c}" for t in reversed(ORDER) for c in columns[t]}
    if name := qualified.get(request.lower()) or bare.get(request.lower()):
        return name
    plain = column if table.lower() == OF_RECORDS else request
    if plain.lower() in {c.lower() for c in lists}:
        raise QueryError(
            f"cannot group by '{request}': it has several values a record", "Group by a column with one value a record."
        )
    known = columns[table] if table in columns else [name.partition(".")[2] for name in bare.values()]
    hint = nearest(column if table in columns else request, known)
    raise QueryError(f"cannot group by '{request}': there is no such column", hint)


def column_of(name: str, table: str) -> str | None:
    """The column of a qualified name, if it is of a table.

    >>> column_of("inputs.genre", "inputs"), column_of("models.epoch", "inputs")
    ('genre', None)
    """
    of, _, column = name.partition(".")
    return column if of == table else None


def slice_text(group_by: Sequence[str], values: Sequence[str | None]) -> str | None:
    """The values of a group as one text; None without columns.

    >>> slice_text(["inputs.genre"], ["news"]), slice_text(["inputs.genre", "models.epoch"], ["news", None])
    ('news', '{"genre": "news", "epoch": null}')
    """
    if not group_by:
        return None
    if len(group_by) > 1:
        return json.dumps(dict(zip(_keys(group_by), values, strict=True)), ensure_ascii=False)
    (value,) = values
    if value is None:
        return NULL
    return _literal(value) if value == NULL or value.startswith("'") else value


def slice_sql(group_by: Sequence[str], index: int, column: str = "slice") -> str:
    """An SQL expression that gives a value of a group back: VARCHAR, the inverse of `slice_text`.

    Args:
        group_by: the columns of the slices.
        index: which of them.
        column: SQL for the slice.
    """
    if len(group_by) > 1:
        pointer = "/" + _keys(group_by)[index].replace("~", "~0").replace("/", "~1")
        return f"json_extract_string({column}, {_literal(pointer)})"
    inside = f"replace(substr({column}, 2, length({column}) - 2), '''''', '''')"
    return f"CASE WHEN {column} = '{NULL}' THEN NULL WHEN starts_with({column}, '''') THEN {inside} ELSE {column} END"


def _keys(group_by: Sequence[str]) -> list[str]:
    """The keys of a slice of several columns: bare names, and qualified ones where two would be equal."""
    bare = [name.partition(".")[2] for name in group_by]
    keys = [name if bare.count(short) > 1 else short for name, short in zip(group_by, bare, strict=True)]
    return keys if len(set(keys)) == len(keys) else list(group_by)


def _literal(text: str) -> str:
    """A text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
