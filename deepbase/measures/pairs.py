"""The measures that read pair moments: Pearson's r, the difference of means and Cohen's d."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Kind
from deepbase.measures.base import (
    CONSTANT_HYPOTHESIS,
    CONSTANT_UNIT,
    NO_VARIATION,
    NOT_BOOLEAN,
    NOT_FINITE,
    TOO_FEW,
    UNCORRECTABLE,
    AbstractMeasure,
    AbstractState,
    Values,
)
from deepbase.measures.moments import PairMoments


@final
@dataclass(frozen=True)
class Pearson(AbstractMeasure):
    """Pearson's correlation; the point-biserial correlation where the hypothesis is boolean."""

    name: ClassVar[str] = "pearson"
    description: ClassVar[str] = "linear correlation of a unit with a hypothesis"
    formula: ClassVar[str] = "cov(x, y) / (sd(x) sd(y))"
    source: ClassVar[str] = "Pearson 1895; scipy.stats.pearsonr"
    state_type: ClassVar[type[AbstractState]] = PairMoments
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number")

    def compute(self, state: AbstractState, kinds: Sequence[Kind]) -> Values:
        """Scores in [-1, 1]."""
        assert isinstance(state, PairMoments)
        mean_x, variance_x = state.unit_moments()
        mean_y, variance_y = state.label_moments()
        of = state.null_class
        covariance = state.xy / state.symbols() - mean_x[of] * mean_y[:, None]
        score = covariance / (variance_x.sqrt()[of] * variance_y.sqrt()[:, None])
        return _values(score.clamp(-1, 1), state, kinds, self.kinds)


@final
@dataclass(frozen=True)
class MeanDifference(AbstractMeasure):
    """How much higher a unit is where the hypothesis holds, in the unit's own scale."""

    name: ClassVar[str] = "mean_difference"
    description: ClassVar[str] = "mean of a unit where the hypothesis is true, less its mean where it is false"
    formula: ClassVar[str] = "mean(x | y) - mean(x | not y)"
    source: ClassVar[str] = "textbook"
    state_type: ClassVar[type[AbstractState]] = PairMoments
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    def compute(self, state: AbstractState, kinds: Sequence[Kind]) -> Values:
        """Scores in the scale of the unit."""
        assert isinstance(state, PairMoments)
        return _values(_difference(state), state, kinds, self.kinds)


@final
@dataclass(frozen=True)
class CohensD(AbstractMeasure):
    """The difference of means in pooled standard deviations.

    What varies within the classes is what is left of all variation after a subtraction, so that the rounding of float32
    grows with d: the relative error is below 1e-5 for d up to about 3, and about `1e-6 * d**2` at most beyond.

    Unbiased, it is Hedges' g: d times `J(m) = gamma(m / 2) / (sqrt(m / 2) gamma((m - 1) / 2))` with `m = n - 2` degrees
    of freedom, which is finite for m above 1 (Hedges 1981, "Distribution theory for Glass's estimator of effect size
    and related estimators", Journal of Educational Statistics 6).

    Attributes:
        unbiased: correct the bias of small samples.
    """

    unbiased: bool = field(
        default=False, metadata={"description": "correct the bias of small samples (Hedges' g, Hedges 1981)"}
    )

    name: ClassVar[str] = "cohens_d"
    description: ClassVar[str] = "mean difference in units of the pooled standard deviation (Cohen's d)"
    formula: ClassVar[str] = "(mean(x | y) - mean(x | not y)) / sqrt(within-class sum of squares / (n - 2))"
    source: ClassVar[str] = "Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 2.2"
    state_type: ClassVar[type[AbstractState]] = PairMoments
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    def compute(self, state: AbstractState, kinds: Sequence[Kind]) -> Values:
        """Scores in standard deviations; none where the classes do not vary at all."""
        assert isinstance(state, PairMoments)
        n = state.symbols()
        positives = state.y[:, None]
        difference = _difference(state)
        total = n * state.unit_moments()[1][state.null_class]
        within = total - positives * (n - positives) / n * difference.square()
        exact = within <= 1e-6 * total  # what is left after the subtraction is rounding
        score = difference / (within / (n - 2)).sqrt()
        score = torch.where(exact | (n <= 2), torch.nan, score)
        if self.unbiased:
            score = score * _small_sample_correction(n - 2)
        found = _values(score, state, kinds, self.kinds, undefined=NO_VARIATION)
        if self.unbiased:
            few = (found.note == NO_VARIATION) & (n < 4).cpu().numpy()
            return replace(found, note=np.where(few, UNCORRECTABLE, found.note).astype(np.uint8))
        return found


def _small_sample_correction(freedom: Tensor) -> Tensor:
    """Hedges' J of some degrees of freedom; NaN below 2, where the mean of d is not finite."""
    known = freedom.clamp_min(2)
    logarithm = torch.lgamma(known / 2) - torch.lgamma((known - 1) / 2) - (known / 2).log() / 2
    return torch.where(freedom < 2, torch.nan, logarithm.exp())


def _difference(state: PairMoments) -> Tensor:
    """float64[hypothesis, unit]; NaN where a class is empty. A boolean's pilot value is 0, so `y` counts the true."""
    n = state.symbols()
    positives = state.y[:, None]
    sums = state.x[state.null_class]
    return state.xy / positives - (sums - state.xy) / (n - positives)


def _values(
    score: Tensor, state: PairMoments, kinds: Sequence[Kind], takes: Sequence[Kind], undefined: int = NOT_FINITE
) -> Values:
    """Scores with the conventions applied: a pair without a value is NaN and has a note."""
    of = state.null_class
    note = torch.where(score.isfinite(), 0, undefined).to(torch.uint8)
    foreign = torch.tensor([k not in takes for k in kinds], device=score.device)
    for code, where in (  # the later one wins
        (NOT_BOOLEAN, foreign[:, None]),
        (CONSTANT_HYPOTHESIS, state.constant_labels()[:, None]),
        (CONSTANT_UNIT, state.constant_units()[of]),
        (NOT_FINITE, ~state.xx.isfinite()[of]),
        (TOO_FEW, state.symbols() < 2),
    ):
        note = torch.where(where, torch.tensor(code, dtype=torch.uint8, device=note.device), note)
    score = torch.where(note == 0, score, torch.nan)
    return Values(score.cpu().numpy(), note.cpu().numpy().astype(np.uint8))
