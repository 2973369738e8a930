"""The parameters of a statement, by name.

Parts of a statement are run on their own, and DuckDB refuses values that a query does not mention. So every parameter
gets a name, whether it was written as `?`, `$1` or `$name`, and each part gets the values that it mentions. As for
DuckDB, a `?` is one more than the highest number before it, and names know no case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepbase.query.lexer import tokens
from deepbase.query.source import Source

Parameters = Sequence[Any] | Mapping[str, Any] | None


def named(source: Source, parameters: Parameters) -> tuple[Source, dict[str, Any]]:
    """A statement whose parameters all have names, and their values.

    >>> source, values = named(Source.of("SELECT ?, ?, $1"), [3, 4])
    >>> source.text, values
    ('SELECT $p1, $p2, $p1', {'p1': 3, 'p2': 4})
    """
    by_place = isinstance(parameters, Sequence)
    values = {f"p{i + 1}": v for i, v in enumerate(parameters)} if by_place else dict(parameters or {})  # type: ignore[arg-type]
    found = [t for t in tokens(source.text) if t.kind == "parameter"]
    names, highest = [], 0
    for token in found:
        place = token.text[1:] or str(highest + 1)
        if place.isdecimal():
            highest = max(highest, int(place))
        names.append(f"$p{place}" if place.isdecimal() else token.text)
    for token, name in reversed(list(zip(found, names, strict=True))):
        source = source.replace(token.start, token.end, name)
    if not by_place:
        values = {f"p{k}" if str(k).isdecimal() else str(k): v for k, v in values.items()}
    return source, values


def mentioned(text: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values that a text mentions; None for none."""
    names = {t.text[1:].lower() for t in tokens(text) if t.kind == "parameter"}
    return {k: v for k, v in values.items() if k.lower() in names} or None
