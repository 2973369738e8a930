"""AUROC among symbols that are alike in what is given: the chance that a positive outranks a negative of its stratum.

The strata are the distinct combinations of the values of the confounds: of booleans and of the values of a category as
they are; of a number as it is where it has at most `DISTINCT` values, else in `BINS` bins of about equal size. A value
with m lesser ones among n symbols is in bin `floor(BINS * m / n)`, so that equal values are never parted; n and m count
the symbols where all confounds have a value, whatever the hypothesis. With U of a stratum the wins of its n1 positives
over its n0 negatives, ties counting half,

    score = sum over strata of U / sum over strata of n1 n0

(van Elteren 1960, "On the combination of independent two-sample tests of Wilcoxon"; the covariate-adjusted AUC of Janes
and Pepe 2009, Biometrika 96, with strata weighed by their pairs). A stratum with one class only says nothing.

The rows of `Rows` are what it reads. Scores are exact, and there is no p-value, as there is none for `auroc`.

Standard errors take about six times as long as scores: sixteen sums over the sorted symbols, and as many products of
matrices. Strata stay those of all symbols.

Memory: `8 * symbols * UNITS` bytes four times, and `5 * symbols * hypotheses` once. Time: for each unit and null class
one sort of the symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Bools, Floats, Ints, Kind
from deepbase.measures.base import AbstractState, Target, Values
from deepbase.measures.batch import GROUPS, BatchLabels
from deepbase.measures.conventions import Evidence, constant, values
from deepbase.measures.notes import HYPOTHESIS_GIVEN, UNIT_GIVEN
from deepbase.measures.order.codes import codes
from deepbase.measures.rows import Rows
from deepbase.measures.significance import LEAST_GROUPS
from deepbase.measures.spread import Scale, Spread, jackknife

DISTINCT = 10
"""A number with more values than these is cut into bins."""
BINS = 10
UNITS = 32
"""Units that are sorted at a time."""


def stratified_auroc(state: AbstractState, targets: Sequence[Target], takes: Sequence[Kind]) -> Values:
    """The scores of booleans, with the conventions of all measures and those of confounds applied.

    Args:
        state: the rows.
        targets: what the units are compared with, and given.
        takes: the kinds that the measure takes.
    """
    assert isinstance(state, Rows)
    labels, columns = [p.labels for p in state.pieces], [t.columns[0] for t in targets]
    y, known, stratum = _compared(state, targets)
    found = _Found(state, len(targets))
    for which in _alike(known):
        found.add(np.flatnonzero(known[:, which[0]]), which, y, stratum)
    n = known.sum(0)
    evidence = Evidence(
        n=torch.from_numpy(n.astype(np.float64)),
        positives=torch.from_numpy(y.sum(0, where=known, dtype=np.float64)),
        constant_target=torch.from_numpy(_constant_labels(labels, columns, known)),
        constant_unit=torch.from_numpy(found.constant),
        finite=torch.from_numpy(found.finite)[None],
    )
    nothing, still = torch.from_numpy(found.pairs == 0)[:, None], torch.from_numpy(found.still)
    score = torch.from_numpy(found.wins / np.maximum(found.pairs, 1)[:, None])
    reasons = ((HYPOTHESIS_GIVEN, nothing), (UNIT_GIVEN, still))  # the later one wins
    return values(score, targets, takes, evidence, reasons=reasons)


def _compared(state: Rows, targets: Sequence[Target]) -> tuple[Floats, Bools, Ints]:
    """[symbol, target] of hypotheses, and where they and the confounds have a value; int64[symbol], the strata."""
    labels, columns = [p.labels for p in state.pieces], [t.columns[0] for t in targets]
    stratum = strata(np.concatenate([_confounds(x, targets[0].given) for x in labels]))
    y = torch.cat([x.values[:, columns] for x in labels]).cpu().numpy()  # of booleans, which have no pilots
    known = torch.cat([x.known[:, columns] for x in labels]).cpu().numpy() & (stratum >= 0)[:, None]
    return y, known, stratum


def stratified_spread(state: AbstractState, targets: Sequence[Target], score: Floats, scale: Scale) -> Spread:
    """Standard errors by the delete-a-group jackknife: without a group, ranks are less by its members below.

    Args:
        state: the rows.
        targets: what the units are compared with, and given.
        score: float64[target, unit].
        scale: of the measure.
    """
    assert isinstance(state, Rows)
    y, known, stratum = _compared(state, targets)
    group = torch.cat([p.labels.group for p in state.pieces]).cpu().numpy()
    without = np.full((GROUPS, *score.shape), np.nan)
    present, evidence = np.zeros((2, GROUPS, len(targets)))
    for which in _alike(known):
        rows = np.flatnonzero(known[:, which[0]])
        if len(rows):
            own = _Part(state, rows, y[rows][:, which] > 0, stratum[rows], group[rows])
            present[:, which] = (np.bincount(group[rows], minlength=GROUPS) > 0)[:, None]
            evidence[:, which] = own.evidence()
            for first in range(0, state.units, UNITS):
                units = slice(first, min(first + UNITS, state.units))
                without[:, which, units] = own.scores_without(units)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.square(evidence.sum(0)) / np.square(evidence).sum(0)
    enough = (effective >= LEAST_GROUPS) & (present.sum(0) > 1)
    freedom = np.where(enough, np.minimum(effective, present.sum(0)) - 1, 0.0)
    return replace(jackknife(score, without, freedom, scale, present), bias=None)


class _Part:
    """Targets that have a value at the same symbols, and these symbols.

    Attributes:
        true: float64[symbol, target].
        of: int64[symbol], the strata, from 0 up without a gap.
        group: int64[symbol].
    """

    def __init__(self, state: Rows, rows: Ints, true: Bools, stratum: Ints, group: Ints) -> None:
        self.state, self.rows = state, torch.from_numpy(rows)
        self.true = torch.from_numpy(true).double()
        self.of = torch.from_numpy(np.unique(stratum, return_inverse=True)[1].reshape(-1))
        self.group = torch.from_numpy(group)

    def _classes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """float64[stratum, target] and float64[stratum, 1]: true ones and all, of symbols of a weight of 1."""
        strata = int(self.of.max()) + 1
        zeros = torch.zeros(strata, self.true.shape[1], dtype=torch.float64)
        return zeros.index_add(0, self.of, self.true * weight[:, None]), torch.bincount(self.of, weight)[:, None]

    def evidence(self) -> Floats:
        """float64[group, target]: the sums of squares of the truth about its mean in the stratum."""
        n1, n = self._classes(torch.ones(len(self.of), dtype=torch.float64))
        squares = (self.true - (n1 / n)[self.of]).square()
        return torch.zeros(GROUPS, squares.shape[1], dtype=torch.float64).index_add_(0, self.group, squares).numpy()

    def scores_without(self, units: slice) -> Floats:
        """float64[group, target, unit]: the scores of some units without each group."""
        x = torch.cat([p.units[:, units].cpu() for p in self.state.pieces])[self.rows]
        places = _Places.of(x, self.of)
        ranks = places.middle(torch.ones(len(self.of), dtype=torch.float64)) + 0.5
        found = []
        for g in range(GROUPS):
            rest = (self.group != g).double()
            n1, n = self._classes(rest)
            wins = (self.true * rest[:, None]).T @ (ranks - places.middle(1 - rest)).T
            wins -= (n1 * (n1 + 1) / 2).sum(0)[:, None]
            found.append(wins / (n1 * (n - n1)).sum(0)[:, None])
        return torch.stack(found).numpy()


def strata(values: Floats) -> Ints:
    """int64[symbol]: the number of each symbol's stratum; -1 where a confound has no value.

    Args:
        values: float64[symbol, confound], NaN where there is no value.
    """
    found = np.full(len(values), -1, dtype=np.int64)
    known = ~np.isnan(values).any(1)
    if known.any():
        own = np.stack([_binned(column) for column in values[known].T], axis=1)
        found[known] = np.unique(own, axis=0, return_inverse=True)[1].reshape(-1)
    return found


def _binned(values: Floats) -> Ints:
    """int64[symbol]: the values by number, or the bins of them where there are many."""
    distinct, number, count = np.unique(values, return_inverse=True, return_counts=True)
    number = number.reshape(-1)
    if len(distinct) <= DISTINCT:
        return number
    lesser = np.cumsum(count) - count
    return np.asarray((lesser * BINS // len(values))[number])


def _confounds(labels: BatchLabels, columns: tuple[int, ...]) -> Floats:
    assert labels.confounds is not None
    found: Floats = labels.confounds.values[:, list(columns)].cpu().numpy()
    return found


def _constant_labels(labels: Sequence[BatchLabels], columns: list[int], known: Bools) -> Bools:
    """bool[target]: labels whose values differ by no more than what was rounded off about their pilots."""
    least, greatest = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    step, first = np.zeros(len(columns)), 0
    for batch in labels:
        values, end = batch.values[:, columns].cpu().numpy(), first + len(batch.values)
        shift, of = batch.shift[columns].cpu().numpy(), known[first:end]
        least = np.minimum(least, values.min(0, where=of, initial=np.inf) + shift)
        greatest = np.maximum(greatest, values.max(0, where=of, initial=-np.inf) + shift)
        step = np.maximum(step, 2.0**-23 * np.abs(values).max(0, initial=0) + 2.0**-52 * np.abs(shift))
        first = end
    return np.asarray(greatest - least <= 2 * step)


def _alike(known: Bools) -> list[list[int]]:
    """Columns with a value at the same symbols, together."""
    found: dict[bytes, list[int]] = {}
    for i, column in enumerate(np.packbits(known, axis=0).T):
        found.setdefault(column.tobytes(), []).append(i)
    return list(found.values())


class _Found:
    """What is counted of a layer.

    Attributes:
        wins: float64[target, unit], pairs of one stratum in which the positive is greater; ties count half.
        pairs: float64[target], pairs of one stratum.
        still: bool[target, unit], whether the unit is the same throughout each stratum.
        constant: bool[target, unit].
        finite: bool[unit].
    """

    def __init__(self, state: Rows, targets: int) -> None:
        self.state = state
        self.wins = np.zeros((targets, state.units))
        self.pairs = np.zeros(targets)
        self.still = np.zeros((targets, state.units), dtype=bool)
        self.constant = np.zeros((targets, state.units), dtype=bool)
        finite = [p.units.isfinite().all(0) for p in state.pieces]
        self.finite = torch.stack(finite).all(0).cpu().numpy()

    def add(self, rows: Ints, which: list[int], y: Floats, stratum: Ints) -> None:
        """The targets that have a value at some rows."""
        if not len(rows):
            return
        _, number = np.unique(stratum[rows], return_inverse=True)
        of = torch.from_numpy(number.reshape(-1))
        y_true = torch.from_numpy(y[rows][:, which] > 0).double()
        count = int(of.max()) + 1
        n1 = torch.zeros(count, len(which), dtype=torch.float64).index_add_(0, of, y_true)
        n = torch.bincount(of, minlength=count).double()[:, None]
        self.pairs[which] = (n1 * (n - n1)).sum(0).numpy()
        least = (n1 * (n1 + 1) / 2).sum(0)[:, None].numpy()
        at = torch.from_numpy(rows)
        for first in range(0, self.state.units, UNITS):
            units = slice(first, min(first + UNITS, self.state.units))
            x = torch.cat([p.units[:, units].cpu() for p in self.state.pieces])[at]
            ranks, still = _ranks(x, of)
            self.wins[which, units] = (y_true.T @ ranks.T).numpy() - least
            self.still[which, units] = still.numpy()
            exact = x.double()
            mean = exact.mean(0)
            self.constant[which, units] = constant(mean, (exact - mean).square().mean(0)).numpy()


def _ranks(x: Tensor, stratum: Tensor) -> tuple[Tensor, Tensor]:
    """The mid-ranks of each value within its stratum, from 1 up, and whether no stratum has two values.

    Args:
        x: float32[symbol, unit].
        stratum: int64[symbol], from 0 up without a gap.

    Returns:
        float64[unit, symbol] and bool[unit].
    """
    places = _Places.of(x, stratum)
    every = torch.ones(len(stratum), dtype=torch.float64)
    return places.middle(every) + 0.5, places.distinct == int(stratum.max()) + 1


class _Places(NamedTuple):
    """Where the symbols of some units stand, stratum after stratum, from the least value up.

    Attributes:
        order: int64[unit, symbol], the symbols as they stand.
        begin, end: int64[unit, place], where the ties of the symbol at each place begin and end.
        start: int64[place], where the stratum of each place begins.
        distinct: int64[unit], values that differ, or are of different strata.
    """

    order: Tensor
    begin: Tensor
    end: Tensor
    start: Tensor
    distinct: Tensor

    @classmethod
    def of(cls, x: Tensor, stratum: Tensor) -> Self:
        """Of float32[symbol, unit] in int64[symbol]."""
        key = stratum * 2**32 + codes(x.T.contiguous()).long()
        key, order = key.sort(1)
        last = torch.ones_like(key, dtype=torch.bool)
        last[:, :-1] = key[:, 1:] != key[:, :-1]
        first = torch.ones_like(last)
        first[:, 1:] = last[:, :-1]
        places = torch.arange(key.shape[1])
        begin = torch.where(first, places, 0).cummax(1).values
        end = torch.where(last, places + 1, key.shape[1]).flip(1).cummin(1).values.flip(1)
        starts = torch.bincount(stratum).cumsum(0) - torch.bincount(stratum)
        return cls(order, begin, end, starts[stratum.sort().values], last.sum(1))

    def middle(self, weight: Tensor) -> Tensor:
        """float64[unit, symbol]: the weight below each symbol in its stratum, and half of that of its ties.

        Args:
            weight: float64[symbol].
        """
        below = torch.nn.functional.pad(weight[self.order].cumsum(1), (1, 0))
        own = (below.gather(1, self.begin) + below.gather(1, self.end)) / 2 - below[:, self.start]
        return torch.empty_like(own).scatter_(1, self.order, own)
