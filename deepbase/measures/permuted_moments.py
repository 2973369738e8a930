"""Pair moments of permuted labels: what permutation tests of correlations and differences of means need, in one pass.

The units of a batch are added up once for each permutation, with the labels that its symbols get when the records of
the block exchange theirs (`exchange`). Sums of all permutations of a batch are made together: sums over the few rows at
which a label is not 0, or a product of matrices where most are not. So one pass over the data is enough, and the state
is that of `PairMoments` with as many permuted ones beside it; every measure of `PairMoments` can be computed of each.

NULLs travel with the labels, so that the sums of the units differ between permutations as soon as a hypothesis has
NULLs. As long as none has, they are those of the data, and are not kept again.

Which records exchange labels depends on the blocks. For given blocks the state is the same whatever the batches are,
and merging two states of other blocks is exact, up to rounding.

Precision: sums of permuted products are float32, about the pilot values.

Memory: `4 * permutations * units * columns` bytes beside the pair moments; where a hypothesis has NULLs, for each null
class `8 * permutations * units` bytes more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import ClassVar, Self

import torch
from torch import Tensor

from deepbase.measures.base import AbstractState
from deepbase.measures.batch import BatchLabels
from deepbase.measures.moments import PairMoments

PREFIX = "moments."


@dataclass(frozen=True)
class PermutedMoments(AbstractState):
    """Pair moments, and the same of permuted labels; `permuted_moments` makes the type for a number of permutations.

    Attributes:
        permutations: how many there are.
        moments: of the labels as they are.
        records: float64[1], the records that had others to exchange labels with.
        n: float64[permutation, null class], symbols; without permutations as long as nothing is NULL.
        x, xx: float32[permutation, null class, unit], sums of the units about their pilot values and of their squares;
            likewise.
        y, yy: float64[permutation, column], sums of the labels about their pilot values and of their squares.
        xy: float32[permutation, column, unit], sums of the products.
    """

    quick: ClassVar[bool] = False
    exchanges: ClassVar[bool] = True
    cost: ClassVar[str] = "sums of the rows at which labels are not 0, for each permutation"
    permutations: ClassVar[int] = 0

    moments: PairMoments
    records: Tensor
    n: Tensor
    x: Tensor
    xx: Tensor
    y: Tensor
    yy: Tensor
    xy: Tensor

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int = 0) -> Self:
        """The state of the first batch."""
        return cls._zero(PairMoments.first(units, labels).empty_like(labels)).update(units, labels)

    @classmethod
    def _zero(cls, moments: PairMoments) -> Self:
        units, columns, device = len(moments.unit_shift), len(moments.label_shift), moments.unit_shift.device
        classes = moments.n_of.shape[1]
        sums = torch.zeros(2, cls.permutations, columns, dtype=torch.float64, device=device)
        return cls(
            moments=moments,
            records=torch.zeros(1, dtype=torch.float64, device=device),
            n=torch.zeros(0, classes, dtype=torch.float64, device=device),
            x=torch.zeros(0, classes, units, device=device),
            xx=torch.zeros(0, classes, units, device=device),
            y=sums[0],
            yy=sums[1],
            xy=torch.zeros(cls.permutations, columns, units, device=device),
        )

    def empty_like(self, labels: BatchLabels) -> Self:
        """Nothing seen, the same pilots of the units, and the pilots and null classes of these labels."""
        return self._zero(self.moments.empty_like(labels))

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Fold one batch in, in place."""
        own = self.moments
        if not (torch.equal(own.null_class, labels.null_class) and torch.equal(own.label_shift, labels.shift)):
            return self.merge(self.empty_like(labels).update(units, labels))
        exchanged = labels.exchanged
        with_nulls = bool(len(self.n)) or not exchanged.block.whole
        state = self._with_nulls() if with_nulls else self
        n, y, yy = exchanged.sums(self.permutations)
        if with_nulls:
            state.n.add_(n)
        state.y.add_(y)
        state.yy.add_(yy)
        state.records.add_(exchanged.records)
        for part in exchanged.parts(self.permutations, "values"):
            sums = part.products(units[part.symbols] - own.unit_shift)
            state.xy[part.permutations].view(-1, units.shape[1]).add_(sums)
        for part in exchanged.parts(self.permutations, "valid") if with_nulls else ():
            x = units[part.symbols] - own.unit_shift
            state.x[part.permutations].view(-1, units.shape[1]).add_(part.products(x))
            state.xx[part.permutations].view(-1, units.shape[1]).add_(part.products(x * x))
        return replace(state, moments=own.update(units, labels))

    def _with_nulls(self) -> Self:
        """The same state with sums of the units for each permutation."""
        if len(self.n):
            return self
        n, x, xx = (
            of.sum(0).to(like.dtype).expand(self.permutations, *like.shape[1:]).clone()
            for of, like in ((self.moments.n_of, self.n), (self.moments.x_of, self.x), (self.moments.xx_of, self.xx))
        )
        return replace(self, n=n, x=x, xx=xx)

    def merge(self, other: Self) -> Self:
        """The sums of both, about the pilots and on the null classes that their moments agree on."""
        moments = self.moments.merge(other.moments)
        with_nulls = bool(len(self.n) or len(other.n))
        a, b = (s._with_nulls() if with_nulls else s for s in (self, other))
        a, b = a._as(moments), b._as(moments)
        names = ("records", "n", "x", "xx", "y", "yy", "xy")
        return type(self)(moments, **{name: getattr(a, name) + getattr(b, name) for name in names})

    def _as(self, moments: PairMoments) -> Self:
        """The same sums about the pilots, and on the null classes, of other moments."""
        firsts = [int((moments.null_class == c).int().argmax()) for c in range(moments.n_of.shape[1])]
        of = self.moments.null_class[firsts]
        n, x, xx = self.n[:, of], self.x[:, of], self.xx[:, of]
        a = self.moments.unit_shift.double() - moments.unit_shift.double()
        b = self.moments.label_shift - moments.label_shift
        if not (a.any() or b.any()):
            return replace(self, n=n, x=x, xx=xx)
        n_y, x_y = self._of_columns()
        moved = n[..., None] * a
        return replace(
            self,
            n=n,
            x=(x + moved).float(),
            xx=(xx + 2 * a * x + moved * a).float(),
            y=self.y + n_y * b,
            yy=self.yy + 2 * b * self.y + n_y * b.square(),
            xy=(self.xy + self.y[..., None] * a + b[:, None] * x_y + (n_y * b)[..., None] * a).float(),
        )

    def _of_columns(self) -> tuple[Tensor, Tensor]:
        """[permutation or 1, column] and [permutation or 1, column, unit]: the sums of the class of each column."""
        of = self.moments.null_class
        if len(self.n):
            return self.n[:, of], self.x[:, of]
        return self.moments.n[None, of], self.moments.x[None, of]

    def permuted(self, number: int) -> PairMoments:
        """The pair moments of one permutation, without groups of records."""
        own, one = self.moments, slice(number, number + 1)
        return replace(
            own,
            n_of=self.n[one] if len(self.n) else own.n[None],
            x_of=self.x[one].double() if len(self.n) else own.x[None],
            xx_of=self.xx[one].double() if len(self.n) else own.xx[None],
            y_of=self.y[one],
            yy_of=self.yy[one],
            xy_of=self.xy[one],
        )

    def arrays(self) -> dict[str, Tensor]:
        """The fields by name, those of the moments with a prefix."""
        own = {f.name: getattr(self, f.name).cpu().clone() for f in fields(self) if f.name != "moments"}
        return own | {PREFIX + name: value for name, value in self.moments.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], device: torch.device) -> Self:
        """The state that `arrays` wrote."""
        moments = {name.removeprefix(PREFIX): v for name, v in arrays.items() if name.startswith(PREFIX)}
        own = {name: v.to(device) for name, v in arrays.items() if not name.startswith(PREFIX)}
        return cls(moments=PairMoments.from_arrays(moments, device), **own)

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes: the moments, and the sums of all permutations."""
        own = cls.permutations * columns * (4 * units + 16) + 8
        return PairMoments.memory(units, columns, symbols, limit) + own


@cache
def permuted_moments(permutations: int) -> type[PermutedMoments]:
    """The type of the states with so many permutations."""
    return type(f"PermutedMoments{permutations}", (PermutedMoments,), {"permutations": permutations})
