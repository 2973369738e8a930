"""A batch folded into sums, unit by unit: the loops of pair moments and of the facts of units.

What a batch costs is mostly memory traffic. Each loop reads the activations once, a tile of units at a time, small
enough that the sums of the tile stay in the caches while the symbols go by, group of records after group of records.
Sums are float32 for at most `ROWS` symbols, and are then added to the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from deepbase.measures.batch import ROWS
from deepbase.measures.compile import Compiled, compiled, in_shares

if TYPE_CHECKING:
    from deepbase.measures.batch import Sorted
    from deepbase.measures.facts import UnitSums
    from deepbase.measures.moments import PairMoments

TILE = 256
"""Units that are folded together."""


@dataclass(frozen=True)
class Loops:
    """The compiled loops of this file."""

    pairs: Compiled
    units: Compiled


@cache
def loops() -> Loops | None:
    """The loops, compiled lazily; None without numba."""
    try:
        return Loops(compiled(_pairs), compiled(_units))
    except ImportError:
        return None


def fold_pairs(made: Loops, state: PairMoments, units: Tensor, labels: Sorted) -> None:
    """Add a batch to the sums of pair moments, in place; all on the CPU."""
    x = units.contiguous().numpy()
    shift, finite = state.unit_shift.numpy(), state.finite.numpy()
    sums = state.x_of.numpy(), state.xx_of.numpy(), state.xy_of.numpy()
    sides = labels.order, labels.ends, labels.valid, labels.start, labels.column, labels.weight

    def share(first: int, last: int) -> None:
        made.pairs(x, shift, finite, *sides, *sums, first, last, TILE, ROWS)

    in_shares(x.shape[1], TILE, share)


def fold_units(made: Loops, state: UnitSums, units: Tensor, labels: Sorted) -> None:
    """Add a batch to the sums of facts, in place; all on the CPU."""
    x = units.contiguous().numpy()
    arrays = [a.numpy() for a in (state.shift, state.active_of, state.powers_of, state.least, state.greatest)]

    def share(first: int, last: int) -> None:
        made.units(x, labels.order, labels.ends, *arrays, first, last, TILE)

    in_shares(x.shape[1], TILE, share)


def _pairs(  # noqa: C901, PLR0912, PLR0915 (one loop, whose parts share all that they have)
    units: Any,
    shift: Any,
    finite: Any,
    order: Any,
    ends: Any,
    valid: Any,
    start: Any,
    column: Any,
    weight: Any,
    x_of: Any,
    xx_of: Any,
    xy_of: Any,
    first: int,
    last: int,
    tile: int,
    most: int,
) -> None:
    """Sums of units, their squares, and their products with labels, by group of records.

    Args:
        units: float32[symbol, unit].
        shift: float32[unit], the pilot values.
        finite: bool[unit], written: False where a value is not finite.
        order: int64[symbol], the symbols, group after group.
        ends: int64[group], where each group ends in `order`.
        valid: uint8[symbol, null class], where the columns of the class have a value; empty where all have.
        start: int64[symbol + 1], where the labels of each symbol that are not 0 begin in `column`.
        column: int32[label], which they are.
        weight: float32[label], what they are; empty where all are 1.
        x_of, xx_of: float64[group, null class, unit], added to.
        xy_of: float32[group, column, unit], added to.
        first: the first unit.
        last: the unit before which to end.
        tile: how many units are folded together.
        most: how many symbols are added up in float32.
    """
    classes, columns = x_of.shape[1], xy_of.shape[1]
    x = np.empty(tile, np.float32)
    every = np.empty(tile, np.float32)
    sums = np.zeros((classes, tile), np.float32)
    squares = np.zeros((classes, tile), np.float32)
    products = np.zeros((columns, tile), np.float32)
    touched = np.empty(columns, np.int64)
    is_touched = np.zeros(columns, np.bool_)
    for t in range(first, last, tile):
        width = min(tile, last - t)
        pilots = shift[t : t + width]
        begin = 0
        for g in range(len(ends)):
            end = ends[g]
            while begin < end:
                here = min(begin + most, end)
                every[:width] = np.float32(0.0)
                count = 0
                for s in order[begin:here]:
                    row = units[s, t : t + width]
                    for i in range(width):
                        x[i] = row[i] - pilots[i]
                        every[i] += x[i] * x[i]
                    if len(valid) or classes > 1:
                        for c in range(classes):
                            if valid[s, c]:
                                for i in range(width):
                                    sums[c, i] += x[i]
                                    squares[c, i] += x[i] * x[i]
                    else:
                        for i in range(width):
                            sums[0, i] += x[i]
                    for k in range(start[s], start[s + 1]):
                        h = column[k]
                        if not is_touched[h]:
                            is_touched[h] = True
                            touched[count] = h
                            count += 1
                        product = products[h]
                        if len(weight):
                            w = weight[k]
                            for i in range(width):
                                product[i] += w * x[i]
                        else:
                            for i in range(width):
                                product[i] += x[i]
                for k in range(count):
                    h = touched[k]
                    is_touched[h] = False
                    into, product = xy_of[g, h, t : t + width], products[h]
                    for i in range(width):
                        into[i] += product[i]
                        product[i] = np.float32(0.0)
                for c in range(classes):
                    square = squares[c] if len(valid) else every
                    for i in range(width):
                        x_of[g, c, t + i] += sums[c, i]
                        xx_of[g, c, t + i] += square[i]
                        sums[c, i] = np.float32(0.0)
                    if len(valid):
                        squares[c, :width] = np.float32(0.0)
                for i in range(width):
                    if not np.isfinite(every[i]):
                        finite[t + i] = False
                begin = here


def _units(
    units: Any,
    order: Any,
    ends: Any,
    shift: Any,
    active: Any,
    powers: Any,
    least: Any,
    greatest: Any,
    first: int,
    last: int,
    tile: int,
) -> None:
    """Sums of powers, and how often a unit is above 0, by group of records; extremes.

    Args:
        units: float32[symbol, unit].
        order: int64[symbol], the symbols, group after group.
        ends: int64[group], where each group ends in `order`.
        shift: float32[unit], the pilot values.
        active: float64[group, unit], added to.
        powers: float64[group, 4, unit], added to.
        least, greatest: float32[unit], written; NaN where a value is NaN.
        first: the first unit.
        last: the unit before which to end.
        tile: how many units are folded together.
    """
    sums = np.empty((4, tile), np.float64)
    above = np.empty(tile, np.int64)
    for t in range(first, last, tile):
        width = min(tile, last - t)
        pilots, low, high = shift[t : t + width], least[t : t + width], greatest[t : t + width]
        begin = 0
        for g in range(len(ends)):
            end = ends[g]
            if begin == end:
                continue
            sums[:] = 0.0
            above[:] = 0
            for s in order[begin:end]:
                row = units[s, t : t + width]
                for i in range(width):
                    value = row[i]
                    x = np.float64(value) - np.float64(pilots[i])
                    square = x * x
                    sums[0, i] += x
                    sums[1, i] += square
                    sums[2, i] += square * x
                    sums[3, i] += square * square
                    above[i] += value > 0
                    low[i] = min(low[i], value)
                    high[i] = max(high[i], value)
            for i in range(width):
                active[g, t + i] += above[i]
                for p in range(4):
                    powers[g, p, t + i] += sums[p, i]
            begin = end
