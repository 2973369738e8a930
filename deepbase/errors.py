"""Every error that DeepBase raises on purpose: one root, one class a stage.

A message says what is wrong and where; the hint says what to do about it. The CLI prints both on one line and
exits with 1, so neither may contain a traceback or end in the middle of a thought. What is wrong with a piece of SQL is
shown below, in its line.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DeepBaseError(Exception):
    """The root of all errors of DeepBase.

    Args:
        message: what is wrong, and where.
        hint: the remedy, as a sentence; empty where there is none.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        message = " ".join(self.message.split())
        if not self.hint:
            return message
        end = "" if message.endswith(("!", "?")) else "."
        return f"{message.rstrip('.')}{end} {' '.join(self.hint.split())}"


class DeepBaseWarning(UserWarning):
    """Something that a person may want to know while it goes on, such as a wait."""


class CatalogError(DeepBaseError):
    """The database file cannot be used, or does not know a name."""


class DatasetError(DeepBaseError):
    """A dataset cannot be read, or its records are not what they say."""


class ModelError(DeepBaseError):
    """A model cannot be loaded, or its modules cannot be inspected."""


class HypothesisError(DeepBaseError):
    """A hypothesis cannot be found, or does not give what it promised."""


class MeasureError(DeepBaseError):
    """A measure is unknown, cannot be applied, or is a user's own and fails."""


class QueryError(DeepBaseError):
    """A request for an inspection is not well formed.

    Args:
        message: what is wrong, and where.
        hint: the remedy.
        text: the SQL that it is in, if it is in any.
        at: the characters of that text that are wrong, as a range.
    """

    def __init__(self, message: str, hint: str = "", *, text: str = "", at: range = range(0)) -> None:
        super().__init__(message, hint)
        self.text = text
        self.at = at

    def __str__(self) -> str:
        return f"{super().__str__()}{shown(self.text, self.at)}" if self.text else super().__str__()


class InspectionError(DeepBaseError):
    """A run cannot be started, resumed or written."""


def shown(text: str, at: range) -> str:
    """The line of a text in which something is wrong, its number, the column, and a caret below.

    >>> print(shown("SELECT 1\\nFORM t", range(9, 13)))
    <BLANKLINE>
    LINE 2, COLUMN 1: FORM t
                      ^^^^
    """
    first = text.rfind("\n", 0, at.start) + 1
    line = text[first:].split("\n", 1)[0].rstrip("\r")
    column = at.start - first
    lead = f"LINE {text.count(chr(10), 0, at.start) + 1}, COLUMN {column + 1}: "
    blank = "".join(c if c == "\t" else " " for c in line[:column])
    marks = "^" * max(min(len(at), len(line) - column), 1)
    return f"\n{lead}{line}\n{' ' * len(lead)}{blank}{marks}"


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint that names what the user may have meant, or lists what there is.

    >>> nearest("uops", ["upos", "xpos"])
    "Did you mean 'upos' or 'xpos'?"
    >>> nearest("q", ["upos", "xpos"])
    'There are: upos, xpos.'
    >>> nearest("q", [])
    'There are none yet.'
    """
    known = list(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    likeness = {c: difflib.SequenceMatcher(a=c, b=name).ratio() for c in close}
    close = [c for c in close if likeness[c] >= likeness[close[0]] - 0.25]
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    if not known:
        return "There are none yet."
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"There are: {', '.join(known[:8])}{more}."
