"""Every error that DeepBase raises on purpose: one root, one class a stage.

A message says what is wrong and where; the hint says what to do about it. The CLI prints both on one line and
exits with 1, so neither may contain a traceback or end in the middle of a thought.
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
    """A measure is unknown or cannot be applied."""


class QueryError(DeepBaseError):
    """A request for an inspection is not well formed."""


class InspectionError(DeepBaseError):
    """A run cannot be started, resumed or written."""


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
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    if not known:
        return "There are none yet."
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"There are: {', '.join(known[:8])}{more}."
