"""Hypotheses of structure: which units count brackets, stay on inside of quotes, know where they are?

Cells that count and cells that switch are the classic findings in recurrent networks (Karpathy, Johnson, Fei-Fei,
Visualizing and Understanding Recurrent Networks, 2015). What concerns brackets, quotes and lines is computed on the
characters of the text and read at the symbol's first character that is no space (a symbol of nothing but spaces: at
its first), so that it means the same for every tokenizer. What concerns repetitions and positions counts symbols.

Brackets are ( ) [ ] { }; their kinds are not matched, those inside of quotes count, and one that closes nothing is
ignored. All functions go once over the record.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from deepbase.labels.hypothesis import hypothesis

OPENING, CLOSING = "([{", ")]}"

_QUOTED = re.compile(
    r"""
      "[^"]*" | “[^”]*” | „[^“”]*[“”] | «[^»]*»
    | (?<!\w)'.*?'(?!\w) | (?<!\w)‘.*?’(?!\w)      # an apostrophe inside of a word neither opens nor closes
    """,
    re.VERBOSE | re.DOTALL,
)

Value = TypeVar("Value")


@hypothesis
def bracket_depth(text: str, start: list[int | None], end: list[int | None]) -> list[int | None]:
    """How many brackets are open at the symbol, its own included.

    >>> bracket_depth("f(a[0])", [0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7])
    [0, 1, 1, 2, 2, 2, 1]
    """
    return _read(_depths(text, OPENING, CLOSING), text, start, end)


@hypothesis
def inside_parentheses(text: str, start: list[int | None], end: list[int | None]) -> list[bool | None]:
    """The symbol is inside round parentheses, or is one; a parenthesis that nothing closes lasts to the end."""
    return _read([depth > 0 for depth in _depths(text, "(", ")")], text, start, end)


@hypothesis
def inside_quotes(text: str, start: list[int | None], end: list[int | None]) -> list[bool | None]:
    """The symbol is inside a pair of quotation marks, or is one of them; an apostrophe is none.

    >>> inside_quotes("don't say 'no' now", [0, 6, 10, 11, 15], [5, 9, 11, 13, 18])
    [False, False, True, True, False]
    """
    quoted = [False] * len(text)
    for found in _QUOTED.finditer(text):
        quoted[found.start() : found.end()] = [True] * len(found[0])
    return _read(quoted, text, start, end)


@hypothesis
def distance_to_bracket(text: str, start: list[int | None], end: list[int | None]) -> list[int | None]:
    """How many characters ago the last bracket stood, 0 at a bracket itself; no value before the first.

    >>> distance_to_bracket("a(bc", [0, 1, 2, 3], [1, 2, 3, 4])
    [None, 0, 1, 2]
    """
    distances: list[int | None] = []
    last = None
    for at, character in enumerate(text):
        last = at if character in OPENING + CLOSING else last
        distances.append(None if last is None else at - last)
    return _read(distances, text, start, end)


@hypothesis
def line_index(text: str, start: list[int | None], end: list[int | None]) -> list[int | None]:
    """How many line breaks precede the symbol; a line break belongs to the line that it ends."""
    breaks = [0, *accumulate(c == "\n" for c in text)]
    return _read(breaks[: len(text)], text, start, end)


@hypothesis
def position_in_line(text: str, start: list[int | None], end: list[int | None]) -> list[int | None]:
    """How many characters of the same line precede the symbol.

    >>> position_in_line("ab\\ncd", [0, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    [0, 1, 2, 0, 1]
    """
    positions = []
    first = 0
    for at, character in enumerate(text):
        positions.append(at - first)
        first = at + 1 if character == "\n" else first
    return _read(positions, text, start, end)


@hypothesis
def position_in_record(token: list[str | None]) -> list[int]:
    """How many symbols of the record precede the symbol."""
    return list(range(len(token)))


@hypothesis
def symbols_left(token: list[str | None]) -> list[int]:
    """How many symbols of the record follow the symbol."""
    return list(range(len(token)))[::-1]


@hypothesis
def relative_position(token: list[str | None]) -> list[float]:
    """Where in the record the symbol is, from 0 for the first to 1 for the last; 0 for the only one.

    >>> relative_position(["a", "b", "c"]), relative_position(["a"])
    ([0.0, 0.5, 1.0], [0.0])
    """
    return [at / max(1, len(token) - 1) for at in range(len(token))]


@hypothesis
def is_repeated_token(token: list[str | None]) -> list[bool | None]:
    """The same token occurred earlier in the record.

    >>> is_repeated_token(["a", "b", "a", None])
    [False, False, True, None]
    """
    seen: set[str] = set()
    repeated: list[bool | None] = []
    for text in token:
        repeated.append(None if text is None else text in seen)
        seen |= set() if text is None else {text}
    return repeated


@hypothesis
def follows_repeated_token(token: list[str | None]) -> list[bool | None]:
    """The token before this one occurred earlier still, so that what came after it can be copied (induction).

    >>> follows_repeated_token(["a", "b", "a", "b"])
    [False, False, False, True]
    """
    return [False, *is_repeated_token(token)[:-1]] if token else []


def _depths(text: str, opening: str, closing: str) -> list[int]:
    """int[character]: how many brackets are open there, the bracket at the character itself included."""
    depths = []
    depth = 0
    for character in text:
        depth += character in opening
        depths.append(depth)
        depth -= character in closing and depth > 0
    return depths


def _read(values: Sequence[Value], text: str, start: list[int | None], end: list[int | None]) -> list[Value | None]:
    """The values of characters at the symbols: where each begins, spaces aside. None where there is no span."""
    found: list[Value | None] = []
    for begin, stop in zip(start, end, strict=True):
        if begin is None or stop is None or not 0 <= begin < len(values):
            found.append(None)
            continue
        part = text[begin:stop]
        spaces = len(part) - len(part.lstrip())
        found.append(values[begin + spaces if spaces < len(part) else begin])
    return found
