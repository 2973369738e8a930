"""Names -> labels: what `hypotheses=["upos=NOUN", "is_*", "length(word) > 6"]` means for one dataset.

A request is looked up in this order, and the first that fits decides: a registered hypothesis; a column of the dataset
(one boolean hypothesis per value of a category); `column=value`, or `hypothesis=value` where a function gives
categories; a column that symbols always have (`position`, `token=the`); a glob over all but these; an SQL expression
over the columns of the symbols. A name that is both a registered hypothesis and a column is refused, since a score must
mean one thing.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from deepbase.blocks import Column, Kind
from deepbase.errors import HypothesisError, nearest
from deepbase.labels.base import Label, Registered, quoted
from deepbase.labels.sources import LIBRARY

TypeOf = Callable[[str], str]
"""An SQL expression in, its SQL type out; raises HypothesisError where it does not bind."""

PLAIN_NAME = re.compile(r"[\w.\-/*?]*")
"""What is meant as a name or a glob, unless it happens to be an SQL expression."""
NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|REAL)")

SYMBOL_COLUMNS = {
    **{n: Column(n, "symbol", "number") for n in ("record", "position", "start", "end", "word_index")},
    **{n: Column(n, "symbol", "category") for n in ("symbol", "token", "word", "text")},
}
"""The columns that symbols have whatever the dataset; they can be named, but no glob means them."""


def bind(
    requests: Sequence[str], registered: Mapping[str, Registered], columns: Sequence[Column], type_of: TypeOf
) -> tuple[Label, ...]:
    """The labels of some requests, each once, in order.

    Args:
        requests: names, globs, columns, `column=value`, or SQL expressions.
        registered: the hypotheses that may be named.
        columns: the columns of the dataset that are there at the level of the inspection.
        type_of: binds an SQL expression against the symbols.

    Raises:
        HypothesisError: if a request means nothing, or two of them give one name to different things.
    """
    found: dict[str, Label] = {}
    by_column = {c.name: c for c in columns}
    for request in requests:
        for label in _resolve(request, registered, by_column, type_of):
            known = found.get(label.name, label)
            if replace(known, category="") != replace(label, category=""):
                raise HypothesisError(f"two hypotheses are called '{label.name}'", "Rename one of them.")
            found[label.name] = known if known.category else label
    return tuple(found.values())


def unshadowed(registered: Mapping[str, Registered], columns: Iterable[Column]) -> dict[str, Registered]:
    """Without the shipped hypotheses whose name a column of the dataset has: the column is meant."""
    taken = {c.name for c in columns}
    return {n: h for n, h in registered.items() if not (n in taken and h.source.startswith(LIBRARY))}


def mentions(expression: str, column: str) -> bool:
    """Whether an SQL expression may read a column: its name occurs in it, as it is or within quotes."""
    return any(name.lower() in expression.lower() for name in (column, column.replace('"', '""')))


def of_columns(columns: Iterable[Column]) -> tuple[Label, ...]:
    """The labels that columns are: one a number or boolean, one for each listed value of a category."""
    return tuple(x for c in columns if c.kind != "category" or c.values is not None for x in _of_column(c))


def label_kind(sql_type: str, name: str) -> Kind:
    """The kind of hypothesis that an SQL type makes.

    Raises:
        HypothesisError: if it is neither boolean nor a number.
    """
    if sql_type == "BOOLEAN":
        return "boolean"
    if NUMBERS.fullmatch(sql_type):
        return "number"
    raise HypothesisError(
        f"hypothesis '{name}' gives {sql_type}, which is neither boolean nor a number",
        "Compare it with a value, as in upper(upos) = 'NOUN'.",
    )


def _resolve(
    request: str, registered: Mapping[str, Registered], columns: Mapping[str, Column], type_of: TypeOf
) -> list[Label]:
    name, equals, value = request.partition("=")
    _refuse_two_of_one_name((request, name), registered, columns)
    if request in registered:
        return _of_registered(registered[request], type_of)
    reach = {**SYMBOL_COLUMNS, **columns}
    if request in reach:
        return _of_column(reach[request])
    if equals and value and value[0] not in "=' ":
        if name in reach:
            return _of_values(reach[name], value)
        if name in registered and (members := _of_category(registered[name], value, type_of)):
            return members
    if equals and (features := [c for c in columns.values() if c.multiple and request in (c.values or ())]):
        return [_member(features[0], request)]
    if any(c in request for c in "*?[") and (matches := _of_glob(request, registered, columns, type_of)):
        return matches
    try:
        return [_of_sql(request, request, type_of)]
    except HypothesisError:
        if not (PLAIN_NAME.fullmatch(request) or (equals and PLAIN_NAME.fullmatch(name) and "'" not in value)):
            raise
    raise HypothesisError(f"unknown hypothesis '{request}'", nearest(request, _names(registered, columns.values())))


def _refuse_two_of_one_name(
    names: Sequence[str], registered: Mapping[str, Registered], columns: Mapping[str, Column]
) -> None:
    for asked in names:
        if asked in registered and asked in columns:
            raise HypothesisError(
                f"two hypotheses are called '{asked}': a registered one and a column of the dataset",
                "Rename one of them.",
            )


def _names(registered: Iterable[str], columns: Iterable[Column]) -> list[str]:
    """Every name that a request may have, for globs and for 'did you mean'."""
    names = list(registered)
    for column in columns:
        if column.kind == "category":
            names += [f"{column.name}={v}" for v in column.values or ()]
        names.append(column.name)
    return names


def _of_glob(
    pattern: str, registered: Mapping[str, Registered], columns: Mapping[str, Column], type_of: TypeOf
) -> list[Label]:
    candidates = [n for n in registered if n not in columns]
    labels = [label for n in fnmatch.filter(candidates, pattern) for label in _of_registered(registered[n], type_of)]
    for column in columns.values():
        if column.kind != "category":
            labels += _of_column(column) if fnmatch.fnmatchcase(column.name, pattern) else []
        else:
            labels += [
                _member(column, v) for v in column.values or () if fnmatch.fnmatchcase(f"{column.name}={v}", pattern)
            ]
    return labels


def _of_registered(hypothesis: Registered, type_of: TypeOf) -> list[Label]:
    function = hypothesis.function
    if function is None:
        label = _of_sql(hypothesis.name, hypothesis.expression, type_of)
        return [replace(label, source=hypothesis.source, description=hypothesis.description)]
    expression = f"{quoted(function.name)}({', '.join(quoted(p.column) for p in function.parameters)})"
    arguments = (f"[{quoted(p.column)}]" if p.is_list else quoted(p.column) for p in function.parameters)
    type_of(f"{quoted(function.name)}({', '.join(arguments)})")  # may name a column that the dataset lacks
    label = Label(
        name=function.name,
        kind="boolean" if function.kind == "category" else function.kind,
        expression=expression,
        value=None,
        multiple=False,
        function=function,
        fingerprint=function.fingerprint,
        source=hypothesis.source,
        description=hypothesis.description,
    )
    if function.kind != "category":
        return [label]
    return [replace(label, name=f"{function.name}={v}", value=v, category=function.name) for v in function.values]


def _of_sql(name: str, expression: str, type_of: TypeOf) -> Label:
    kind = label_kind(type_of(expression), name)
    return Label(name, kind, expression, None, False, None, _digest(expression), "sql", expression)


def _of_column(column: Column) -> list[Label]:
    if column.kind != "category":
        return [_of_expression(column.name, column.kind, quoted(column.name), f"the column {column.name}")]
    if column.values is None:
        raise HypothesisError(
            f"column '{column.name}' has more than 1,000 values, each of which would be a hypothesis",
            f"Name the ones you want: {column.name}=VALUE.",
        )
    members = [_member(column, v) for v in column.values]
    return members if column.multiple else [replace(m, category=column.name) for m in members]


def _of_expression(name: str, kind: Kind, expression: str, description: str) -> Label:
    """A label that is what a column, or a comparison with it, gives."""
    digest = _digest(name if expression == quoted(name) else expression)
    return Label(name, kind, expression, None, False, None, digest, "column", description)


def _of_category(hypothesis: Registered, value: str, type_of: TypeOf) -> list[Label]:
    """`hypothesis=value` of a function that gives categories, where the value may be a glob."""
    if hypothesis.function is None or hypothesis.function.kind != "category":
        return []
    labels = [replace(x, category="") for x in _of_registered(hypothesis, type_of)]
    found = [x for x in labels if x.value == value or fnmatch.fnmatchcase(str(x.value), value)]
    if not found:
        values = hypothesis.function.values
        raise HypothesisError(f"hypothesis '{hypothesis.name}' never has the value '{value}'", nearest(value, values))
    return found


def _of_values(column: Column, value: str) -> list[Label]:
    """`column=value`, where the value may be a glob."""
    if column.kind != "category":
        expression = f"{quoted(column.name)} = {_literal(value)}"
        return [_of_expression(f"{column.name}={value}", "boolean", expression, f"{column.name} is {value}")]
    if column.values is None or value in column.values:
        return [_member(column, value)]
    matches = [_member(column, v) for v in column.values if fnmatch.fnmatchcase(v, value)]
    if not matches:
        raise HypothesisError(f"column '{column.name}' never has the value '{value}'", nearest(value, column.values))
    return matches


def _member(column: Column, value: str) -> Label:
    name = f"{column.name}={value}"
    says = f"{column.name} {'has' if column.multiple else 'is'} {value}"
    return Label(name, "boolean", quoted(column.name), value, column.multiple, None, _digest(name), "column", says)


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
