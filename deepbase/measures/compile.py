"""Loops over every symbol of every unit, compiled by numba when they are first needed, in as many threads as torch has.

Each is plain Python over NumPy arrays, compiled for one set of types, without the interpreter's lock. Where numba
cannot be imported, nothing is compiled, and what needs a loop does the same with torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
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
    spans = [(i, min(i + share, units)) for i in range(0, max(units, 1), share)]
    rest, failures = iter(spans), []

    def several(_data: object = None) -> None:
        try:
            for span in rest:
                work(*span)
        except BaseException as failure:  # which must not end in a thread of C
            failures.append(failure)

    if len(spans) > 1:
        _in_team(several, len(spans))
    several()
    if failures:
        raise failures[0]


def _in_team(work: Callable[[object], None], threads: int) -> None:
    """Call `work` in several threads, which return when all are done.

    Between two operations torch's own threads wait for the next by spinning, for milliseconds. Another thread would
    have to share a core with one of them; so the work is given to them, as torch itself gives it.
    """
    parallel = _openmp()
    if parallel:
        parallel(_CALLBACK(work), None, threads, 0)
        return
    others = [_pool(threads).submit(work, None) for _ in range(threads - 1)]
    work(None)
    for other in others:
        other.result()


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _openmp() -> Callable[..., None] | None:
    """`GOMP_parallel` of the OpenMP that torch has loaded: GCC's `#pragma omp parallel`; None where it has another."""
    for file in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        with contextlib.suppress(OSError, AttributeError):
            found: Callable[..., None] = ctypes.CDLL(str(file), mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
            return found
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="deepbase-loops")
