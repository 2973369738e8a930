"""Measures that say how likely a score is by chance: their options, and p-values by permutation.

The test. Records exchange their labels at random (`exchange`), which leaves everything as it is but what a unit has to
do with the labels of its own record. The measure itself is computed for each of n permutations, and

    p = (1 + how many permuted scores are at least as extreme) / (n + 1),

which is never 0, and does not exceed a level more often than it says (Phipson and Smyth 2010, "Permutation p-values
should never be zero: calculating exact p-values when permutations are randomly drawn", equation 2). A signed score is
the more extreme the greater its magnitude, an AUROC the further it is from 0.5; of others, more is more extreme.
Scores that differ by rounding only are the same, and a permutation without a score counts as an extreme one.

Without permutations the measures of moments have the t-test of `significance`, and the measures of order have none
unless it is asked for.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast, get_args

import numpy as np

from deepbase.blocks import Floats
from deepbase.errors import MeasureError, nearest
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.moments import PairMoments
from deepbase.measures.order.permuted import exchangeable, permuted_orders
from deepbase.measures.order.significance import rank_p_values
from deepbase.measures.order.state import PairOrder
from deepbase.measures.permuted_moments import PermutedMoments, permuted_moments
from deepbase.measures.significance import Correction

MOST_PERMUTATIONS = 1_000_000
TIED = 1e-5
"""Scores that differ by less than this share of them are the same."""


@dataclass(frozen=True)
class AbstractTested(AbstractMeasure):
    """A measure of units that may have p-values.

    Attributes:
        chance: a score of no affinity; the further a score is from it, on either side, the more extreme it is.
    """

    permutations: int = field(
        default=0,
        kw_only=True,
        metadata={"description": "p-values from so many permutations of whole records' labels; 0 for none"},
    )
    correction: str = field(
        default="bh",
        kw_only=True,
        metadata={
            "description": "`q_value` of all pairs of the run by Benjamini and Hochberg, or `by`: by Benjamini and "
            "Yekutieli, however tests depend on each other"
        },
    )

    chance: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.permutations <= MOST_PERMUTATIONS:
            raise MeasureError(
                f"option 'permutations' of measure '{self.name}' cannot be {self.permutations}",
                f"Give a whole number from 0 to {MOST_PERMUTATIONS:,}; 999 resolve p-values of 0.001.",
            )
        if self.permutations and self.confounds:
            raise MeasureError(
                f"measure '{self.name}' cannot permute the labels of what is left after confounds",
                "Give `permutations`, or `given`.",
            )
        if self.correction not in (known := get_args(Correction)):
            raise MeasureError(
                f"option 'correction' of measure '{self.name}' cannot be '{self.correction}'",
                nearest(self.correction, known),
            )

    @property
    def reads(self) -> type[AbstractState]:
        """The state that it reads: of permuted labels, too, where rows are not kept anyway."""
        if self.permutations and self.state_type is PairMoments:
            return permuted_moments(self.permutations)
        return self.state_type

    @property
    def needs_records(self) -> bool:
        """Whether records exchange their labels."""
        return self.permutations > 0

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """The scores with their p-values."""
        if not self.permutations:
            return self.score(state, targets)
        found = self.score(state.moments if isinstance(state, PermutedMoments) else state, targets)
        return replace(found, p_value=self._p_values(state, targets, found))

    @abc.abstractmethod
    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """The scores, with the p-values that cost no permutations.

        Args:
            state: of `state_type`.
            targets: what the units are compared with.
        """

    def _p_values(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Floats:
        """float64[target, unit]; NaN where there is no score, and where there are no records to exchange labels."""
        shape = found.unit_score.shape
        if not _exchangeable(state):
            return np.full(shape, np.nan)
        own = self._extreme(found.unit_score)
        least = own - TIED * np.abs(own)
        as_extreme, permutations = np.ones(shape), 0
        for permuted, several in _permuted(state, targets, self.permutations):
            scores = self.score(permuted, several).unit_score.reshape(-1, *shape)
            extreme = self._extreme(scores)
            as_extreme += ((extreme >= least) | np.isnan(extreme)).sum(0)
            permutations += len(scores)
        return np.where(np.isnan(found.unit_score), np.nan, as_extreme / (1 + permutations))

    def _extreme(self, score: Floats) -> Floats:
        """How far scores are from chance."""
        return np.abs(score - self.chance)


@dataclass(frozen=True)
class AbstractRanked(AbstractTested):
    """A measure that is linear in the ranks of a unit, and can be tested without permutations."""

    tested: bool = field(
        default=False,
        kw_only=True,
        metadata={"description": "p-values from a t-test over groups of records, which sorts the units once more"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tested and self.permutations:
            raise MeasureError(
                f"measure '{self.name}' cannot be tested both ways",
                "Give `tested := true`, or `permutations`.",
            )
        if self.tested and self.confounds:
            raise MeasureError(
                f"measure '{self.name}' cannot be tested on what is left after confounds",
                "Give `tested := true`, or `given`.",
            )

    @property
    def needs_records(self) -> bool:
        """Whether it is tested."""
        return self.tested or super().needs_records

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """The scores with their p-values."""
        found = super().compute(state, targets)
        if not self.tested:
            return found
        assert isinstance(state, PairOrder)
        return replace(found, p_value=np.where(np.isnan(found.unit_score), np.nan, rank_p_values(state, targets)))


def _exchangeable(state: AbstractState) -> bool:
    """Whether records have exchanged their labels, or can."""
    if isinstance(state, PermutedMoments):
        return float(state.records) > 0
    assert isinstance(state, PairOrder)
    return exchangeable(state)


def _permuted(
    state: AbstractState, targets: Sequence[Target], permutations: int
) -> Iterator[tuple[AbstractState, Sequence[Target]]]:
    """States of permuted labels, and their targets, permutation by permutation."""
    if isinstance(state, PermutedMoments):
        yield from ((state.permuted(k), targets) for k in range(permutations))
    else:
        assert isinstance(state, PairOrder)
        yield from permuted_orders(state, targets, permutations)


def correction(measure: AbstractMeasure) -> Correction:
    """Whose procedure corrects the p-values of a measure; those of a user's own have no choice."""
    return cast(Correction, measure.correction) if isinstance(measure, AbstractTested) else "bh"
