"""Pair moments: all that Pearson's r and differences of means need, for all units and hypotheses of a layer at once.

For units x and hypotheses y over the symbols where y has a value: the count, the sums of x, x squared, y, y squared
and x times y. Labels are sparse, so the cross sums add up, for each hypothesis, the few rows at which it is not 0;
nothing is done pair by pair.

Three things make it exact, small and honest:

*Pilot shifts.* Plain float32 sums lose digits where a unit's mean is far from zero against its spread (a saturated LSTM
cell: r off by 4e-3). All sums are taken about a pilot value, the unit's median over some symbols of the first batch.
The median, since a few outliers (the activations of a first token, 1,000 times those of others) must not spoil the
hypotheses that are NULL on them. Moving a state to another pilot is algebra, so states with different pilots merge
(Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance", about shifted data).

*Null classes.* Every hypothesis may be NULL on symbols of its own, and then the sums of x run over other symbols for
each. But annotations of one kind are NULL together. Hypotheses whose NULLs have fallen on the same symbols so far share
one row of unit sums (a null class); where they first differ, the class is split. Most runs have one class.

*Groups of records.* Symbols of one record are not independent, so that they do not tell how far a score may be off. All
sums are kept apart for `GROUPS` random groups of whole records; their sum is the total, and how they differ is what
tests and intervals rest on (random groups: Wolter 2007, Introduction to Variance Estimation, chapter 2).

Conventions: a unit with a NaN or an infinite value is marked, and its scores are NULL, while its neighbours are
untouched. A unit is constant if its standard deviation is below one rounding step of a float32 at its mean
(`2**-23 * abs(mean)`), below 1e-18, where the square of a float32 is no longer a number, or below 1 in 256 of the
distance of its mean from the pilot, where the rounding of the squares is larger.

Precision: inside a batch and for each group the cross sums are float32, all others are float64.

Memory: `units * GROUPS * (4 * hypotheses + 16 * null classes)` bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self, final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from deepbase.blocks import Floats, Ints
from deepbase.measures.base import AbstractState
from deepbase.measures.batch import GROUPS, BatchLabels
from deepbase.measures.fold import fold_pairs, loops
from deepbase.measures.significance import clustered_p_values

PILOT_SYMBOLS = 64
GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, fill the unit interval evenly."""
OFFSET_STEP = 2.0**-8
"""The least standard deviation that float32 squares show, per distance of the mean from the pilot."""


@final
@dataclass(frozen=True)
class PairMoments(AbstractState):
    """Sums over symbols, about the pilot values, by group of records.

    Attributes:
        unit_shift: float32[unit], the pilot values of the units.
        label_shift: float64[hypothesis], the pilot values of the hypotheses.
        null_class: int64[hypothesis].
        finite: bool[unit], whether the unit was finite everywhere.
        n_of: float64[group, null class], symbols.
        x_of, xx_of: float64[group, null class, unit], sums of the units and their squares.
        y_of, yy_of: float64[group, hypothesis], sums of the hypotheses and their squares.
        xy_of: float32[group, hypothesis, unit], sums of the products.
    """

    divisible: ClassVar[bool] = True
    cost: ClassVar[str] = "sums of the rows at which labels are not 0"

    unit_shift: Tensor
    label_shift: Tensor
    null_class: Tensor
    finite: Tensor
    n_of: Tensor
    x_of: Tensor
    xx_of: Tensor
    y_of: Tensor
    yy_of: Tensor
    xy_of: Tensor

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int = 0) -> Self:
        """The state of the first batch; the median of some of its symbols becomes the pilot."""
        return cls._zero(pilot(units), labels.shift, labels.null_class).update(units, labels)

    @classmethod
    def _zero(cls, unit_shift: Tensor, label_shift: Tensor, null_class: Tensor) -> Self:
        hypotheses, units, device = len(label_shift), len(unit_shift), unit_shift.device
        classes = int(null_class.max()) + 1 if hypotheses else 1

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(GROUPS, *shape, dtype=torch.float64, device=device)

        return cls(
            unit_shift=unit_shift,
            label_shift=label_shift,
            null_class=null_class,
            finite=torch.ones(units, dtype=torch.bool, device=device),
            n_of=zeros(classes),
            x_of=zeros(classes, units),
            xx_of=zeros(classes, units),
            y_of=zeros(hypotheses),
            yy_of=zeros(hypotheses),
            xy_of=torch.zeros(GROUPS, hypotheses, units, device=device),
        )

    def empty_like(self, labels: BatchLabels) -> Self:
        """Nothing seen, the same pilots of the units, and the pilots and null classes of these labels."""
        return self._zero(self.unit_shift, labels.shift, labels.null_class)

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Fold one batch in, in place."""
        if not (torch.equal(self.null_class, labels.null_class) and torch.equal(self.label_shift, labels.shift)):
            return self.merge(self.empty_like(labels).update(units, labels))
        n, y, yy = labels.sums
        self.n_of.add_(n)
        self.y_of.add_(y)
        self.yy_of.add_(yy)
        made = loops() if units.device.type == "cpu" else None
        if made:
            fold_pairs(made, self, units, labels.sorted)
            return replace(self)  # without the totals that may have been looked at
        for portion in labels.portions:
            x = units[portion.rows] - self.unit_shift
            squares = x * x
            self.finite.logical_and_(squares.sum(0).isfinite())
            for of, values, bags in (
                (self.x_of, x, portion.present),
                (self.xx_of, squares, portion.present),
                (self.xy_of, x, portion.true),
            ):
                if len(bags.rows):
                    sums = embedding_bag(bags.rows, values, bags.offsets, mode="sum", per_sample_weights=bags.weights)
                    of.view(-1, of.shape[2]).index_add_(0, bags.places, sums.to(of.dtype))
        return replace(self)

    def merge(self, other: Self) -> Self:
        """The sums of both, about the pilots of the one with more symbols, on the refinement of their null classes."""
        if other.n.max() > self.n.max():
            return other.merge(self)
        label_shift = torch.where(
            other.symbols() > self.symbols(), other.label_shift[:, None], self.label_shift[:, None]
        )
        return self._about(self.unit_shift, label_shift[:, 0])._plus(other._about(self.unit_shift, label_shift[:, 0]))

    def merge_last(self, other: Self) -> Self:
        """As `merge`; where nothing but sums has to be added up, they are added to those of `other`, in place."""
        if not all(
            torch.equal(getattr(self, n), getattr(other, n)) for n in ("unit_shift", "label_shift", "null_class")
        ):
            return self.merge(other)
        other.finite.logical_and_(self.finite)
        for name in ("n_of", "x_of", "xx_of", "y_of", "yy_of", "xy_of"):
            getattr(other, name).add_(getattr(self, name))
        return replace(other)

    def _plus(self, other: Self) -> Self:
        """The sums of both, whose pilots are the same."""
        pairs = torch.stack([self.null_class, other.null_class], dim=1)
        classes, null_class = torch.unique(pairs, dim=0, return_inverse=True)
        mine, theirs = classes[:, 0], classes[:, 1]
        return replace(
            self,
            null_class=null_class,
            finite=self.finite & other.finite,
            n_of=self.n_of[:, mine] + other.n_of[:, theirs],
            x_of=self.x_of[:, mine] + other.x_of[:, theirs],
            xx_of=self.xx_of[:, mine] + other.xx_of[:, theirs],
            y_of=self.y_of + other.y_of,
            yy_of=self.yy_of + other.yy_of,
            xy_of=self.xy_of + other.xy_of,
        )

    def _about(self, unit_shift: Tensor, label_shift: Tensor) -> Self:
        """The same sums about other pilot values."""
        if torch.equal(unit_shift, self.unit_shift) and torch.equal(label_shift, self.label_shift):
            return self
        a = self.unit_shift.double() - unit_shift.double()
        b = self.label_shift - label_shift
        n, x = self.n_of[..., None], self.x_of
        n_y, x_y = self.n_of[:, self.null_class], self.x_of[:, self.null_class]
        xy = self.xy_of + self.y_of[..., None] * a + b[:, None] * x_y + (n_y * b)[..., None] * a
        return replace(
            self,
            unit_shift=unit_shift,
            label_shift=label_shift,
            x_of=x + n * a,
            xx_of=self.xx_of + 2 * a * x + n * a * a,
            y_of=self.y_of + n_y * b,
            yy_of=self.yy_of + 2 * b * self.y_of + n_y * b * b,
            xy_of=xy.float(),
        )

    def select(self, units: Ints | None, columns: Ints | None) -> Self:
        """The sums of some units and hypotheses; null classes stay, with a hypothesis or without."""
        u = slice(None) if units is None else torch.from_numpy(units).to(self.unit_shift.device)
        h = slice(None) if columns is None else torch.from_numpy(columns).to(self.unit_shift.device)
        return replace(
            self,
            unit_shift=self.unit_shift[u].clone(),
            label_shift=self.label_shift[h].clone(),
            null_class=self.null_class[h].clone(),
            finite=self.finite[u].clone(),
            n_of=self.n_of.clone(),
            x_of=self.x_of[..., u].clone(),
            xx_of=self.xx_of[..., u].clone(),
            y_of=self.y_of[:, h].clone(),
            yy_of=self.yy_of[:, h].clone(),
            xy_of=self.xy_of[:, h][..., u].clone(),
        )

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes: the sums of all groups, and the pilot values."""
        return GROUPS * (8 * (1 + 2 * units + 2 * columns) + 4 * units * columns) + 5 * units + 16 * columns

    @cached_property
    def n(self) -> Tensor:
        """float64[null class], all symbols."""
        return self.n_of.sum(0)

    @cached_property
    def x(self) -> Tensor:
        """float64[null class, unit], the sums of the units."""
        return self.x_of.sum(0)

    @cached_property
    def xx(self) -> Tensor:
        """float64[null class, unit], the sums of their squares."""
        return self.xx_of.sum(0)

    @cached_property
    def y(self) -> Tensor:
        """float64[hypothesis], the sums of the hypotheses."""
        return self.y_of.sum(0)

    @cached_property
    def yy(self) -> Tensor:
        """float64[hypothesis], the sums of their squares."""
        return self.yy_of.sum(0)

    @cached_property
    def xy(self) -> Tensor:
        """float64[hypothesis, unit], the sums of the products."""
        total = self.xy_of[0].double()
        for of_group in self.xy_of[1:]:
            total += of_group
        return total

    @cached_property
    def p_values(self) -> Floats:
        """float64[hypothesis, unit], of no association, clustered by record; NaN where the records do not tell."""
        return clustered_p_values(self)

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
