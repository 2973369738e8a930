"""Of no affinity, for ranks: a t-test that counts records, of AUROC and of Spearman's rho.

Given the ranks r of a unit over all symbols, both measures are the sum over all symbols of
`(r - mean(r)) (y - mean(y))`, up to a factor, where y is the hypothesis, or its ranks. It is a sum over random groups
of whole records, as in `significance`, and Student's t of the shares of the groups is the statistic.

The ranks of all symbols depend on each other, so that the shares are not quite independent. But each is to the first
order a sum of functions of single symbols: `r / n` is the distribution function of the unit, up to `1 / sqrt(n)`
(Hajek's projection; van der Vaart 1998, Asymptotic Statistics, sections 11.3 and 13.1).

Ranks by symbol are not what a walk leaves behind: every unit is sorted once more. So this costs about as much as the
score itself, and is there where it is asked for. It needs the rows; with a sketch there is no p-value.

Memory: `16 * symbols * UNITS` bytes a thread, and `4 * symbols * columns` bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deepbase.blocks import Floats, Ints
from deepbase.measures.base import Target
from deepbase.measures.batch import GROUP_SEED, GROUPS
from deepbase.measures.compile import Compiled, compiled
from deepbase.measures.hashing import hashed
from deepbase.measures.order.codes import codes
from deepbase.measures.order.compiled import kernels
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.walk import UNITS, Rows, in_threads, sorted_keys
from deepbase.measures.significance import p_values_of_shares

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Grouped:
    """The symbols at which the columns of a null class have a value, by group of records.

    Attributes:
        row: int64[symbol], the rows.
        ends: int64[group + 1], where each group begins, and the end.
        y: float32[symbol, column], the hypotheses, or the ranks of numbers, about their mean, of variance 1.
    """

    row: Ints
    ends: Ints
    y: Floats32


def rank_p_values(state: PairOrder, targets: Sequence[Target]) -> Floats:
    """Two-sided p-values of no association with booleans and numbers.

    Args:
        state: whose rows are kept, with their records.
        targets: what the units are compared with.

    Returns:
        float64[target, unit]; NaN where the records do not tell, and where there is a category.
    """
    units = state.units[0].shape[1]
    found = np.full((len(targets), units), np.nan)
    labels = state.assembled()
    record = labels.kept.record.cpu().numpy()
    if state.sketch is not None or len(record) != len(labels.truth):
        return found
    group = (hashed(record, GROUP_SEED) % np.uint64(GROUPS)).astype(np.int64)
    for null_class in range(len(labels.valid)):
        mine = [
            i for i, t in enumerate(targets) if t.kind != "category" and labels.null_class[t.columns[0]] == null_class
        ]
        row = np.flatnonzero(labels.valid[null_class])
        if not mine or not len(row):
            continue
        row = row[np.argsort(group[row], kind="stable")]
        ends = np.concatenate([[0], np.cumsum(np.bincount(group[row], minlength=GROUPS))])
        y = _standardized(state, [targets[i] for i in mine], row)
        found[mine] = _p_values(state.units, _Grouped(row, ends, y), len(labels.truth))
    return found


def _standardized(state: PairOrder, targets: Sequence[Target], row: Ints) -> Floats32:
    """float32[symbol, target]: booleans, and ranks of numbers, about their mean, of variance 1; 0 for constants."""
    labels = state.assembled()
    y = np.empty((len(row), len(targets)))
    for i, target in enumerate(targets):
        column = target.columns[0]
        if target.kind == "number":
            order, whole = labels.ranks[column], np.zeros(len(labels.truth))
            whole[order.row] = order.middle
            y[:, i] = whole[row]
        else:
            y[:, i] = labels.truth[row, column]
    y -= y.mean(0)
    deviation = np.sqrt(np.square(y).mean(0))
    return np.where(deviation > 0, y / np.where(deviation > 0, deviation, 1), 0).astype(np.float32)


def _p_values(rows: Rows, grouped: _Grouped, symbols: int) -> Floats:
    """float64[target, unit]."""
    n, units, count = len(grouped.row), rows[0].shape[1], grouped.y.shape[1]
    total, squares = np.zeros((2, count, units))
    there = np.flatnonzero(np.diff(grouped.ends))
    made = kernels() if rows[0].device.type == "cpu" else None
    place = np.full(symbols, -1, dtype=np.int64)
    place[grouped.row] = np.arange(n)

    def block(first: int) -> None:
        last = min(first + UNITS, units)
        ranks = np.empty((last - first, n), dtype=np.float32)
        if made is None:
            ranks[:] = _ranks_with_torch(rows, grouped.row, first, last)
        else:
            _ranks()(sorted_keys(made, rows, place, n, first, last), ranks)
        for g in there:
            symbols_of = slice(grouped.ends[g], grouped.ends[g + 1])
            share = (grouped.y[symbols_of].T @ ranks[:, symbols_of].T).astype(np.float64)
            total[:, first:last] += share
            squares[:, first:last] += np.square(share)

    if made is None:
        for first in range(0, units, UNITS):
            block(first)
    else:
        in_threads(units, block)
    v = np.add.reduceat(np.square(grouped.y, dtype=np.float64), grouped.ends[there], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.square(v.sum(0)) / np.square(v).sum(0)
    return p_values_of_shares(
        torch.from_numpy(total),
        torch.from_numpy(squares),
        torch.full((count, 1), float(len(there)), dtype=torch.float64),
        torch.from_numpy(effective),
    )


def _ranks_with_torch(rows: Rows, row: Ints, first: int, last: int) -> npt.NDArray[Any]:
    """float32[unit, symbol]: what `_write_ranks` writes, on any device."""
    some = torch.from_numpy(row).to(rows[0].device)
    x, by = codes(torch.cat([batch[:, first:last] for batch in rows])[some].T.contiguous()).sort(1)
    n = x.shape[1]
    new = torch.ones_like(x, dtype=torch.bool)
    new[:, 1:] = x[:, 1:] != x[:, :-1]
    end = torch.ones_like(new)
    end[:, :-1] = new[:, 1:]
    places = torch.arange(n, device=x.device)
    low = torch.where(new, places, 0).cummax(1).values
    high = torch.where(end, places + 1, n).flip(1).cummin(1).values.flip(1)
    middle = ((low + high).double() / n - 1).float()
    return torch.empty_like(middle).scatter_(1, by, middle).cpu().numpy()


@cache
def _ranks() -> Compiled:
    """`_write_ranks`, compiled."""
    return compiled(_write_ranks)


def _write_ranks(keys: Any, ranks: Any) -> None:
    """Write the mid-ranks of sorted symbols about their mean, as a multiple of half the symbols.

    Args:
        keys: int64[unit, symbol], sorted; see `compiled`.
        ranks: float32[unit, symbol], written, by the number of the symbol in its key.
    """
    n = keys.shape[1]
    for u in range(len(keys)):
        i = 0
        while i < n:
            code = keys[u, i] >> 32
            j = i + 1
            while j < n and keys[u, j] >> 32 == code:
                j += 1
            middle = np.float32((i + j) / n - 1.0)
            for k in range(i, j):
                ranks[u, keys[u, k] & 0xFFFFFFFF] = middle
            i = j
