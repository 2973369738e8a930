"""Loops over every symbol of every unit, compiled by numba when they are first needed, in as many threads as torch has.

Each is plain Python over NumPy arrays, compiled for one set of types, without the interpreter's lock. Where numba
cannot be imported, nothing is compiled, and what needs a loop does the same with torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

Compiled = Callable[..., None]


def compiled(function: Callable[..., None]) -> Compiled:
    """A loop, compiled lazily, and kept on disk where there is a folder for that.

    Raises:
        ImportError: without numba.
    """
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        made: Compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder may hold what is compiled
        made = numba.njit(**options)(function)
    return made


def in_shares(units: int, tile: int, work: Callable[[int, int], None]) -> None:
    """Call `work` with the first unit and the end of a share of the units, for each of torch's threads.

    Args:
        units: how many units there are.
        tile: shares are multiples of it, but for the last.
        work: called in the calling thread and in others, without the interpreter's lock if it is compiled.

    Raises:
        Exception: whatever the work raises.
    """
    threads = torch.get_num_threads()
    share = max(1, math.ceil(units / (threads * tile))) * tile
    first, *rest = [(i, min(i + share, units)) for i in range(0, max(units, 1), share)]
    others = [_pool(threads).submit(work, *span) for span in rest]
    try:
        work(*first)
    finally:
        for other in others:
            other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="deepbase-loops")
