"""Exceptions on their way through DuckDB, which keeps their text and forgets what they were.

What is raised inside a scan or a Python function of a query comes out of DuckDB as an error of its own, with the text
of the other somewhere inside. So the exception itself waits here under a number, the number travels in the text, and
whoever gets the text asks for the exception. Few are kept: one that nobody fetched is forgotten after some others.
"""

from __future__ import annotations

import itertools
import re
import threading

MOST = 64
"""How many exceptions wait at most."""

_MARKER = re.compile(r"\[fault (\d+)\]")
_waiting: dict[int, BaseException] = {}
_numbers = itertools.count(1)
_lock = threading.Lock()


def record(error: BaseException) -> str:
    """Keep an exception, and give the marker that has to be in the text of the error which takes its place."""
    with _lock:
        number = next(_numbers)
        _waiting[number] = error
        while len(_waiting) > MOST:
            del _waiting[next(iter(_waiting))]
    return f"[fault {number}]"


def carrier(error: BaseException) -> RuntimeError:
    """What to raise in the place of an exception: its type, its message, and the marker under which it waits."""
    return RuntimeError(f"{type(error).__name__}: {error} {record(error)}")


def original(error: BaseException) -> BaseException | None:
    """The exception whose marker is in the text of an error; None if there is none, or it was fetched before."""
    with _lock:
        found = [_waiting.pop(int(number), None) for number in _MARKER.findall(str(error))]
    return next((fault for fault in found if fault is not None), None)
