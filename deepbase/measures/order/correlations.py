"""Rank correlations: Spearman's rho and Kendall's tau-b.

Of a boolean both follow from the pairs that AUROC counts, and from ties. Spearman's of a number is a product of ranks.
Kendall's of a number counts the pairs of symbols that the unit and the number order differently, in
`O(n log n)` a pair (Knight 1966, "A computer method for calculating Kendall's tau with ungrouped data", JASA 61); that
needs every row.

The order of values that differ by less than the rounding of the forward itself (a saturated GELU) is noise, which no
measure of order can see through.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats, Kind
from deepbase.measures.base import AbstractState, Target, Values
from deepbase.measures.order import bounds
from deepbase.measures.order.detectors import symbols, wins
from deepbase.measures.order.errors import spread_of_ranks
from deepbase.measures.order.kendall import discordant_pairs
from deepbase.measures.order.scores import exact_values, from_bins, sketch_values
from deepbase.measures.order.sketch import Sketch
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.walk import Cuts, Walk
from deepbase.measures.spread import Scale, Spread
from deepbase.measures.tested import AbstractRanked, AbstractTested


@dataclass(frozen=True)
class AbstractRankCorrelation(AbstractTested):
    """A correlation that looks at ranks only."""

    state_type: ClassVar[type[AbstractState]] = PairOrder
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signed: ClassVar[bool] = True
    error_scale: ClassVar[Scale] = "fisher"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number")

    @staticmethod
    @abc.abstractmethod
    def of_walk(state: PairOrder, walk: Walk, target: Target) -> Floats:
        """The scores from rows, float64[unit]."""

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors: of booleans by the delete-a-group jackknife, of numbers by random groups."""
        assert isinstance(state, PairOrder)

        def whole(walk: Walk, several: Sequence[Target]) -> Floats:
            return np.stack([self.of_walk(state, walk, t) for t in several])

        def of_group(group: PairOrder, several: Sequence[Target]) -> Floats:
            walk = group.walk(Cuts())
            return np.stack([self.of_walk(group, walk, t) for t in several])

        return spread_of_ranks(state, targets, found.unit_score, whole, of_group, self.error_scale)


@final
@dataclass(frozen=True)
class Spearman(AbstractRanked, AbstractRankCorrelation):
    """Pearson's correlation of the ranks; ties have the mean of their ranks."""

    name: ClassVar[str] = "spearman"
    description: ClassVar[str] = "rank correlation of a unit with a hypothesis (Spearman's rho)"
    formula: ClassVar[str] = "cov(rank(x), rank(y)) / (sd(rank(x)) sd(rank(y)))"
    source: ClassVar[str] = "Spearman 1904; scipy.stats.spearmanr"

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [-1, 1]."""
        assert isinstance(state, PairOrder)
        if state.sketch is None:
            walk = state.walk(Cuts())
            with np.errstate(invalid="ignore", divide="ignore"):
                score = np.stack([self.of_walk(state, walk, t) for t in targets])
            return exact_values(np.clip(score, -1, 1), walk, state, targets, self.kinds)
        low, high = from_bins(state.sketch, targets, bounds.spearman)
        for i, target in enumerate(targets):
            if target.kind == "number":
                low[i], high[i] = _of_number(state.sketch, target.columns[0])
        return sketch_values((low + high) / 2, (high - low) / 2, state.sketch, targets, self.kinds)

    @staticmethod
    def of_walk(state: PairOrder, walk: Walk, target: Target) -> Floats:
        """float64[unit]: of a boolean, the sum of its ranks about their mean is the won pairs less half of all."""
        column = target.columns[0]
        of, n = walk.null_class[column], symbols(walk)[column]
        variance = (n**3 - n - walk.tied_cubes[of]) / 12
        if target.kind == "number":
            number = int((~state.assembled().boolean[:column]).sum())
            ranks = state.assembled().ranks[column].middle - (n + 1) / 2
            return np.asarray(walk.products[:, number] / np.sqrt(variance * (ranks**2).sum()))
        across = walk.positives[column] * (n - walk.positives[column])
        return np.asarray((wins(walk)[:, column] - across / 2) / np.sqrt(variance * across / n))


def _of_number(sketch: Sketch, column: int) -> tuple[Tensor, Tensor]:
    """float64[unit]: what Spearman's rho with a number can be at least and at most."""
    number = int((~sketch.boolean[:column]).sum())
    loose, loose_numbers = ~sketch.pure(), ~sketch.pure_numbers()[number]
    counts = sketch.number_counts(number)
    parts = []
    for first in range(0, len(counts), bounds.UNITS):
        some = slice(first, first + bounds.UNITS)
        parts.append(bounds.spearman_of_number(counts[some].double(), loose[some], loose_numbers))
    return torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])


@final
@dataclass(frozen=True)
class Kendall(AbstractRankCorrelation):
    """The pairs of symbols that unit and hypothesis order alike, less those that they order differently: tau-b."""

    name: ClassVar[str] = "kendall"
    description: ClassVar[str] = "rank correlation of a unit with a hypothesis from pairs of symbols (Kendall's tau-b)"
    formula: ClassVar[str] = "(concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y)"
    source: ClassVar[str] = "Kendall 1945, The treatment of ties in ranking problems; scipy.stats.kendalltau"

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [-1, 1]; of a number only where all rows are kept."""
        assert isinstance(state, PairOrder)
        if state.sketch is None:
            walk = state.walk(Cuts())
            with np.errstate(invalid="ignore", divide="ignore"):
                score = np.stack([self.of_walk(state, walk, t) for t in targets])
            return exact_values(np.clip(score, -1, 1), walk, state, targets, self.kinds)
        low, high = from_bins(state.sketch, targets, bounds.kendall)
        error = (high - low) / 2
        error[[t.kind == "number" for t in targets]] = torch.inf
        return sketch_values((low + high) / 2, error, state.sketch, targets, self.kinds)

    @staticmethod
    def of_walk(state: PairOrder, walk: Walk, target: Target) -> Floats:
        """float64[unit]."""
        column = target.columns[0]
        of, n = walk.null_class[column], symbols(walk)[column]
        untied = n * (n - 1) / 2 - walk.tied_pairs[of]
        if target.kind == "number":
            order = state.assembled().ranks[column]
            discordant, both = discordant_pairs(state.units, order, len(state.assembled().truth))
            untied_y = n * (n - 1) / 2 - order.tied_pairs
            either = n * (n - 1) / 2 - walk.tied_pairs[of] - order.tied_pairs + both
            return np.asarray((either - 2 * discordant) / np.sqrt(untied * untied_y))
        across = walk.positives[column] * (n - walk.positives[column])
        return np.asarray((2 * wins(walk)[:, column] - across) / np.sqrt(untied * across))
