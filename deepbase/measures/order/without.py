"""What walks find without each group of records in turn, in one pass: what errors of measures of order rest on.

The problem. The delete-a-group jackknife wants every score sixteen times, each time without a group of records. Sixteen
walks would cost sixteen times what the scores do.

The idea. All sixteen orders are parts of one: without a group, a symbol stands as many places higher as members of the
group are above it. So the pass goes over the sorted symbols once, with sixteen counts in the place of one, which a
processor adds up in one go. What it writes is exactly what a walk over the other records would find, bit by bit but for
float32 precisions, ties and NULLs included.

Without numba, or with 2**24 symbols or more, which float32 does not count, it is sixteen walks after all.

Time: the pass takes about twice as long as a walk. Memory: `256 * units * columns` bytes for the sums of all groups,
kept for the next measure; the counts at cuts are made for `UNITS` units at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepbase.blocks import Floats, Ints
from deepbase.measures.batch import GROUPS, KeptLabels
from deepbase.measures.compile import Compiled, compiled
from deepbase.measures.order.codes import codes
from deepbase.measures.order.compiled import kernels
from deepbase.measures.order.labels import Assembled, Bytes, Sparse
from deepbase.measures.order.walk import UNITS, Cuts, Rows, Walk, class_labels, in_threads, sorted_keys

if TYPE_CHECKING:
    from deepbase.measures.order.state import PairOrder

COUNTED = 2**24
"""The first whole number whose successor float32 does not know."""


@dataclass(frozen=True)
class _Class:
    """The columns of one null class, booleans and bins of numbers, with and without each group.

    Attributes:
        valid: uint8[symbol].
        own: int64[own], the columns.
        sparse: of uint8[symbol, own].
        n: int64[group], the symbols that have a value, without each group.
        positives: float64[own, group], the true ones without each group.
    """

    valid: Bytes
    own: Ints
    sparse: Sparse
    n: Ints
    positives: Floats


def walks_without(state: PairOrder) -> list[Walk]:
    """The sums and the ties of the walk without each group, in their order; without counts at cuts and products.

    Args:
        state: whose rows are kept.
    """
    whole, group = state.walk(Cuts()), state.assembled().kept.group.cpu().numpy()
    if not _counted(group):
        return [replace(w, sums=w.sums.astype(np.float32)) for w in _each(state, Cuts())]
    classes = _classes(state.assembled(), None, group)
    units, columns = len(whole.finite), len(whole.null_class)
    sums = np.zeros((GROUPS, units, columns, 4), dtype=np.float32)
    ties = np.zeros((len(classes), GROUPS, units, 2))

    def block(first: int) -> None:
        some = slice(first, min(first + UNITS, units))
        keys = _keys(state.units, len(group), some)
        for c, own_ties in zip(classes, ties, strict=True):
            own = np.zeros((GROUPS, len(keys), len(c.own), 4), dtype=np.float32)
            _loops()[0](
                keys, c.valid, group, c.sparse.start, c.sparse.label, c.positives, c.n, own, own_ties[:, some]
            )  # fmt: skip
            sums[:, some, c.own] = own

    in_threads(units, block)
    found = []
    for g in range(GROUPS):
        n, positives = _totals(classes, g, columns)
        own_ties = ties[:, g]
        found.append(
            replace(
                whole, n=n, positives=positives, sums=sums[g], tied_pairs=own_ties[..., 0], tied_cubes=own_ties[..., 1],
                counts=whole.counts[:0], sizes=whole.sizes[:, :0], products=whole.products[:0],
            )
        )  # fmt: skip
    return found


def counts_without(state: PairOrder, cuts: Cuts, which: slice) -> Iterator[tuple[slice, list[Walk]]]:
    """The counts at some cuts without each group, for some units at a time; without sums, ties and products.

    Args:
        state: whose rows are kept.
        cuts: of the walk.
        which: the cuts that are wanted; the others are left out.

    Yields:
        Which units, and the walk without each group in turn.
    """
    whole, group = state.walk(cuts), state.assembled().kept.group.cpu().numpy()
    if not _counted(group):
        several = _each(state, cuts)
        several = [replace(w, counts=w.counts[:, which], sizes=w.sizes[:, :, which]) for w in several]
        yield slice(0, len(whole.finite)), several
        return
    classes = _classes(state.assembled(), cuts, group)
    columns = len(whole.null_class)
    totals = [_totals(classes, g, columns) for g in range(GROUPS)]
    needs = [np.stack([cuts.needs(int(n))[which] for n in c.n]) for c in classes]
    for first in range(0, len(whole.finite), UNITS):
        some = slice(first, min(first + UNITS, len(whole.finite)))
        keys = _keys(state.units, len(group), some)
        wanted = needs[0].shape[1] if needs else 0
        counts = np.zeros((GROUPS, len(keys), wanted, columns), dtype=np.int32)
        sizes = np.zeros((GROUPS, len(classes), len(keys), wanted), dtype=np.int32)
        for i, (c, need) in enumerate(zip(classes, needs, strict=True)):
            order = np.argsort(-cuts.needs(COUNTED)[which], kind="stable")
            most = np.ascontiguousarray((c.n[:, None] - need)[:, order])
            own = np.zeros((GROUPS, len(keys), wanted, len(c.own)), dtype=np.int32)
            own_sizes = np.zeros((GROUPS, len(keys), wanted), dtype=np.int32)
            _loops()[1](keys, c.valid, group, c.sparse.start, c.sparse.label, most, own, own_sizes)
            counts[:, :, order[:, None], c.own] = own
            sizes[:, i, :, order] = own_sizes.transpose(2, 0, 1)
        part = replace(whole, finite=whole.finite[some], constant=whole.constant[:, some], sums=whole.sums[some])
        yield (
            some,
            [replace(part, n=n, positives=p, counts=counts[g], sizes=sizes[g]) for g, (n, p) in enumerate(totals)],
        )


def numbers_alone(state: PairOrder) -> list[PairOrder]:
    """The rows of each group of records, with booleans that are true nowhere: a walk looks at their numbers only."""
    kept = state.assembled().kept
    labels = replace(kept, truth=torch.zeros_like(kept.truth))
    return [_some(state, labels, kept.group == g) for g in range(GROUPS)]


def _each(state: PairOrder, cuts: Cuts) -> list[Walk]:
    """The walks over the rows without each group."""
    kept = state.assembled().kept
    return [_some(state, kept, kept.group != g).walk(cuts) for g in range(GROUPS)]


def _some(state: PairOrder, kept: KeptLabels, rows: torch.Tensor) -> PairOrder:
    """Some of the rows."""
    at, units = 0, []
    for batch in state.units:
        units.append(batch[rows[at : at + len(batch)]])
        at += len(batch)
    return replace(state, units=tuple(units), labels=(kept.rows(rows),), made=type(state.made)())


def _counted(group: Bytes) -> bool:
    """Whether there is a loop for so many symbols."""
    return kernels() is not None and len(group) < COUNTED


def _classes(labels: Assembled, cuts: Cuts | None, group: Bytes) -> list[_Class]:
    """The null classes, with the bins of numbers that there are for some cuts, if any."""
    found = []
    for number in range(len(labels.valid)):
        valid, truth, own = class_labels(labels, number, cuts or Cuts())
        if cuts is None:
            boolean = own < len(labels.boolean)
            truth, own = truth[:, boolean], own[boolean]
        with_value = np.bincount(group[valid > 0], minlength=GROUPS)
        true = np.stack([truth[group == g].sum(0, dtype=np.float64) for g in range(GROUPS)], 1)
        without = true.sum(1, keepdims=True) - true
        found.append(_Class(valid, own, Sparse.of(truth), with_value.sum() - with_value, without))
    return found


def _totals(classes: Sequence[_Class], group: int, columns: int) -> tuple[Ints, Floats]:
    """int64[class], symbols, and float64[column], true ones, without a group."""
    positives = np.zeros(columns)
    for c in classes:
        positives[c.own] = c.positives[:, group]
    return np.array([c.n[group] for c in classes], dtype=np.int64), positives


def _keys(rows: Rows, symbols: int, units: slice) -> Ints:
    """int64[unit, symbol]: sorted keys, see `compiled`; rows that are elsewhere are sorted there."""
    made = kernels()
    if rows[0].device.type == "cpu" and made is not None:
        return sorted_keys(made, rows, np.zeros(0, np.int64), symbols, units.start, units.stop)
    code = codes(torch.cat([batch[:, units] for batch in rows]).T.contiguous()).long()
    keys: Ints = (code * 2**32 + torch.arange(symbols, device=code.device)).sort(1).values.cpu().numpy()
    return keys


@cache
def _loops() -> tuple[Compiled, Compiled]:
    return compiled(_sums), compiled(_counts)


def _sums(  # noqa: C901, PLR0912, PLR0915 (one loop, whose parts share all that they have)
    keys: Any, valid: Any, group: Any, start: Any, label: Any, positives: Any, n: Any, sums: Any, ties: Any
) -> None:
    """From the greatest value of each unit to the least: the sums of `compiled._walk` without each group.

    What changes at each true symbol stands together for each column, so that the compiler sees that nothing overlaps:
    16 true ones so far, 16 of all, the best F1 and the greatest gain in `small`, the sums of places and of precisions
    in `large`. Groups are counted by `groups`, which is no constant, lest the loops are unrolled before they are made
    into vectors.

    Args:
        keys: int64[unit, symbol], sorted.
        valid: uint8[symbol], whether the symbol counts.
        group: uint8[symbol].
        start, label: the true columns of each symbol, see `Sparse`.
        positives: float64[column, group], the true ones of each column without each group.
        n: int64[group], symbols without each group.
        sums: float32[group, unit, column, 4], written.
        ties: float64[group, unit, 2], written: pairs of tied symbols, the sum of `t**3 - t`.
    """
    symbols, columns, groups = keys.shape[1], len(positives), len(n)
    one = np.float32(1)
    before = np.zeros(groups, np.float32)
    here = np.zeros(groups, np.float32)
    places = np.zeros(groups, np.float64)
    per = np.zeros(groups, np.float32)
    small = np.zeros(columns * 64, np.float32)
    large = np.zeros(columns * 32, np.float64)
    for u in range(len(keys)):
        here[:] = 0
        small[:] = 0
        large[:] = 0
        for e in range(columns):
            for g in range(groups):
                small[e * 64 + 16 + g] = positives[e, g]
        i = symbols - 1
        while i >= 0:
            code = keys[u, i] >> 32
            j = i - 1
            while j >= 0 and keys[u, j] >> 32 == code:
                j -= 1
            tied = j < i - 1
            if tied:
                before[:] = here
            for k in range(i, j, -1):
                s = keys[u, k] & 0xFFFFFFFF
                if valid[s]:
                    h = np.int64(group[s])
                    for g in range(groups):
                        here[g] += one
                    here[h] -= one
                    if tied:
                        for e in label[start[s] : start[s + 1]]:
                            at = np.int64(e) * 64
                            small[at + h] -= one
                            for g in range(groups):
                                small[at + g] += one
            if tied:
                for g in range(groups):
                    t = np.float64(here[g] - before[g])
                    places[g] = 0.5 * (here[g] + before[g] + one)
                    ties[g, u, 0] += 0.5 * t * (t - 1)
                    ties[g, u, 1] += t * t * t - t
            else:
                for g in range(groups):
                    places[g] = here[g]
            for g in range(groups):
                per[g] = one / max(here[g], one)
            more = np.float32(0) if tied else one  # of ties, all are counted already
            for k in range(i, j, -1):
                s = keys[u, k] & 0xFFFFFFFF
                if valid[s]:
                    h = np.int64(group[s])
                    for e in label[start[s] : start[s + 1]]:
                        at = np.int64(e) * 64
                        into = np.int64(e) * 32
                        rank, precision = large[into + h], large[into + 16 + h]
                        small[at + h] -= more
                        for g in range(groups):
                            true = small[at + g] + more
                            small[at + g] = true
                            small[at + 48 + g] = max(true + true - here[g], small[at + 48 + g])
                            small[at + 32 + g] = max(true / max(small[at + 16 + g] + here[g], one), small[at + 32 + g])
                        for g in range(groups):
                            large[into + g] += places[g]
                            large[into + 16 + g] += np.float64(small[at + g] * per[g])
                        large[into + h] = rank
                        large[into + 16 + h] = precision
            i = j
        for e in range(columns):
            for g in range(groups):
                sums[g, u, e, 0] = positives[e, g] * (n[g] + 1.0) - large[e * 32 + g]
                sums[g, u, e, 1] = large[e * 32 + 16 + g]
                sums[g, u, e, 2] = 2 * small[e * 64 + 32 + g]
                sums[g, u, e, 3] = small[e * 64 + 48 + g]


def _counts(  # noqa: C901, PLR0912 (one loop, whose parts share all that they have)
    keys: Any, valid: Any, group: Any, start: Any, label: Any, most: Any, counts: Any, sizes: Any
) -> None:
    """From the greatest value of each unit to the least: how many symbols are above each cut, without each group.

    Args:
        keys, valid, group, start, label: as for `_sums`.
        most: int64[group, cut], ascending: how many symbols may be above the cut, without each group.
        counts: int32[group, unit, cut, column], written: the true ones above the cut.
        sizes: int32[group, unit, cut], written: the symbols above the cut.
    """
    symbols, groups, cuts = keys.shape[1], len(most), most.shape[1]
    columns = counts.shape[3]
    true = np.zeros((groups, columns), np.int32)
    total = np.zeros(columns, np.int32)
    count = np.zeros(groups, np.int64)
    more = np.zeros(groups, np.int64)
    following = np.zeros(groups, np.int64)
    for u in range(len(keys)):
        true[:] = 0
        total[:] = 0
        count[:] = 0
        following[:] = 0
        n = 0
        safe = 0  # up to so many symbols there is no cut
        i = symbols - 1
        while i >= 0:
            code = keys[u, i] >> 32
            j = i - 1
            while j >= 0 and keys[u, j] >> 32 == code:
                j -= 1
            if n + i - j > safe:
                more[:] = 0
                size = 0
                for k in range(i, j, -1):
                    s = keys[u, k] & 0xFFFFFFFF
                    if valid[s]:
                        size += 1
                        more[group[s]] += 1
                room = symbols
                for g in range(groups):
                    here = n - count[g]
                    while following[g] < cuts and here + size - more[g] > most[g, following[g]]:
                        sizes[g, u, following[g]] = here
                        for e in range(columns):
                            counts[g, u, following[g], e] = total[e] - true[g, e]
                        following[g] += 1
                    if following[g] < cuts:
                        room = min(room, most[g, following[g]] - here)
                safe = n + room
            for k in range(i, j, -1):
                s = keys[u, k] & 0xFFFFFFFF
                if valid[s]:
                    h = group[s]
                    n += 1
                    count[h] += 1
                    for e in label[start[s] : start[s + 1]]:
                        total[e] += 1
                        true[h, e] += 1
            i = j
        for g in range(groups):
            for cut in range(following[g], cuts):
                sizes[g, u, cut] = n - count[g]
                for e in range(columns):
                    counts[g, u, cut, e] = total[e] - true[g, e]
