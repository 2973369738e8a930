"""Errors of DuckDB, with the lines of the text that the user wrote.

DuckDB sees one statement of a script, and one with an INSPECT clause only after something was put in its place. Where
its message shows a line, this shows the user's.
"""

from __future__ import annotations

import re
import unicodedata

import duckdb

from deepbase.parameters import Parameters
from deepbase.query.lexer import BLANK_CHARACTERS
from deepbase.query.source import Source

SHOWN = re.compile(r"^LINE (\d+): (.*)\n( *)(\^+)", re.MULTILINE)
LINE_END = re.compile(r"\r\n|\r|\n")
BLANK = re.compile(rf"[{BLANK_CHARACTERS}]")
"""What DuckDB may show as a space."""


def bound(connection: duckdb.DuckDBPyConnection, query: str, given: Parameters) -> duckdb.DuckDBPyRelation:
    """A query as a relation; what is wrong with it is said with its line."""
    try:
        return connection.sql(query, params=given)
    except (duckdb.BinderException, duckdb.CatalogException):
        connection.execute(query, given)  # fails as well, and says in which line
        raise


def in_users_text(error: duckdb.Error, source: Source, whole: str) -> duckdb.Error:
    """The error with the line of the user's text, if it shows one.

    Args:
        error: what DuckDB said of `source`.
        source: what DuckDB was given.
        whole: what the user wrote.
    """
    found = SHOWN.search(str(error))
    if not found or source.text == whole or not source.origin:
        return error
    place = _place(source, int(found[1]), found[2], len(found[3]) - len(f"LINE {found[1]}: "))
    if place is None:
        return error
    lines = _lines(whole)
    number = max(n for n, (first, _) in enumerate(lines) if first <= place)
    first, line = lines[number]
    lead = f"LINE {number + 1}: "
    blank = "".join(c if c == "\t" else " " * _width(c) for c in line[: place - first])
    text = f"{lead}{line}\n{' ' * len(lead)}{blank}{found[4]}"
    moved = type(error)(str(error)[: found.start()] + text + str(error)[found.end() :])
    moved.__cause__ = error.__cause__
    return moved


def _place(source: Source, line: int, shown: str, column: int) -> int | None:
    """Where the caret stands in the user's text; DuckDB cuts long lines at both ends."""
    lines = _lines(source.text)
    if line > len(lines):
        return None
    first, text = lines[line - 1]
    cut = shown.startswith("...")
    core = shown[3 * cut : -3 if shown.endswith("...") else None]
    at = BLANK.sub(" ", text).find(BLANK.sub(" ", core))
    if at < 0:
        return None
    place, column = first + at, column - 3 * cut
    for c in core:
        if column <= 0 and _width(c):
            break
        place, column = place + 1, column - _width(c)
    return source.origin[min(place, len(source.origin) - 1)]


def _lines(text: str) -> list[tuple[int, str]]:
    """Where each line begins, and the line; a carriage return ends one, as it does for DuckDB."""
    ends = [(m.start(), m.end()) for m in LINE_END.finditer(text)]
    firsts = [0, *(end for _, end in ends)]
    return [(a, text[a:b]) for a, b in zip(firsts, [*(start for start, _ in ends), len(text)], strict=True)]


def _width(character: str) -> int:
    """How many columns DuckDB gives a character when it places a caret."""
    if unicodedata.category(character) in ("Cc", "Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
