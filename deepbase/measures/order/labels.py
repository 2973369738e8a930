"""The labels of all rows that a state keeps, put together for a walk over them.

Batches name their null classes and their pilot values as they like. Here columns with a value at the same symbols are
in one class, and numbers are compared with each other: two that differ by no more than what was rounded off about two
pilot values are tied.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepbase.blocks import Floats, Ints
from deepbase.measures.batch import KeptLabels

Bytes = npt.NDArray[np.uint8]
Ints32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Ranks:
    """The order of a number at the symbols where it has a value.

    Attributes:
        row: int64[symbol], the rows of these symbols, by their numbers.
        low: int64[symbol], how many have a lesser one.
        high: int64[symbol], how many have a lesser one or the same.
    """

    row: Ints
    low: Ints
    high: Ints

    @property
    def middle(self) -> Floats:
        """float64[symbol]: the mid-ranks, from 1 up."""
        return (self.low + self.high + 1) / 2

    @property
    def tied_pairs(self) -> float:
        """How many pairs have the same number."""
        return float((self.high - self.low - 1).sum()) / 2


@dataclass(frozen=True, eq=False)
class Assembled:
    """The labels of some rows.

    Attributes:
        kept: of all of them; null classes are numbered as they come, and no two have a value at the same symbols.
    """

    kept: KeptLabels

    @cached_property
    def truth(self) -> Bytes:
        """uint8[symbol, column]; 0 for numbers."""
        whole = np.zeros((len(self.kept.truth), len(self.kept.boolean)), dtype=np.uint8)
        whole[:, self.boolean] = self.kept.truth.cpu().numpy()
        return whole

    @cached_property
    def boolean(self) -> npt.NDArray[np.bool_]:
        """bool[column], which columns are booleans."""
        return self.kept.boolean.cpu().numpy()

    @cached_property
    def null_class(self) -> Ints:
        """int64[column]."""
        return self.kept.null_class.cpu().numpy()

    @cached_property
    def valid(self) -> Bytes:
        """uint8[class, symbol]."""
        return np.ascontiguousarray(self.kept.valid.cpu().numpy().T)

    @cached_property
    def ranks(self) -> dict[int, Ranks]:
        """The order of each number, by its column."""
        columns = np.flatnonzero(~self.boolean).tolist()
        values, shifts = self.kept.numbers.cpu().numpy(), self.kept.shifts.cpu().numpy()
        return {
            c: ranks(values[:, k], np.flatnonzero(self.valid[self.null_class[c]]), shifts[:, k])
            for k, c in enumerate(columns)
        }


def ranks(values: Floats, rows: Ints, shifts: Floats) -> Ranks:
    """The order of the numbers, float64[symbol], at some rows.

    Args:
        values: each is off by half a step of a float32 about its pilot value.
        rows: which of them count.
        shifts: the least and the greatest of these pilot values. If they are the same, equal numbers are still equal.
    """
    rows = rows[np.argsort(values[rows], kind="stable")]
    y = values[rows]
    if shifts[0] == shifts[1]:
        first = np.diff(y, prepend=-np.inf) > 0
    else:
        step = 2.0**-24 * np.abs(y - shifts[:, None]).max(0) + 2.0**-53 * np.abs(y)
        first = np.diff(y, prepend=-np.inf) > step + np.roll(step, 1)
    start = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    end = np.append(start[1:], len(y))
    return Ranks(rows, start[group] if len(y) else rows, end[group] if len(y) else rows)


_KNOWN: weakref.WeakKeyDictionary[KeptLabels, tuple[list[weakref.ref[KeptLabels]], Assembled]] = (
    weakref.WeakKeyDictionary()
)


def assembled(several: Sequence[KeptLabels]) -> Assembled:
    """The labels of several batches; put together once for all layers, and forgotten with the first of the batches."""
    refs, known = _KNOWN.get(several[0], ([], None))
    if known is not None and len(refs) == len(several) and all(r() is x for r, x in zip(refs, several, strict=True)):
        return known
    made = Assembled(_joined(several))
    _KNOWN[several[0]] = ([weakref.ref(x) for x in several], made)
    return made


def _joined(several: Sequence[KeptLabels]) -> KeptLabels:
    numbers = torch.cat([x.numbers for x in several])
    classes, null_class = _refined([x.null_class for x in several])
    parts = [x.valid[:, x.null_class[classes]] for x in several]
    valid, null_class = _merged_classes(torch.cat(parts), null_class)
    shifts = torch.stack([x.shifts for x in several if len(x.truth)] or [several[0].shifts])
    return KeptLabels(
        truth=torch.cat([x.truth for x in several]),
        numbers=numbers,
        valid=valid,
        null_class=null_class,
        shifts=torch.stack([shifts[:, 0].amin(0), shifts[:, 1].amax(0)]),
        boolean=several[0].boolean.clone(),
        record=torch.cat([x.record for x in several]),
        group=torch.cat([x.group for x in several]),
    )


def _refined(classes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """A column of each class of the common refinement, and int64[column], the class of each column."""
    different = torch.stack(list({tuple(c.tolist()): c for c in classes}.values()))
    found, inverse = torch.unique(different, dim=1, return_inverse=True)
    return _first_of(inverse, found.shape[1]), inverse


def _merged_classes(valid: Tensor, null_class: Tensor) -> tuple[Tensor, Tensor]:
    """Classes with a value at the same symbols become one; they are numbered as the columns come."""
    names: dict[Any, int] = {}
    columns = valid.cpu().numpy()
    number = torch.tensor(
        [names.setdefault(np.packbits(columns[:, c]).tobytes(), len(names)) for c in null_class.tolist()],
        dtype=torch.int64,
        device=null_class.device,
    )
    firsts = _first_of(number, len(names))
    return valid[:, null_class[firsts]].contiguous(), number


def _first_of(number: Tensor, count: int) -> Tensor:
    """int64[count]: the first place of each number."""
    places = torch.arange(len(number), device=number.device)
    return torch.full((count,), len(number), device=number.device).scatter_reduce(0, number, places, "amin")


@dataclass(frozen=True)
class Sparse:
    """The true columns of each symbol.

    Attributes:
        start: uint32[symbol + 1], where those of each symbol begin.
        label: uint32[true], the columns.
    """

    start: npt.NDArray[np.uint32]
    label: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, truth: Bytes) -> Sparse:
        """Of uint8[symbol, column]."""
        rows, label = np.nonzero(truth)
        start = np.zeros(len(truth) + 1, dtype=np.uint32)
        np.cumsum(np.bincount(rows, minlength=len(truth)), out=start[1:])
        return cls(start, label.astype(np.uint32))

    def in_fours(self, filler: int) -> Sparse:
        """The same, where each symbol has a multiple of four columns, filled up with another number; in fours."""
        count = np.diff(self.start)
        start = np.zeros_like(self.start)
        np.cumsum((count + 3) // 4, out=start[1:])
        label = np.full(4 * int(start[-1]), filler, dtype=np.uint32)
        label[np.arange(len(self.label)) + np.repeat(4 * start[:-1] - self.start[:-1], count)] = self.label
        return Sparse(start, label)
