"""One sort of each unit, and one walk over it, from which all measures of order follow.

The symbols of a unit are sorted once, ties together. From the greatest value to the least, only the few hypotheses that
are true at each symbol are visited, and each keeps its count of true positives, the sum of their ranks and of their
precisions, and the best F1 and accuracy so far. At a few cuts the counts are written down; mutual information and the
Jaccard index need no more. Hypotheses with NULLs have ranks among the symbols where they have a value, so there is one
walk for each null class.

The cost is that of the true labels, not that of symbols times hypotheses. Units go in blocks to as many threads as
torch has, through loops that numba compiles; without numba, or on another device, torch does the same, one column at a
time.

Memory: `8 * symbols * UNITS` bytes a thread, and `4 * (8 + cuts)` bytes of results per unit and column.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepbase.blocks import Bools, Floats, Ints
from deepbase.measures.conventions import constant
from deepbase.measures.order.codes import INFINITY, codes, decoded
from deepbase.measures.order.compiled import Kernels, kernels
from deepbase.measures.order.labels import Assembled, Bytes, Ints32, Sparse

UNITS = 32
"""Units that one thread sorts at a time: few enough for the caches."""


@dataclass(frozen=True)
class Cuts:
    """Where counts are written down: a symbol is above a cut if the share of symbols below it is at least the cut's.

    Tied symbols are on the same side of every cut.

    Attributes:
        bins: the cuts are at `k / bins`; numbers are cut into as many bins, too.
        top: one more cut is at `1 - top`.
    """

    bins: int = 16
    top: float = 0.05

    def needs(self, n: int) -> Ints:
        """int64[bins]: how many of n symbols must be below one that is above the cuts `k / bins`, and the last cut."""
        inner = [-(-k * n // self.bins) for k in range(1, self.bins)]
        return np.array([*inner, top_need(n, self.top)], dtype=np.int64)


def top_need(n: int, top: float) -> int:
    """How many of n symbols must be below one that is among the top share; what float64 rounds does not count."""
    return max(0, math.ceil((1 - top) * n - 1e-9 * n))


@dataclass(frozen=True)
class Walk:
    """What the walks over the units of a layer have gathered.

    Columns are those of the labels, and behind them the bins of each number in turn.

    Attributes:
        n: int64[class], symbols.
        null_class: int64[column].
        positives: float64[column].
        finite: bool[unit].
        constant: bool[class, unit].
        tied_pairs: float64[class, unit].
        tied_cubes: float64[class, unit], the sum of `t**3 - t` over ties of t symbols.
        sums: float64[unit, column, 4], see `compiled`.
        counts: int32[unit, cut, column], the true ones above each cut.
        sizes: int32[class, unit, cut], the symbols above each cut.
        products: float64[unit, number], mid-ranks times those of the number, about its mean.
    """

    n: Ints
    null_class: Ints
    positives: Floats
    finite: Bools
    constant: Bools
    tied_pairs: Floats
    tied_cubes: Floats
    sums: Floats
    counts: Ints32
    sizes: Ints32
    products: Floats


@dataclass(frozen=True)
class _Class:
    """What a walk needs of the columns of one null class; see `compiled._walk`."""

    valid: Bytes
    n: int
    truth: Bytes
    own: Ints
    sparse: Sparse
    offset: npt.NDArray[np.uint32]
    needs: Ints
    ranks: Floats
    numbers: Ints


Rows = Sequence[Tensor]
"""float32[symbol, unit], the batches of one layer."""


def walk(rows: Rows, labels: Assembled, cuts: Cuts) -> Walk:
    """Walk over all units.

    Args:
        rows: of the layer.
        labels: of the same symbols.
        cuts: where counts are wanted.
    """
    units, columns = rows[0].shape[1], len(labels.boolean)
    numbers = np.flatnonzero(~labels.boolean)
    classes = [_class(labels, c, cuts) for c in range(len(labels.valid))]
    whole = columns + len(numbers) * cuts.bins
    null_class = np.concatenate([labels.null_class, np.repeat(labels.null_class[numbers], cuts.bins)])
    positives = np.zeros(whole)
    for c in classes:
        positives[c.own] = c.truth.sum(0)
    ties = np.zeros((len(classes), units, 4))
    sums = np.zeros((units, whole, 4))
    counts = np.zeros((units, cuts.bins, whole), dtype=np.int32)
    sizes = np.zeros((len(classes), units, cuts.bins), dtype=np.int32)
    products = np.zeros((units, len(numbers)))
    extremes = np.zeros((units, 2), dtype=np.int64)
    found = _Found(positives, ties, sums, counts, sizes, products, extremes)
    made = kernels() if rows[0].device.type == "cpu" else None
    if made is None:
        for first in range(0, units, UNITS):
            _torch_block(rows, classes, found, first)
    elif len(labels.truth):
        in_threads(units, lambda first: _block(made, rows, classes, found, first))
    n = np.array([c.n for c in classes], dtype=np.int64)
    finite = (extremes[:, 0] >= -INFINITY) & (extremes[:, 1] < INFINITY)
    still = np.stack([_constant(rows, c, t) for c, t in zip(classes, ties, strict=True)])
    return Walk(n, null_class, positives, finite, still, ties[..., 0], ties[..., 1], sums, counts, sizes, products)


def in_threads(units: int, block: Callable[[int], None]) -> None:
    """Call `block` with the first unit of each block of `UNITS`, in as many threads as torch has."""
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        for _ in pool.map(block, range(0, units, UNITS)):
            pass


@dataclass(frozen=True)
class _Found:
    """The arrays that blocks write their results to."""

    positives: Floats
    ties: Floats
    sums: Floats
    counts: Ints32
    sizes: Ints32
    products: Floats
    extremes: Ints


def class_labels(labels: Assembled, number: int, cuts: Cuts) -> tuple[Bytes, Bytes, Ints]:
    """The booleans and the bins of numbers of one null class.

    Args:
        labels: of all rows.
        number: the null class.
        cuts: how many bins numbers have.

    Returns:
        uint8[symbol], whether there is a value; uint8[symbol, own], what is true; int64[own], the columns of `Walk`.
    """
    valid = labels.valid[number]
    n = int(valid.sum())
    own = np.flatnonzero(labels.boolean & (labels.null_class == number))
    truth = [labels.truth[:, own] & valid[:, None]]
    for k in _numbers(labels, number):
        order = labels.ranks[_all_numbers(labels)[k]]
        bins = np.zeros((len(valid), cuts.bins), dtype=np.uint8)
        bins[order.row, order.low * cuts.bins // max(n, 1)] = 1
        truth.append(bins)
        own = np.append(own, len(labels.boolean) + k * cuts.bins + np.arange(cuts.bins))
    return valid, np.concatenate(truth, axis=1), own


def _all_numbers(labels: Assembled) -> list[int]:
    """The columns of the numbers."""
    found: list[int] = np.flatnonzero(~labels.boolean).tolist()
    return found


def _numbers(labels: Assembled, null_class: int) -> list[int]:
    """Which of the numbers are in a null class."""
    return [k for k, c in enumerate(_all_numbers(labels)) if labels.null_class[c] == null_class]


def _class(labels: Assembled, number: int, cuts: Cuts) -> _Class:
    valid, all_truth, own = class_labels(labels, number, cuts)
    n = int(valid.sum())
    mine = _numbers(labels, number)
    ranks = np.zeros((len(valid), len(mine)))
    for i, k in enumerate(mine):
        order = labels.ranks[_all_numbers(labels)[k]]
        ranks[order.row, i] = order.middle - (n + 1) / 2
    sparse = Sparse.of(all_truth).in_fours(len(own))
    offset = np.concatenate([[0], np.cumsum(all_truth.sum(0, dtype=np.int64))]).astype(np.uint32)
    return _Class(valid, n, all_truth, own, sparse, offset, cuts.needs(n), ranks, np.array(mine, np.int64))


def sorted_keys(made: Kernels, rows: Rows, place: Ints, symbols: int, first: int, last: int) -> Ints:
    """int64[unit, symbol]: the keys of some units, sorted.

    Args:
        made: the loops.
        rows: of the layer.
        place: int64[symbol], other numbers for the rows, below 0 for those that are left out; empty without.
        symbols: how many are not left out.
        first, last: which units.
    """
    keys = _buffer(last - first, symbols)
    at = 0
    for batch in rows:
        made.put_keys(batch.numpy().view(np.int32), at, place[at : at + len(batch)], first, keys)
        at += len(batch)
    keys.sort(axis=1)
    return keys


_BUFFERS = threading.local()


def _buffer(units: int, symbols: int) -> Ints:
    """int64[unit, symbol], for one thread of `in_threads`: memory that was just used is faster than new."""
    known: Ints | None = getattr(_BUFFERS, "keys", None)
    if known is None or known.shape[1] != symbols or len(known) < units:
        known = _BUFFERS.keys = np.empty((UNITS, symbols), dtype=np.int64)
    return known[:units]


def _block(made: Kernels, rows: Rows, classes: Sequence[_Class], found: _Found, first: int) -> None:
    last = min(first + UNITS, len(found.sums))
    symbols = len(classes[0].valid) if classes else 0
    keys = sorted_keys(made, rows, np.zeros(0, np.int64), symbols, first, last)
    found.extremes[first:last] = keys[:, [0, -1]] >> 32
    units = slice(first, last)
    for i, c in enumerate(classes):
        order = np.argsort(-c.needs, kind="stable")
        counts = np.zeros((last - first, *found.counts.shape[1:]), dtype=np.int32)
        sizes = np.zeros((last - first, len(order)), dtype=np.int32)
        products = np.zeros((last - first, len(c.numbers)))
        made.walk(
            keys, c.valid, c.sparse.start, c.sparse.label, c.own, c.offset, c.needs[order], c.ranks,
            found.ties[i, units], found.sums[units], counts, sizes, products,
        )  # fmt: skip
        found.counts[units, order[:, None], c.own] = counts[:, :, c.own]
        found.sizes[i, units, order] = sizes.T
        found.products[units, c.numbers] = products


def _torch_block(rows: Rows, classes: Sequence[_Class], found: _Found, first: int) -> None:
    """What `_block` does, on any device, one column at a time."""
    units = slice(first, min(first + UNITS, len(found.sums)))
    code = codes(torch.cat([batch[:, units] for batch in rows]).T.contiguous())
    if not code.shape[1]:
        return
    found.extremes[units] = torch.stack([code.amin(1), code.amax(1)], 1).cpu().numpy()
    for i, c in enumerate(classes):
        if c.n:
            _torch_class(code, c, found, i, units)


def _torch_class(code: Tensor, c: _Class, found: _Found, number: int, units: slice) -> None:
    device = code.device
    valid = torch.from_numpy(np.flatnonzero(c.valid)).to(device)
    x, order = code[:, valid].sort(1, descending=True)
    n = c.n
    last = torch.ones_like(x, dtype=torch.bool)
    last[:, :-1] = x[:, 1:] != x[:, :-1]
    first = torch.ones_like(last)
    first[:, 1:] = last[:, :-1]
    places = torch.arange(n, device=device)
    begin = torch.where(first, places, 0).cummax(1).values
    end = torch.where(last, places + 1, n).flip(1).cummin(1).values.flip(1)
    middle = n - (begin + end - 1).double() / 2
    t = torch.where(first, end - begin, 0).double()
    ties = torch.stack([(t * (t - 1)).sum(1) / 2, (t**3 - t).sum(1), x[:, -1].double(), x[:, 0].double()], 1)
    found.ties[number, units] = ties.cpu().numpy()
    above = [(n - end >= need).sum(1) for need in c.needs.tolist()]
    sizes = torch.stack(above, 1)
    found.sizes[number, units] = sizes.cpu().numpy()
    for column, e in enumerate(c.own.tolist()):
        true = torch.from_numpy(c.truth[:, column]).to(device)[valid][order].double()
        hits = torch.nn.functional.pad(true.cumsum(1), (1, 0))
        at_end = hits.gather(1, end)
        f1 = (2 * at_end / (found.positives[e] + end)).amax(1)
        gain = (2 * at_end - end).amax(1).clamp_min(0)
        sums = torch.stack([(true * middle).sum(1), (true * at_end / end).sum(1), f1, gain], 1)
        found.sums[units, e] = sums.cpu().numpy()
        found.counts[units, :, e] = hits.gather(1, sizes).cpu().numpy()
    for i, k in enumerate(c.numbers.tolist()):
        ranks = torch.from_numpy(c.ranks[:, i]).to(device)[valid][order]
        found.products[units, k] = (middle * ranks).sum(1).cpu().numpy()


def _constant(rows: Rows, c: _Class, ties: Floats) -> Bools:
    """bool[unit], by the convention of `conventions`; only units whose extremes are close have to be looked at."""
    least, greatest = (decoded(torch.from_numpy(ties[:, i].astype(np.int32))).double().numpy() for i in (2, 3))
    with np.errstate(invalid="ignore", over="ignore"):
        step = np.maximum(2.0**-23 * np.maximum(np.abs(least), np.abs(greatest)), 1e-18)
        close = greatest - least <= 2 * math.sqrt(2 * max(c.n, 1)) * step
    found: Bools = np.zeros(len(ties), dtype=bool)
    some: npt.NDArray[np.int64] = np.flatnonzero(close)
    if c.n and len(some):
        chosen = torch.from_numpy(some).to(rows[0].device)
        valid = torch.from_numpy(np.flatnonzero(c.valid)).to(rows[0].device)
        x = torch.cat([batch[:, chosen] for batch in rows])[valid].double()
        mean = x.mean(0)
        found[some] = constant(mean, (x - mean).square().mean(0)).cpu().numpy()
    return found
