"""Ways to read a design: in portions, in batches of one exact size, some of its rows, some of its hypotheses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from deepbase.measures.probes.design import Chunk, Design, joined

PORTION = 1024
"""Rows that are worked on at once: few enough for the caches, enough for a matrix product."""

Weights = tuple[Tensor, Tensor]
"""Linear probes: the coefficients float64[hypothesis, unit] and the intercepts float64[hypothesis]."""

Fit = Callable[[Design], Weights]
"""A method that fits a linear probe for each hypothesis of a design."""

Predict = Callable[[Tensor], Tensor]
"""Probes as a function: of float32[row, unit], float64[row, hypothesis]; above 0 means yes."""

Mask = Callable[[int, int], Tensor]
"""Of the numbers of a first row and of the one after the last: bool[row], which of the rows between are meant."""


def linear_predictor(weights: Weights) -> Predict:
    """Linear probes as a function, `x @ coefficients.T + intercept` in float64."""
    coefficients, intercept = weights
    return lambda x: x.double() @ coefficients.T + intercept


def device(design: Design) -> torch.device:
    """Where the chunks are, by the first one."""
    first = next(iter(design.read()), None)
    return first[0].device if first else torch.device("cpu")


def portions(design: Design, size: int = PORTION) -> Iterator[Chunk]:
    """The rows, at most `size` at once, as views of the chunks."""
    for x, y in design.read():
        for first in range(0, len(x), size):
            yield x[first : first + size], y[first : first + size]


def batches(design: Design, size: int) -> Iterator[Chunk]:
    """The rows, `size` at once, and at the end what is left; the same batches however the chunks are cut."""
    held: list[Chunk] = []
    count = 0
    for x, y in design.read():
        first = 0
        while first < len(x):
            end = min(len(x), first + size - count)
            held.append((x[first:end], y[first:end]))
            count += end - first
            first = end
            if count == size:
                yield joined(held)
                held, count = [], 0
    if held:
        yield joined(held)


def part(design: Design, first: int, end: int) -> Design:
    """The rows `first : end` of a design. Reading them reads over those before, and stops at the end."""

    def read() -> Iterator[Chunk]:
        at = 0
        for x, y in design.read():
            rows = slice(max(first - at, 0), max(end - at, 0))
            if len(x[rows]):
                yield x[rows], y[rows]
            at += len(x)
            if at >= end:
                return

    return Design(read, max(min(end, design.rows) - first, 0), design.units, design.hypotheses)


def columns(design: Design, which: Tensor) -> Design:
    """A design of some of the hypotheses.

    Args:
        design: any.
        which: int64[hypothesis], their numbers.
    """

    def read() -> Iterator[Chunk]:
        for x, y in design.read():
            yield x, y[:, which.to(y.device)]

    return Design(read, design.rows, design.units, len(which))


def repeated(design: Design, times: int) -> Design:
    """A design with all of its hypotheses several times, one after the other."""
    return columns(design, torch.arange(design.hypotheses).repeat(times)) if times > 1 else design


def where(design: Design, mask: Mask) -> Design:
    """The rows that a mask means. The rows are counted now, by asking the mask for some at a time."""

    def read() -> Iterator[Chunk]:
        at = 0
        for x, y in design.read():
            meant = mask(at, at + len(x)).to(x.device)
            at += len(x)
            yield x[meant], y[meant]

    steps = range(0, design.rows, 1 << 16)
    rows = sum(int(mask(a, min(a + steps.step, design.rows)).sum()) for a in steps)
    return Design(read, rows, design.units, design.hypotheses)
