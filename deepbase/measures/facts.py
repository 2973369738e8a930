"""Facts of a unit that need no hypothesis: how often it is active, its mean, its spread, its extremes.

All of them read one state of a few sums over all symbols, about a pilot value as in `moments`. They answer what a
person asks before any hypothesis: which units are dead, which are sparse, which are outliers.

Memory: `52 * units` bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Kind
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.batch import BatchLabels
from deepbase.measures.fold import fold_units, loops
from deepbase.measures.moments import constant_units, pilot
from deepbase.measures.notes import CONSTANT_UNIT, NOT_FINITE, TOO_FEW_SYMBOLS


@final
@dataclass(frozen=True)
class UnitSums(AbstractState):
    """Sums over all symbols, about the pilot values.

    Attributes:
        shift: float32[unit], the pilot values.
        n: float64[1], symbols.
        active: float64[unit], symbols at which the unit is above 0.
        powers: float64[4, unit], sums of the first four powers of `x - shift`.
        least, greatest: float32[unit].
    """

    cost: ClassVar[str] = "a few sums"

    shift: Tensor
    n: Tensor
    active: Tensor
    powers: Tensor
    least: Tensor
    greatest: Tensor

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int = 0) -> Self:
        """The state of the first batch."""
        return cls._zero(pilot(units)).update(units, labels)

    @classmethod
    def _zero(cls, shift: Tensor) -> Self:
        zeros = torch.zeros(len(shift), dtype=torch.float64, device=shift.device)
        infinite = torch.full_like(shift, torch.inf)
        return cls(shift, zeros[:1].clone(), zeros, zeros.repeat(4, 1), infinite, -infinite)

    def empty_like(self, labels: BatchLabels) -> Self:
        """Nothing seen, the same pilots."""
        return self._zero(self.shift)

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Fold one batch in, in place where a compiled loop can."""
        made = loops() if units.device.type == "cpu" else None
        if made:
            fold_units(made, self, units)
            return replace(self, n=self.n + len(units))
        x = units.double() - self.shift
        square = x * x
        return replace(
            self,
            n=self.n + len(x),
            active=self.active + (units > 0).sum(0),
            powers=self.powers + torch.stack([p.sum(0) for p in (x, square, square * x, square * square)]),
            least=torch.minimum(self.least, units.amin(0)) if len(units) else self.least,
            greatest=torch.maximum(self.greatest, units.amax(0)) if len(units) else self.greatest,
        )

    def merge(self, other: Self) -> Self:
        """The sums of both."""
        if other.n > self.n:
            return other.merge(self)
        return replace(
            self,
            n=self.n + other.n,
            active=self.active + other.active,
            powers=self.powers + other.about(self.shift.double()),
            least=torch.minimum(self.least, other.least),
            greatest=torch.maximum(self.greatest, other.greatest),
        )

    def about(self, shift: Tensor) -> Tensor:
        """float64[4, unit]: the sums of powers about other values, float64[unit]."""
        a = self.shift.double() - shift
        n, (p1, p2, p3, p4) = self.n, self.powers
        return torch.stack(
            [
                p1 + n * a,
                p2 + 2 * a * p1 + n * a**2,
                p3 + 3 * a * p2 + 3 * a**2 * p1 + n * a**3,
                p4 + 4 * a * p3 + 6 * a**2 * p2 + 4 * a**3 * p1 + n * a**4,
            ]
        )

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes of the sums."""
        return 52 * units + 8

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean about the pilot, and sums of the powers about the mean, float64[4, unit]."""
        mean = self.powers[0] / self.n
        return mean, self.about(self.shift.double() + mean)

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
    formula: ClassVar[str] = "count(x > 0) / n"
    source: ClassVar[str] = "Bricken et al. 2023, Towards Monosemanticity (activation density)"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    signed: ClassVar[bool] = False

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Shares."""
        assert isinstance(state, UnitSums)
        return state.values(state.active / state.n)


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


@final
@dataclass(frozen=True)
class Minimum(AbstractFact):
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
class Maximum(AbstractFact):
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
