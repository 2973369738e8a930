"""A unit as a detector of a boolean hypothesis: how well its order, or its best threshold, tells true from false.

The order of values that differ by less than the rounding of the forward itself (a saturated GELU) is noise, which no
measure of order can see through.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from deepbase.blocks import Floats, Kind
from deepbase.errors import MeasureError
from deepbase.measures.base import AbstractState, Target, Values
from deepbase.measures.confounds import AbstractGiven
from deepbase.measures.conventions import first_columns
from deepbase.measures.order import bounds
from deepbase.measures.order.errors import spread_of_counts, spread_of_sums
from deepbase.measures.order.scores import detector_values
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.strata import stratified_auroc, stratified_spread
from deepbase.measures.order.walk import Cuts, Walk, top_need
from deepbase.measures.rows import Rows
from deepbase.measures.spread import Scale, Spread
from deepbase.measures.tested import AbstractRanked, AbstractTested


def wins(walk: Walk) -> Floats:
    """float64[unit, column]: pairs of a true and a false symbol in which the true one is greater; ties count half."""
    p = walk.positives
    return walk.sums[..., 0] - p * (p + 1) / 2


def symbols(walk: Walk) -> Floats:
    """float64[column]: the symbols where each column has a value."""
    return walk.n[walk.null_class].astype(np.float64)


@dataclass(frozen=True)
class AbstractDetector(AbstractTested):
    """A measure of booleans that follows from a walk."""

    state_type: ClassVar[type[AbstractState]] = PairOrder
    signed: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    @abc.abstractmethod
    def of_walk(self, walk: Walk) -> Floats:
        """The scores, float64[unit, column]."""

    def _formula(self, walk: Walk, targets: Sequence[Target]) -> Floats:
        return self.of_walk(walk)[:, first_columns(targets)].T

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delete-a-group jackknife, in one more pass for all measures of a layer."""
        assert isinstance(state, PairOrder)
        return spread_of_sums(state, targets, found.unit_score, self._formula, self.error_scale)


@final
@dataclass(frozen=True)
class Auroc(AbstractRanked, AbstractDetector, AbstractGiven):
    """The probability that a unit is higher at a true symbol than at a false one, ties counting half.

    0.5 is chance; below it the unit is lower where the hypothesis holds. Given confounds, both symbols are of one
    stratum of these.
    """

    name: ClassVar[str] = "auroc"
    description: ClassVar[str] = "area under the ROC curve of a unit as a detector of a hypothesis; 0.5 is chance"
    formula: ClassVar[str] = "P(x+ > x-) + P(x+ = x-) / 2"
    source: ClassVar[str] = "Hanley and McNeil 1982; sklearn.metrics.roc_auc_score"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    error_scale: ClassVar[Scale] = "logit"
    chance: ClassVar[float] = 0.5

    @property
    def reads(self) -> type[AbstractState]:
        """The rows with the confounds, if there are any."""
        return Rows if self.given else super().reads

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [0, 1]."""
        if self.given:
            return stratified_auroc(state, targets, self.kinds)
        assert isinstance(state, PairOrder)

        return detector_values(state, targets, self.kinds, self.of_walk, bounds.auroc)

    def of_walk(self, walk: Walk) -> Floats:
        """Won pairs of all."""
        return wins(walk) / (walk.positives * (symbols(walk) - walk.positives))

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """As for all detectors; given confounds, by the same jackknife of the strata."""
        if self.given:
            return stratified_spread(state, targets, found.unit_score, self.error_scale)
        return super().spread(state, targets, found)


@final
@dataclass(frozen=True)
class AveragePrecision(AbstractDetector):
    """The mean precision over the true symbols, each at the threshold that just lets it in, with all that are tied."""

    name: ClassVar[str] = "average_precision"
    description: ClassVar[str] = "average precision of a unit as a detector of a hypothesis; its base rate is chance"
    formula: ClassVar[str] = "sum over thresholds k of (recall_k - recall_(k-1)) precision_k"
    source: ClassVar[str] = "sklearn.metrics.average_precision_score"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    error_scale: ClassVar[Scale] = "logit"

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in (0, 1]."""
        assert isinstance(state, PairOrder)
        return detector_values(state, targets, self.kinds, self.of_walk, bounds.average_precision)

    def of_walk(self, walk: Walk) -> Floats:
        """Mean precisions."""
        return np.minimum(walk.sums[..., 1] / walk.positives, 1.0)


@final
@dataclass(frozen=True)
class F1(AbstractDetector):
    """The harmonic mean of precision and recall of `x > t`, at the best of all thresholds t.

    The threshold below all values, which takes every symbol for true, is one of them: no score is below
    `2 P / (P + n)` for P true ones of n.
    """

    name: ClassVar[str] = "f1"
    description: ClassVar[str] = "F1 of a unit above the threshold that is best for a hypothesis"
    formula: ClassVar[str] = "max over t of 2 TP / (2 TP + FP + FN), for x > t"
    source: ClassVar[str] = "van Rijsbergen 1979, Information Retrieval, chapter 7"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    error_scale: ClassVar[Scale] = "logit"

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in (0, 1]."""
        assert isinstance(state, PairOrder)
        return detector_values(state, targets, self.kinds, self.of_walk, bounds.f1)

    def of_walk(self, walk: Walk) -> Floats:
        """What the walk has kept."""
        return walk.sums[..., 2]


@final
@dataclass(frozen=True)
class Accuracy(AbstractDetector):
    """The share of symbols at which `x > t` is right, at the best of all thresholds t.

    Thresholds below and above all values are among them: no score is below the share of the more frequent answer.
    """

    name: ClassVar[str] = "accuracy"
    description: ClassVar[str] = "accuracy of a unit above the threshold that is best for a hypothesis"
    formula: ClassVar[str] = "max over t of (TP + TN) / n, for x > t"
    source: ClassVar[str] = "textbook"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    error_scale: ClassVar[Scale] = "logit"

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [0.5, 1]."""
        assert isinstance(state, PairOrder)
        return detector_values(state, targets, self.kinds, self.of_walk, bounds.accuracy)

    def of_walk(self, walk: Walk) -> Floats:
        """The right answers: the false symbols, and what true ones above the threshold exceed false ones by."""
        n = symbols(walk)
        return (walk.sums[..., 3] + n - walk.positives) / n


@final
@dataclass(frozen=True)
class Jaccard(AbstractDetector):
    """How much the symbols at which a unit is highest overlap with those of a hypothesis.

    The unit is on where `x > t`, and t is the least value that a share of `1 - top` of the symbols does not exceed. So
    no more than the top share is on; where the greatest values are tied and more than that, nothing is, and the score
    is 0. Bau et al. set `top` to 0.005 and count pixels.

    Attributes:
        top: the share of the symbols at which the unit is on.
    """

    top: float = field(default=0.05, metadata={"description": "share of the symbols at which the unit counts as on"})

    name: ClassVar[str] = "jaccard"
    description: ClassVar[str] = "intersection over union of a hypothesis with the symbols where a unit is highest"
    formula: ClassVar[str] = "|x > t and y| / |x > t or y|, t the (1 - top) quantile of x"
    source: ClassVar[str] = "Bau et al. 2017, Network Dissection, section 3.2, equation 2"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    error_scale: ClassVar[Scale] = "logit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.top < 1:
            raise MeasureError(
                f"option 'top' of measure 'jaccard' cannot be {self.top}", "Give a share between 0 and 1."
            )

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [0, 1]."""
        assert isinstance(state, PairOrder)

        def bounded(bins: bounds.Bins) -> bounds.Interval:
            n = int(bins.all_n[0, 0])
            return bounds.jaccard(bins, n - top_need(n, self.top))

        return detector_values(state, targets, self.kinds, self.of_walk, bounded, Cuts(top=self.top))

    def of_walk(self, walk: Walk) -> Floats:
        """Symbols above the last cut that are true, of those that are either."""
        p = walk.counts[:, -1].astype(np.float64)
        on = walk.sizes[walk.null_class, :, -1].T
        return p / (walk.positives + on - p)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delete-a-group jackknife, in a pass of its own: each group has cuts of its own."""
        assert isinstance(state, PairOrder)
        cuts = Cuts(top=self.top)
        last = slice(-1, None)
        return spread_of_counts(state, targets, found.unit_score, self._formula, self.error_scale, cuts, last)
