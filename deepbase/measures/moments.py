"""Pair moments: all that Pearson's r and differences of means need, for all units and hypotheses of a layer at once.

For units x and hypotheses y over the symbols where y has a value: the count, the sums of x, x squared, y, y squared
and x times y. The cross sums are one matrix product a batch, and for booleans that are rarely true, the sums of the few
rows at which they are; nothing is done pair by pair.

Two things make it exact and small:

*Pilot shifts.* Plain float32 sums lose digits where a unit's mean is far from zero against its spread (a saturated LSTM
cell: r off by 4e-3). All sums are taken about a pilot value, the unit's median over some symbols of the first batch,
inside a batch in float32 and across batches in float64. The median, since a few outliers (the activations of a first
token, 1,000 times those of others) must not spoil the hypotheses that are NULL on them. Moving a state to another pilot
is algebra, so states with different pilots merge (Chan, Golub, LeVeque 1983, "Algorithms for computing the sample
variance", about shifted data).

*Null classes.* Every hypothesis may be NULL on symbols of its own, and then the sums of x run over other symbols for
each. But annotations of one kind are NULL together. Hypotheses whose NULLs have fallen on the same symbols so far share
one row of unit sums (a null class); where they first differ, the class is split. Most runs have one class.

Conventions: a unit with a NaN or an infinite value keeps NaN sums, and its scores are NULL, while its neighbours are
untouched. A unit is constant if its standard deviation is below one rounding step of a float32 at its mean
(`2**-23 * abs(mean)`), below 1e-18, where the square of a float32 is no longer a number, or below 1 in 256 of the
distance of its mean from the pilot, where the rounding of the squares is larger.

Memory: `8 * units * (hypotheses + 2 * null classes)` bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from deepbase.measures.base import AbstractState, BatchLabels, Portion

PILOT_SYMBOLS = 64
GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, fill the unit interval evenly."""
OFFSET_STEP = 2.0**-8
"""The least standard deviation that float32 squares show, per distance of the mean from the pilot."""


@final
@dataclass(frozen=True)
class PairMoments(AbstractState):
    """Sums over symbols, about the pilot values.

    Attributes:
        unit_shift: float32[unit], the pilot values of the units.
        label_shift: float64[hypothesis], the pilot values of the hypotheses.
        null_class: int64[hypothesis].
        n: float64[null class], symbols.
        x, xx: float64[null class, unit], sums of the units and their squares.
        y, yy: float64[hypothesis], sums of the hypotheses and their squares.
        xy: float64[hypothesis, unit], sums of the products.
    """

    cost: ClassVar[str] = "one matrix product a batch"

    unit_shift: Tensor
    label_shift: Tensor
    null_class: Tensor
    n: Tensor
    x: Tensor
    xx: Tensor
    y: Tensor
    yy: Tensor
    xy: Tensor

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int = 0) -> Self:
        """The state of the first batch; the median of some of its symbols becomes the pilot."""
        return cls._zero(pilot(units), labels.shift, labels.null_class).update(units, labels)

    @classmethod
    def _zero(cls, unit_shift: Tensor, label_shift: Tensor, null_class: Tensor) -> Self:
        hypotheses, units, device = len(label_shift), len(unit_shift), unit_shift.device
        classes = int(null_class.max()) + 1 if hypotheses else 1

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return cls(
            unit_shift=unit_shift,
            label_shift=label_shift,
            null_class=null_class,
            n=zeros(classes),
            x=zeros(classes, units),
            xx=zeros(classes, units),
            y=zeros(hypotheses),
            yy=zeros(hypotheses),
            xy=zeros(hypotheses, units),
        )

    def empty_like(self, labels: BatchLabels) -> Self:
        """Nothing seen, the same pilots of the units, and the pilots and null classes of these labels."""
        return self._zero(self.unit_shift, labels.shift, labels.null_class)

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Fold one batch in, in place."""
        if not (torch.equal(self.null_class, labels.null_class) and torch.equal(self.label_shift, labels.shift)):
            return self.merge(self.empty_like(labels).update(units, labels))
        n, y, yy = labels.sums
        self.n.add_(n)
        self.y.add_(y)
        self.yy.add_(yy)
        for portion in labels.portions:
            self._add(units[portion.rows] - self.unit_shift, labels, portion)
        return self

    def _add(self, x: Tensor, labels: BatchLabels, portion: Portion) -> None:
        """Add the units of some rows of a batch, already about the pilots."""
        if labels.valid is None:
            self.x.add_(x.sum(0))
            self.xx.add_((x * x).sum(0))
        else:
            valid = labels.valid[portion.rows]
            self.x.add_(valid.T @ x)
            self.xx.add_(valid.T @ (x * x))
        if portion.sparse is None:
            self.xy.add_(labels.values[portion.rows].T @ x)
            return
        self.xy[portion.sparse] += embedding_bag(portion.where, x, portion.offsets, mode="sum")
        if len(portion.dense):
            self.xy[portion.dense] += labels.values[portion.rows][:, portion.dense].T @ x

    def merge(self, other: Self) -> Self:
        """The sums of both, about the pilots of the one with more symbols, on the refinement of their null classes."""
        if other.n.max() > self.n.max():
            return other.merge(self)
        other = other._about(self.unit_shift, self.label_shift)
        pairs = torch.stack([self.null_class, other.null_class], dim=1)
        classes, null_class = torch.unique(pairs, dim=0, return_inverse=True)
        mine, theirs = classes[:, 0], classes[:, 1]
        return replace(
            self,
            null_class=null_class,
            n=self.n[mine] + other.n[theirs],
            x=self.x[mine] + other.x[theirs],
            xx=self.xx[mine] + other.xx[theirs],
            y=self.y + other.y,
            yy=self.yy + other.yy,
            xy=self.xy + other.xy,
        )

    def _about(self, unit_shift: Tensor, label_shift: Tensor) -> Self:
        """The same sums about other pilot values."""
        if torch.equal(unit_shift, self.unit_shift) and torch.equal(label_shift, self.label_shift):
            return self
        a = self.unit_shift.double() - unit_shift.double()
        b = self.label_shift - label_shift
        n, x = self.n[:, None], self.x
        n_y, x_y = self.n[self.null_class], self.x[self.null_class]
        return replace(
            self,
            unit_shift=unit_shift,
            label_shift=label_shift,
            x=x + n * a,
            xx=self.xx + 2 * a * x + n * a * a,
            y=self.y + n_y * b,
            yy=self.yy + 2 * b * self.y + n_y * b * b,
            xy=self.xy + self.y[:, None] * a + b[:, None] * x_y + (n_y * b)[:, None] * a,
        )

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes: the sums in float64, the pilot values of the units in float32."""
        return 8 * (1 + 2 * units + 4 * columns + units * columns) + 4 * units

    def symbols(self) -> Tensor:
        """float64[hypothesis, 1]: the symbols that each hypothesis was compared on."""
        return self.n[self.null_class][:, None]

    def unit_moments(self) -> tuple[Tensor, Tensor]:
        """Mean about the pilot and variance of the units, float64[null class, unit]; NaN for no symbols."""
        mean = self.x / self.n[:, None]
        return mean, (self.xx / self.n[:, None] - mean.square()).clamp_min(0)

    def label_moments(self) -> tuple[Tensor, Tensor]:
        """Mean about the pilot and variance of the hypotheses, float64[hypothesis]."""
        n = self.n[self.null_class]
        mean = self.y / n
        return mean, (self.yy / n - mean.square()).clamp_min(0)

    def constant_units(self) -> Tensor:
        """bool[null class, unit], by the convention above."""
        return constant_units(*self.unit_moments(), self.unit_shift)

    def label_sums(self) -> Tensor:
        """float64[hypothesis]: the sums of the values themselves; of a boolean, its positives."""
        return self.y + self.n[self.null_class] * self.label_shift

    def constant_labels(self) -> Tensor:
        """bool[hypothesis]: what varies no more than the rounding of float64, in its values and in their sums."""
        mean, variance = self.label_moments()
        step = torch.maximum(2.0**-20 * mean.abs(), 2.0**-50 * (mean + self.label_shift).abs())
        return variance.sqrt() <= step


def pilot(units: Tensor) -> Tensor:
    """float32[unit]: the median of each unit over some of the symbols, float32[symbol, unit]; 0 if it is not finite."""
    some = units[_spread_out(len(units), units.device)]
    shift = some.sort(0).values[len(some) // 2] if len(some) else units.new_zeros(units.shape[1])
    return torch.where(shift.isfinite(), shift, torch.zeros_like(shift))


def constant_units(mean: Tensor, variance: Tensor, shift: Tensor) -> Tensor:
    """Whether units are constant, by the convention above, from their moments about the pilot values `shift`."""
    step = 2.0**-23 * (mean + shift).abs()
    return variance.sqrt() <= torch.maximum(step, OFFSET_STEP * mean.abs()).clamp_min(1e-18)


def _spread_out(symbols: int, device: torch.device) -> Tensor:
    """int64[PILOT_SYMBOLS]: some of the symbols; not every n-th, which might be the first of every record."""
    if symbols <= PILOT_SYMBOLS:
        return torch.arange(symbols, device=device)
    return (torch.arange(PILOT_SYMBOLS, device=device) * GOLDEN % 1 * symbols).long()
