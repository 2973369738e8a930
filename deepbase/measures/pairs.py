"""The measures that read pair moments: correlations, differences of means, and what a category explains of a unit."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Kind
from deepbase.measures.base import AbstractState, Target, Values
from deepbase.measures.batch import GROUPS
from deepbase.measures.confounds import AbstractGiven
from deepbase.measures.conventions import Evidence, first_columns, values
from deepbase.measures.delta import PairSums, pair_spread
from deepbase.measures.moments import PairMoments
from deepbase.measures.notes import MEANS_ARE_ZERO, NO_VARIATION, NOT_FINITE, UNCORRECTABLE
from deepbase.measures.partial import GivenMoments, adjusted_difference, partial_correlation
from deepbase.measures.partial_spread import residual_spread
from deepbase.measures.permuted_moments import PermutedMoments
from deepbase.measures.significance import LEAST_GROUPS
from deepbase.measures.spread import Scale, Spread, jackknife
from deepbase.measures.tested import AbstractTested


@dataclass(frozen=True)
class AbstractPair(AbstractTested):
    """A measure of one unit and one column of labels that is a formula of their sums."""

    state_type: ClassVar[type[AbstractState]] = PairMoments

    @abc.abstractmethod
    def of_sums(self, sums: PairSums) -> Tensor:
        """The scores, float64[target, unit]; not finite where there is none."""

    def on_scale(self, sums: PairSums) -> Tensor:
        """What standard errors are of, float64[target, unit]: the scores, or angles on the scale of angles."""
        return self.of_sums(sums)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delta method."""
        if isinstance(state, PermutedMoments):
            state = state.moments
        if isinstance(state, GivenMoments):
            return residual_spread(state.given(targets), targets, found.unit_score, self.error_scale)
        assert isinstance(state, PairMoments)
        return pair_spread(state, targets, self.on_scale, found.unit_score, self.error_scale)


@final
@dataclass(frozen=True)
class Pearson(AbstractPair, AbstractGiven):
    """Pearson's correlation; the point-biserial correlation where the hypothesis is boolean.

    Given confounds, the partial correlation: that of the residuals of both after a linear regression on the confounds.
    """

    name: ClassVar[str] = "pearson"
    description: ClassVar[str] = "linear correlation of a unit with a hypothesis"
    formula: ClassVar[str] = "cov(x, y) / (sd(x) sd(y))"
    source: ClassVar[str] = "Pearson 1895; scipy.stats.pearsonr"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signed: ClassVar[bool] = True
    error_scale: ClassVar[Scale] = "fisher"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number")

    @property
    def reads(self) -> type[AbstractState]:
        """Sums with the confounds, if there are any."""
        return GivenMoments if self.given else super().reads

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [-1, 1]."""
        if self.given:
            return partial_correlation(state, targets, self.kinds)
        assert isinstance(state, PairMoments)
        score = self.of_sums(PairSums.of(state, first_columns(targets))).clamp(-1, 1)
        return target_values(score, state, targets, self.kinds)

    def of_sums(self, sums: PairSums) -> Tensor:
        """The covariance over both standard deviations."""
        mean_x, mean_y = sums.x / sums.n, sums.y / sums.n
        variances = (sums.xx / sums.n - mean_x.square()) * (sums.yy / sums.n - mean_y.square())
        return (sums.xy / sums.n - mean_x * mean_y) / variances.clamp_min(0).sqrt()


@final
@dataclass(frozen=True)
class MeanDifference(AbstractPair, AbstractGiven):
    """How much higher a unit is where the hypothesis holds, in the unit's own scale.

    Given confounds, the adjusted difference of an analysis of covariance: the coefficient of the hypothesis in the
    regression of the unit on it and the confounds.
    """

    name: ClassVar[str] = "mean_difference"
    description: ClassVar[str] = "mean of a unit where the hypothesis is true, less its mean where it is false"
    formula: ClassVar[str] = "mean(x | y) - mean(x | not y)"
    source: ClassVar[str] = "textbook"
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    @property
    def reads(self) -> type[AbstractState]:
        """Sums with the confounds, if there are any."""
        return GivenMoments if self.given else super().reads

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in the scale of the unit."""
        if self.given:
            return adjusted_difference(state, targets, self.kinds)
        assert isinstance(state, PairMoments)
        score = self.of_sums(PairSums.of(state, first_columns(targets)))
        return target_values(score, state, targets, self.kinds)

    def of_sums(self, sums: PairSums) -> Tensor:
        """The difference of the means."""
        return _difference(sums)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors in the scale of the unit, which precision is a share of."""
        spread = super().spread(state, targets, found)
        moments = state.moments if isinstance(state, PermutedMoments) else state
        if spread is None or not isinstance(moments, PairMoments):
            return spread
        deviation = moments.unit_moments()[1].sqrt()[moments.null_class[first_columns(targets)]]
        return replace(spread, per=deviation.cpu().numpy())


@final
@dataclass(frozen=True)
class CohensD(AbstractPair):
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
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in standard deviations; none where the classes do not vary at all."""
        assert isinstance(state, PairMoments)
        sums = PairSums.of(state, first_columns(targets))
        found = target_values(self.of_sums(sums), state, targets, self.kinds, undefined=NO_VARIATION)
        if self.unbiased:
            few = (found.note == NO_VARIATION) & (sums.n < 4).cpu().numpy()
            return replace(found, note=np.where(few, UNCORRECTABLE, found.note).astype(np.uint8))
        return found

    def of_sums(self, sums: PairSums) -> Tensor:
        """The difference of the means over the deviation within the classes; NaN where they do not vary."""
        n = sums.n
        difference = _difference(sums)
        total = sums.xx - sums.x.square() / n
        within = total - sums.y * (n - sums.y) / n * difference.square()
        exact = within <= 1e-6 * total  # what is left after the subtraction is rounding
        score = difference / (within / (n - 2)).sqrt()
        score = torch.where(exact | (n <= 2), torch.nan, score)
        return score * _small_sample_correction(n - 2) if self.unbiased else score


@final
@dataclass(frozen=True)
class ClassSelectivity(AbstractPair):
    """How much higher a unit is where the hypothesis holds, as a share of the magnitudes of both means."""

    name: ClassVar[str] = "class_selectivity"
    description: ClassVar[str] = "difference of the means in and out of the class, over the sum of their magnitudes"
    formula: ClassVar[str] = "(mean(x | y) - mean(x | not y)) / (|mean(x | y)| + |mean(x | not y)|)"
    source: ClassVar[str] = (
        "Morcos et al. 2018, On the importance of single directions for generalization, equation 1, "
        "with the one class in the place of the strongest, and magnitudes, since activations may be negative"
    )
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signed: ClassVar[bool] = True
    error_scale: ClassVar[Scale] = "angle"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [-1, 1]."""
        assert isinstance(state, PairMoments)
        score = self.of_sums(PairSums.of(state, first_columns(targets))).clamp(-1, 1)
        return target_values(score, state, targets, self.kinds, undefined=MEANS_ARE_ZERO)

    def of_sums(self, sums: PairSums) -> Tensor:
        """The difference of the means over the sum of their magnitudes."""
        inside, difference = sums.xy / sums.y + sums.shift, _difference(sums)
        return difference / (inside.abs() + (inside - difference).abs())

    def on_scale(self, sums: PairSums) -> Tensor:
        """The angle of the point (mean outside, mean inside)."""
        inside = sums.xy / sums.y + sums.shift
        return torch.atan2(inside, inside - _difference(sums))


@final
@dataclass(frozen=True)
class CorrelationRatio(AbstractTested):
    """How much of a unit's variation the values of a category explain.

    A test of it by groups of records would be one of as many differences as there are values, less one. With 16 groups
    there are 15 degrees of freedom for all of them, which says next to nothing of many values, and nothing of more than
    15. So there is a p-value by permutations only.
    """

    name: ClassVar[str] = "correlation_ratio"
    description: ClassVar[str] = "how much of a unit's variation lies between the values of a category (eta)"
    formula: ClassVar[str] = "sqrt(sum over values c of n_c (mean(x | c) - mean(x))^2 / sum of (x - mean(x))^2)"
    source: ClassVar[str] = "Fisher 1925, Statistical Methods for Research Workers, section 45"
    state_type: ClassVar[type[AbstractState]] = PairMoments
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    signed: ClassVar[bool] = False
    error_scale: ClassVar[Scale] = "logit"
    kinds: ClassVar[tuple[Kind, ...]] = ("category",)

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in [0, 1], the square root of the share of the sum of squares."""
        assert isinstance(state, PairMoments)
        still = state.constant_labels()
        constant = [
            bool((state.y[list(t.columns)] > 0).sum() < 2 if t.kind == "category" else still[t.columns[0]])
            for t in targets
        ]
        score = torch.stack([_ratio(state, t, state.n, state.x, state.xx, state.y, state.xy) for t in targets])
        return target_values(score, state, targets, self.kinds, constant=constant)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delete-a-group jackknife, with the bias of many values in them.

        The jackknife knows that bias only roughly: a score without it varies more than the error says. So the score
        keeps it, and the error is the root of the mean square error, of variance and squared bias together.
        """
        if isinstance(state, PermutedMoments):
            state = state.moments
        assert isinstance(state, PairMoments)
        without = []
        for g in range(GROUPS):
            n, x, xx, y, xy = (
                total - of[g]
                for total, of in (
                    (state.n, state.n_of),
                    (state.x, state.x_of),
                    (state.xx, state.xx_of),
                    (state.y, state.y_of),
                    (state.xy, state.xy_of),
                )
            )
            without.append(torch.stack([_ratio(state, t, n, x, xx, y, xy) for t in targets]))
        firsts = first_columns(targets)
        present = (state.n_of > 0)[:, state.null_class[firsts]].double().cpu().numpy()
        groups = present.sum(0)
        freedom = np.where(groups >= LEAST_GROUPS, groups - 1.0, 0.0)
        scores = torch.stack(without).cpu().numpy()
        spread = jackknife(found.unit_score, scores, freedom, self.error_scale, present)
        assert spread.bias is not None
        return replace(spread, error=np.hypot(spread.error, spread.bias), bias=None)


def _ratio(state: PairMoments, target: Target, n: Tensor, x: Tensor, xx: Tensor, y: Tensor, xy: Tensor) -> Tensor:
    """float64[unit], the correlation ratio from sums of the shapes of the state's totals."""
    columns = list(target.columns)
    of = state.null_class[columns[0]]
    inside, mean = y[columns, None], x[of] / n[of]
    means = torch.where(inside > 0, xy[columns] / inside, 0)
    between = (inside * (means - x[of] / inside.sum()).square()).sum(0)
    return (between / (n[of] * (xx[of] / n[of] - mean.square()).clamp_min(0))).clamp(0, 1).sqrt()


def _small_sample_correction(freedom: Tensor) -> Tensor:
    """Hedges' J of some degrees of freedom; NaN below 2, where the mean of d is not finite."""
    known = freedom.clamp_min(2)
    logarithm = torch.lgamma(known / 2) - torch.lgamma((known - 1) / 2) - (known / 2).log() / 2
    return torch.where(freedom < 2, torch.nan, logarithm.exp())


def _difference(sums: PairSums) -> Tensor:
    """float64[target, unit]; NaN where a class is empty. A boolean's pilot value is 0, so `y` counts the true."""
    return sums.xy / sums.y - (sums.x - sums.xy) / (sums.n - sums.y)


def pair_values(
    score: Tensor, state: PairMoments, targets: Sequence[Target], takes: Sequence[Kind], undefined: int = NOT_FINITE
) -> Values:
    """Scores of all columns with the conventions of all measures applied: a pair without a value is NaN and has a note.

    Args:
        score: float64[column, unit].
        state: what it is made of.
        targets: what is asked for.
        takes: the kinds that the measure takes.
        undefined: the note of what is not finite.
    """
    return target_values(score[first_columns(targets)], state, targets, takes, undefined)


def target_values(
    score: Tensor,
    state: PairMoments,
    targets: Sequence[Target],
    takes: Sequence[Kind],
    undefined: int = NOT_FINITE,
    constant: Sequence[bool] | None = None,
) -> Values:
    """Scores with the conventions of all measures applied: a pair without a value is NaN and has a note.

    Args:
        score: float64[target, unit].
        state: what it is made of.
        targets: what is asked for.
        takes: the kinds that the measure takes.
        undefined: the note of what is not finite.
        constant: whether each target is constant, where that is not for its column to say.
    """
    firsts = first_columns(targets)
    of = state.null_class[firsts]
    evidence = Evidence(
        n=state.n[of],
        positives=state.label_sums()[firsts],
        constant_target=state.constant_labels()[firsts] if constant is None else torch.tensor(constant).to(of.device),
        constant_unit=state.constant_units()[of],
        finite=state.finite & state.xx.isfinite()[of],
    )
    found = values(score, targets, takes, evidence, undefined)
    if constant is not None:
        return found
    return replace(found, p_value=np.where(found.note == 0, state.p_values[firsts], np.nan))
