"""Facts of a unit that need no hypothesis: how often it is active, its mean, its spread, its extremes.

All of them read one state of a few sums over symbols, about a pilot value and by group of records as in `moments`. They
answer what a person asks before any hypothesis: which units are dead, which are sparse, which are outliers.

Standard errors are those of the delta method, from the influence of a symbol on each (Hampel 1974, "The influence curve
and its role in robust estimation"): for deviations d from the mean, of moments m2, m3, m4,

    mean: d        standard deviation: (d^2 - m2) / (2 sqrt(m2))
    kurtosis: (d^4 - 4 m3 d - m4) / m2^2 - 2 m4 (d^2 - m2) / m2^3

summed over a group of records, over n. An extreme has none: the records that were read do not tell how far others go.

Memory: `652 * units` bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats, Ints, Kind
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.batch import GROUPS, BatchLabels
from deepbase.measures.fold import fold_units, loops
from deepbase.measures.moments import constant_units, pilot
from deepbase.measures.notes import CONSTANT_UNIT, NOT_FINITE, TOO_FEW_SYMBOLS
from deepbase.measures.significance import LEAST_GROUPS
from deepbase.measures.spread import Scale, Spread, slope, unknown

EXTREME = "no interval: an extreme of the records that were read does not tell of others"


@final
@dataclass(frozen=True)
class UnitSums(AbstractState):
    """Sums over symbols, about the pilot values, by group of records.

    Attributes:
        shift: float32[unit], the pilot values.
        n_of: float64[group], symbols.
        active_of: float64[group, unit], symbols at which the unit is above 0.
        powers_of: float64[group, 4, unit], sums of the first four powers of `x - shift`.
        least, greatest: float32[unit], over all groups.
    """

    divisible: ClassVar[bool] = True
    cost: ClassVar[str] = "a few sums"

    shift: Tensor
    n_of: Tensor
    active_of: Tensor
    powers_of: Tensor
    least: Tensor
    greatest: Tensor

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int = 0) -> Self:
        """The state of the first batch."""
        return cls._zero(pilot(units)).update(units, labels)

    @classmethod
    def _zero(cls, shift: Tensor) -> Self:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(GROUPS, *shape, dtype=torch.float64, device=shift.device)

        infinite = torch.full_like(shift, torch.inf)
        return cls(shift, zeros(), zeros(len(shift)), zeros(4, len(shift)), infinite, -infinite)

    def empty_like(self, labels: BatchLabels) -> Self:
        """Nothing seen, the same pilots."""
        return self._zero(self.shift)

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Fold one batch in, in place."""
        self.n_of.add_(torch.bincount(labels.group, minlength=GROUPS))
        made = loops() if units.device.type == "cpu" else None
        if made:
            fold_units(made, self, units, labels.sorted)
            return replace(self)  # without the totals that may have been looked at
        x = units.double() - self.shift
        square = x * x
        self.active_of.index_add_(0, labels.group, (units > 0).double())
        for i, power in enumerate((x, square, square * x, square * square)):
            self.powers_of[:, i].index_add_(0, labels.group, power)
        return replace(
            self,
            least=torch.minimum(self.least, units.amin(0)) if len(units) else self.least,
            greatest=torch.maximum(self.greatest, units.amax(0)) if len(units) else self.greatest,
        )

    def merge(self, other: Self) -> Self:
        """The sums of both."""
        if other.n > self.n:
            return other.merge(self)
        return replace(
            self,
            n_of=self.n_of + other.n_of,
            active_of=self.active_of + other.active_of,
            powers_of=self.powers_of + other.about(self.shift.double()),
            least=torch.minimum(self.least, other.least),
            greatest=torch.maximum(self.greatest, other.greatest),
        )

    @cached_property
    def n(self) -> Tensor:
        """float64[1], all symbols."""
        return self.n_of.sum(0, keepdim=True)

    @cached_property
    def active(self) -> Tensor:
        """float64[unit], symbols at which the unit is above 0."""
        return self.active_of.sum(0)

    @cached_property
    def powers(self) -> Tensor:
        """float64[4, unit], sums of powers."""
        return self.powers_of.sum(0)

    def about(self, shift: Tensor) -> Tensor:
        """float64[group, 4, unit]: the sums of powers about other values, float64[unit]."""
        a = self.shift.double() - shift
        n, (p1, p2, p3, p4) = self.n_of[:, None], self.powers_of.unbind(1)
        return torch.stack(
            [
                p1 + n * a,
                p2 + 2 * a * p1 + n * a**2,
                p3 + 3 * a * p2 + 3 * a**2 * p1 + n * a**3,
                p4 + 4 * a * p3 + 6 * a**2 * p2 + 4 * a**3 * p1 + n * a**4,
            ],
            dim=1,
        )

    def select(self, units: Ints | None, columns: Ints | None) -> Self:
        """The sums of some units."""
        u = slice(None) if units is None else torch.from_numpy(units).to(self.shift.device)
        of_units = ("shift", "active_of", "powers_of", "least", "greatest")
        return replace(self, n_of=self.n_of.clone(), **{n: getattr(self, n)[..., u].clone() for n in of_units})

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes of the sums."""
        return GROUPS * (8 + 40 * units) + 12 * units

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean about the pilot, and sums of the powers about the mean, float64[4, unit]."""
        mean = self.powers[0] / self.n
        return mean, self.about(self.shift.double() + mean).sum(0)

    def deviations(self) -> tuple[Tensor, ...]:
        """float64[group, unit] four times: the sums of the powers about the mean of all symbols, by group."""
        sums: tuple[Tensor, ...] = self.about(self.shift.double() + self.powers[0] / self.n).unbind(1)
        return sums

    def spread(self, shares: Tensor, evidence: Tensor, score: Floats, scale: Scale, *, scaled: bool = False) -> Spread:
        """The spread of scores, from what each group of records adds to them, as in `delta`.

        Args:
            shares: float64[group, unit], which add up to 0.
            evidence: float64[group, unit], what each group tells of a unit; where next to all is from one group, there
                is no error.
            score: float64[1, unit].
            scale: of the measure.
            scaled: whether the score is in the scale of the unit.
        """
        groups = (self.n_of > 0).sum()
        effective = evidence.sum(0).square() / evidence.square().sum(0)
        whole = (shares.square().sum(0) * groups / (groups - 1)).sqrt()
        error = torch.where(effective >= LEAST_GROUPS, whole, torch.nan)[None].cpu().numpy()
        of_symbols = float(self.n.square() / self.n_of.square().sum())
        freedom = of_symbols - 1 if of_symbols >= LEAST_GROUPS else 0.0
        _, sums = self.moments()
        per = (sums[1] / self.n).clamp_min(0).sqrt()[None].cpu().numpy() if scaled else None
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.where(np.isfinite(score), error / slope(score, scale), np.nan)
        return Spread(error, np.array([freedom]), per=per)

    def values(self, score: Tensor, *, constant: bool = False) -> Values:
        """Scores as the one row of a target, with the conventions applied.

        Args:
            score: float64[unit].
            constant: whether a constant unit has no score.
        """
        mean, sums = self.moments()
        note = torch.where(score.isfinite(), 0, NOT_FINITE)
        if constant:
            still = constant_units(mean, sums[1].clamp_min(0) / self.n, self.shift)
            note = torch.where(still, CONSTANT_UNIT, note)
        note = torch.where(self.powers[1].isfinite(), note, NOT_FINITE)
        note = torch.where(self.n < 2, TOO_FEW_SYMBOLS, note)
        score = torch.where(note == 0, score, torch.nan)
        return Values(score[None].cpu().numpy(), note[None].cpu().numpy().astype(np.uint8))


@dataclass(frozen=True)
class AbstractFact(AbstractMeasure):
    """A fact of a unit: its `hypothesis` is NULL in `scores`."""

    state_type: ClassVar[type[AbstractState]] = UnitSums
    kinds: ClassVar[tuple[Kind, ...]] = ()


@final
@dataclass(frozen=True)
class Density(AbstractFact):
    """How often a unit is active."""

    name: ClassVar[str] = "density"
    description: ClassVar[str] = "share of the symbols at which a unit is above 0"
    error_scale: ClassVar[Scale] = "logit"
    formula: ClassVar[str] = "count(x > 0) / n"
    source: ClassVar[str] = "Bricken et al. 2023, Towards Monosemanticity (activation density)"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    signed: ClassVar[bool] = False

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Shares."""
        assert isinstance(state, UnitSums)
        return state.values(state.active / state.n)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delta method."""
        assert isinstance(state, UnitSums)
        share, n = state.active / state.n, state.n_of[:, None]
        evidence = state.active_of * (1 - 2 * share) + n * share.square()
        return state.spread((state.active_of - n * share) / state.n, evidence, found.unit_score, self.error_scale)


@final
@dataclass(frozen=True)
class Mean(AbstractFact):
    """The mean of a unit."""

    name: ClassVar[str] = "mean"
    description: ClassVar[str] = "mean of a unit"
    formula: ClassVar[str] = "sum(x) / n"
    source: ClassVar[str] = "textbook"
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Means in the scale of the unit."""
        assert isinstance(state, UnitSums)
        return state.values(state.moments()[0] + state.shift)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delta method."""
        assert isinstance(state, UnitSums)
        first, second, _, _ = state.deviations()
        return state.spread(first / state.n, second, found.unit_score, self.error_scale, scaled=True)


@final
@dataclass(frozen=True)
class StandardDeviation(AbstractFact):
    """The standard deviation of a unit over all symbols that were read."""

    name: ClassVar[str] = "standard_deviation"
    description: ClassVar[str] = "standard deviation of a unit"
    formula: ClassVar[str] = "sqrt(sum((x - mean(x))^2) / n)"
    source: ClassVar[str] = "textbook"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    signed: ClassVar[bool] = False

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Deviations in the scale of the unit."""
        assert isinstance(state, UnitSums)
        return state.values((state.moments()[1][1] / state.n).clamp_min(0).sqrt())

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delta method."""
        assert isinstance(state, UnitSums)
        _, second, _, fourth = state.deviations()
        m2 = second.sum(0) / state.n
        shares = (second - state.n_of[:, None] * m2) / (2 * m2.sqrt() * state.n)
        return state.spread(shares, fourth, found.unit_score, self.error_scale, scaled=True)


@final
@dataclass(frozen=True)
class Kurtosis(AbstractFact):
    """How heavy the tails of a unit are; 0 for a normal distribution."""

    name: ClassVar[str] = "kurtosis"
    description: ClassVar[str] = "excess kurtosis of a unit: how heavy its tails are, 0 for a normal distribution"
    formula: ClassVar[str] = "mean((x - mean(x))^4) / sd(x)^4 - 3"
    source: ClassVar[str] = "Fisher 1925; scipy.stats.kurtosis"
    range: ClassVar[tuple[float, float]] = (-2.0, math.inf)
    signed: ClassVar[bool] = True

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Excess kurtosis."""
        assert isinstance(state, UnitSums)
        _, (_, second, _, fourth) = state.moments()
        return state.values(state.n * fourth / second.square() - 3, constant=True)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delta method."""
        assert isinstance(state, UnitSums)
        sums, n = state.deviations(), state.n_of[:, None]
        first, second, _, fourth = sums
        _, m2, m3, m4 = (s.sum(0) / state.n for s in sums)
        influence = (fourth - 4 * m3 * first - n * m4) / m2**2 - 2 * m4 * (second - n * m2) / m2**3
        return state.spread(influence / state.n, fourth, found.unit_score, self.error_scale)


@dataclass(frozen=True)
class AbstractExtreme(AbstractFact):
    """An extreme value of a unit."""

    @property
    def has_interval(self) -> bool:
        """No: how far the records go that were not read, those that were read do not tell."""
        return False

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """None but the reason."""
        return unknown(found.unit_score, EXTREME)


@final
@dataclass(frozen=True)
class Minimum(AbstractExtreme):
    """The least value of a unit."""

    name: ClassVar[str] = "minimum"
    description: ClassVar[str] = "least value of a unit"
    formula: ClassVar[str] = "min(x)"
    source: ClassVar[str] = "textbook"
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Values of the unit."""
        assert isinstance(state, UnitSums)
        return state.values(state.least.double())


@final
@dataclass(frozen=True)
class Maximum(AbstractExtreme):
    """The greatest value of a unit."""

    name: ClassVar[str] = "maximum"
    description: ClassVar[str] = "greatest value of a unit"
    formula: ClassVar[str] = "max(x)"
    source: ClassVar[str] = "textbook"
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Values of the unit."""
        assert isinstance(state, UnitSums)
        return state.values(state.greatest.double())
