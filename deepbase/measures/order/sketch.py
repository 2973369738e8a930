"""Counts in bins, for when the rows of a unit no longer fit: a fixed size, exact counts, and errors that are known.

Every unit has bins of about equal shares of a sample, which is the rows kept so far. In each bin the symbols are
counted, for each column of labels the true ones, and for each null class those where it has a value; numbers become
columns that say in which of `NUMBER_BINS` bins of their own the number lies. All that is lost is the order within a
bin, and `bounds` says what that can amount to at most.

Counts above a border are exact, so two sketches with the same borders add up. With different ones, the borders that
both have stay, and counts are still exact; borders are round numbers, which other samples find as well (`codes`). In a
run all blocks share the borders of the first sketch, which `empty_like` hands on.

A quantile sketch of dyadic intervals is from Shrivastava, Buragohain, Agrawal, Suri 2004, "Medians and Beyond: New
Aggregation Techniques for Sensor Networks", SenSys; here its borders are chosen once, from a sample.

Memory: `4 * units * bins * (columns + null classes + 1)` bytes. Counts are exact below 2**31 symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from deepbase.measures.batch import KeptLabels
from deepbase.measures.conventions import constant
from deepbase.measures.order.codes import INFINITY, borders, codes, common
from deepbase.measures.order.compiled import kernels
from deepbase.measures.order.labels import Assembled, Sparse
from deepbase.measures.order.walk import UNITS, Rows, in_threads

NUMBER_BINS = 32
MOST_BINS = 4096
LEAST_BINS = 16
SAMPLE = 16384
"""Symbols whose order the borders are taken from."""
GOLDEN = 0.6180339887


@dataclass(frozen=True)
class Sketch:
    """The counts of one layer.

    Attributes:
        edges: int32[unit, bins - 1], codes; a symbol is in the bin whose number is that of the edges not above it.
        number_edges: float64[number, NUMBER_BINS - 1], likewise.
        number_range: float64[2, number, NUMBER_BINS], the least and the greatest number in each bin.
        counts: int32[unit, bin, slot]; slots are the columns of the labels (numbers have nothing there), the bins of
            each number in turn, and the null classes.
        shift: float32[unit], pilot values.
        sums: float64[2, class, unit], of the units about their pilot values, and of the squares.
        null_class, boolean, shifts: as in `KeptLabels`.
    """

    edges: Tensor
    number_edges: Tensor
    number_range: Tensor
    counts: Tensor
    shift: Tensor
    sums: Tensor
    null_class: Tensor
    boolean: Tensor
    shifts: Tensor

    @classmethod
    def of(cls, rows: Rows, labels: Assembled, bins: int) -> Self:
        """A sketch that has seen nothing, with borders from some rows."""
        units, device = rows[0].shape[1], rows[0].device
        symbols = len(labels.truth)
        some = torch.arange(symbols)
        if symbols > SAMPLE:
            some = torch.from_numpy(np.unique((np.arange(SAMPLE) * GOLDEN % 1 * symbols).astype(np.int64)))
        sample = torch.cat(list(rows))[some.to(device)] if len(rows) == 1 else _rows_at(rows, some)
        edges = [_edges(sample[:, i : i + UNITS], bins) for i in range(0, units, UNITS)]
        median = sample.nan_to_num().median(0).values if symbols else sample.new_zeros(units)
        number_edges = [_number_edges(labels, c) for c in np.flatnonzero(~labels.boolean).tolist()]
        return cls._zero(
            torch.cat(edges),
            torch.stack(number_edges).to(device) if number_edges else median.new_zeros(0, NUMBER_BINS - 1).double(),
            torch.where(median.isfinite(), median, 0),
            labels.kept,
        )

    @classmethod
    def _zero(cls, edges: Tensor, number_edges: Tensor, shift: Tensor, kept: KeptLabels) -> Self:
        units, numbers, device = len(edges), len(number_edges), edges.device
        classes = int(kept.null_class.max()) + 1 if len(kept.null_class) else 1
        slots = len(kept.boolean) + numbers * NUMBER_BINS + classes
        infinite = torch.full((1, numbers, NUMBER_BINS), torch.inf, dtype=torch.float64, device=device)
        return cls(
            edges=edges,
            number_edges=number_edges,
            number_range=torch.cat([infinite, -infinite]),
            counts=torch.zeros(units, edges.shape[1] + 1, slots, dtype=torch.int32, device=device),
            shift=shift,
            sums=torch.zeros(2, classes, units, dtype=torch.float64, device=device),
            null_class=kept.null_class.clone(),
            boolean=kept.boolean.clone(),
            shifts=kept.shifts.clone(),
        )

    def empty(self, kept: KeptLabels) -> Self:
        """Nothing seen, the same borders, the null classes of these labels."""
        return self._zero(self.edges, self.number_edges, self.shift, kept)

    @property
    def classes(self) -> Tensor:
        """The counts of the null classes, int32[unit, bin, class]."""
        return self.counts[:, :, self.counts.shape[2] - self.sums.shape[1] :]

    def number_counts(self, number: int) -> Tensor:
        """int32[unit, bin, number bin] of the n-th number."""
        first = len(self.boolean) + number * NUMBER_BINS
        return self.counts[:, :, first : first + NUMBER_BINS]

    def add(self, units: Tensor, kept: KeptLabels) -> Self:
        """Fold a batch in; in place, if its null classes are the same."""
        if not torch.equal(kept.null_class, self.null_class):
            return self.merge(self.empty(kept).add(units, kept))
        if not len(units):
            return self
        truth, number_range = self._slots(kept)
        sparse = Sparse.of(truth.cpu().numpy())
        made = kernels() if units.device.type == "cpu" else None
        if made is not None:
            bits = units.contiguous().numpy().view(np.int32)
            edges, counts = self.edges.numpy(), self.counts.numpy()

            def block(first: int) -> None:
                last = first + UNITS
                made.count(bits, first, edges[first:last], sparse.start, sparse.label, counts[first:last])

            in_threads(len(edges), block)
        else:
            self._add_with_torch(units, sparse)
        x = units.double() - self.shift
        valid = kept.valid.double()
        self.sums.add_(torch.stack([valid.T @ x, valid.T @ x.square()]))
        shifts = torch.stack([self.shifts[0].minimum(kept.shifts[0]), self.shifts[1].maximum(kept.shifts[1])])
        return replace(self, number_range=number_range, shifts=shifts)

    def _slots(self, kept: KeptLabels) -> tuple[Tensor, Tensor]:
        """uint8[symbol, slot], what is true of each symbol; and the ranges of the numbers so far."""
        columns = kept.truth.new_zeros(len(kept.truth), len(self.boolean))
        columns[:, self.boolean] = kept.truth
        columns &= kept.valid[:, self.null_class]
        parts, number_range = [columns], self.number_range.clone()
        for k, c in enumerate(torch.nonzero(~self.boolean)[:, 0].tolist()):
            y, valid = kept.numbers[:, k].contiguous(), kept.valid[:, self.null_class[c]]
            at = torch.searchsorted(self.number_edges[k], y, right=True)
            parts.append(torch.nn.functional.one_hot(at, NUMBER_BINS).byte() * valid[:, None])
            at, y = at[valid > 0], y[valid > 0]
            number_range[0, k].scatter_reduce_(0, at, y, "amin")
            number_range[1, k].scatter_reduce_(0, at, y, "amax")
        return torch.cat([*parts, kept.valid], 1), number_range

    def _add_with_torch(self, units: Tensor, sparse: Sparse) -> None:
        """What the compiled loop does."""
        rows = torch.from_numpy(np.repeat(np.arange(len(units)), np.diff(sparse.start))).to(units.device)
        label = torch.from_numpy(sparse.label.astype(np.int64)).to(units.device)
        _, bins, slots = self.counts.shape
        for first in range(0, len(self.edges), UNITS):
            some = slice(first, first + UNITS)
            code = codes(units[:, some]).T.contiguous()
            at = torch.searchsorted(self.edges[some], code, right=True)
            at += torch.arange(len(at), device=at.device)[:, None] * bins
            place = (at[:, rows] * slots + label).ravel()
            counts = self.counts[some].view(-1)
            counts.scatter_add_(0, place, torch.ones_like(place, dtype=torch.int32))

    def merge(self, other: Self) -> Self:
        """The counts of both, at the borders that both have."""
        edges = self.edges if torch.equal(self.edges, other.edges) else common(self.edges, other.edges)
        number_edges = self.number_edges
        if not torch.equal(number_edges, other.number_edges):
            number_edges = torch.stack(
                [_common_numbers(a, b) for a, b in zip(number_edges, other.number_edges, strict=True)]
            )
        a, b = self._at(edges, number_edges), other._at(edges, number_edges)
        pairs = torch.stack([a.null_class, b.null_class])
        classes, null_class = torch.unique(pairs, dim=1, return_inverse=True)
        own = a.counts.shape[2] - a.sums.shape[1]
        of = [x.classes[:, :, c] for x, c in zip((a, b), classes, strict=True)]
        return replace(
            a,
            number_range=torch.stack(
                [a.number_range[0].minimum(b.number_range[0]), a.number_range[1].maximum(b.number_range[1])]
            ),
            counts=torch.cat([a.counts[:, :, :own] + b.counts[:, :, :own], of[0] + of[1]], 2),
            sums=a.sums[:, classes[0]] + b._about(a.shift)[:, classes[1]],
            null_class=null_class,
            shifts=torch.stack([a.shifts[0].minimum(b.shifts[0]), a.shifts[1].maximum(b.shifts[1])]),
        )

    def _about(self, shift: Tensor) -> Tensor:
        """The sums about other pilot values."""
        a = self.shift.double() - shift.double()
        n = self.classes[0].sum(0, dtype=torch.float64)[:, None]
        return torch.stack([self.sums[0] + n * a, self.sums[1] + 2 * a * self.sums[0] + n * a * a])

    def _at(self, edges: Tensor, number_edges: Tensor) -> Self:
        """The same counts at some of the borders."""
        found = self
        if edges.shape != self.edges.shape or not torch.equal(edges, self.edges):
            at = torch.searchsorted(edges, self.edges, right=True)
            at = torch.nn.functional.pad(at, (1, 0))  # a bin is where its lower border is
            counts = self.counts.new_zeros(len(edges), edges.shape[1] + 1, self.counts.shape[2])
            counts.scatter_add_(1, at[:, :, None].expand_as(self.counts), self.counts)
            found = replace(found, edges=edges, counts=counts)
        if not torch.equal(number_edges, self.number_edges):
            counts, number_range = found.counts.clone(), found.number_range.clone()
            for k, new in enumerate(number_edges):
                at = torch.nn.functional.pad(torch.searchsorted(new, self.number_edges[k], right=True), (1, 0))
                first = len(self.boolean) + k * NUMBER_BINS
                part = torch.zeros_like(counts[:, :, first : first + NUMBER_BINS])
                part.index_add_(2, at, found.number_counts(k))
                counts[:, :, first : first + NUMBER_BINS] = part
                number_range[0, k] = torch.inf
                number_range[1, k] = -torch.inf
                number_range[0, k].scatter_reduce_(0, at, found.number_range[0, k], "amin")
                number_range[1, k].scatter_reduce_(0, at, found.number_range[1, k], "amax")
            found = replace(found, number_edges=number_edges, counts=counts, number_range=number_range)
        return found

    def n(self) -> Tensor:
        """float64[class], symbols."""
        return self.classes[0].sum(0, dtype=torch.float64)

    def finite(self) -> Tensor:
        """bool[unit]."""
        return self.sums[1].isfinite().all(0)

    def constant_units(self) -> Tensor:
        """bool[class, unit], by the convention of `conventions`."""
        n = self.n()[:, None]
        mean = self.sums[0] / n
        return constant(mean + self.shift, (self.sums[1] / n - mean.square()).clamp_min(0))

    def pure(self) -> Tensor:
        """bool[unit, bin], the bins that one value has for itself."""
        edges = self.edges.long()
        ends = torch.nn.functional.pad(edges, (0, 1), value=INFINITY + 1)
        starts = torch.nn.functional.pad(edges, (1, 0), value=-INFINITY - 2)
        return ends - starts <= 1

    def pure_numbers(self) -> Tensor:
        """bool[number, NUMBER_BINS], the bins of one number, up to what was rounded off about different shifts."""
        least, greatest = self.number_range
        away = (torch.stack([least, greatest])[:, None] - self.shifts[None, :, :, None]).abs().amax((0, 1))
        step = 2.0**-22 * away + 2.0**-51 * torch.maximum(least.abs(), greatest.abs())
        step = torch.where((self.shifts[0] == self.shifts[1])[:, None], 0, step)
        pure: Tensor = greatest - least <= step
        return torch.logical_or(pure, greatest < least)

    def constant_numbers(self) -> Tensor:
        """bool[number]: all numbers lie in one bin, and are one."""
        return self.pure_numbers().all(1) & (self.number_range[0].isfinite().sum(1) <= 1)

    def positives(self) -> Tensor:
        """float64[slot]: how often each slot is true."""
        return self.counts[0].sum(0, dtype=torch.float64)

    def arrays(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {name: value.cpu().clone() for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], device: torch.device) -> Self:
        """The sketch that `arrays` wrote."""
        return cls(**{name: arrays[name].to(device, copy=True) for name in cls.__dataclass_fields__})


def bins_within(units: int, columns: int, limit: int) -> int:
    """How many bins fit into some bytes, for columns of booleans of one null class."""
    rest = limit - sketch_bytes(units, columns, 0) - 8
    return int(min(max(rest // (4 * units * (columns + 2)), LEAST_BINS), MOST_BINS))


def sketch_bytes(units: int, columns: int, bins: int) -> int:
    """Bytes of a sketch of booleans of one null class."""
    return units * (4 * (bins - 1) + 4 * bins * (columns + 1) + 20) + 9 * columns


def _edges(sample: Tensor, bins: int) -> Tensor:
    code: Tensor = codes(sample.T.contiguous()).sort(1).values
    return borders(code, bins)


def _rows_at(rows: Rows, some: Tensor) -> Tensor:
    """Some rows of several batches, ascending."""
    found, at = [], 0
    for batch in rows:
        here = some[(some >= at) & (some < at + len(batch))] - at
        found.append(batch[here.to(batch.device)])
        at += len(batch)
    return torch.cat(found)


def _number_edges(labels: Assembled, column: int) -> Tensor:
    """float64[NUMBER_BINS - 1]: borders half way between numbers that differ, infinite where they are not needed."""
    order = labels.ranks[column]
    n = len(order.row)
    number = int((~labels.boolean[:column]).sum())
    y = labels.kept.numbers[:, number].cpu().numpy()[order.row]
    starts = np.unique(order.low[np.arange(1, NUMBER_BINS) * n // NUMBER_BINS]) if n else np.zeros(0, np.int64)
    ends = np.unique(order.high[np.arange(1, NUMBER_BINS) * n // NUMBER_BINS]) if n else starts
    both = np.union1d(starts, ends)
    places = both if len(both) < NUMBER_BINS else starts
    places = places[(places > 0) & (places < n)]
    edges = np.full(NUMBER_BINS - 1, np.inf)
    edges[: len(places)] = np.unique(y[places - 1] + (y[places] - y[places - 1]) / 2)
    return torch.from_numpy(edges)


def _common_numbers(a: Tensor, b: Tensor) -> Tensor:
    both: Tensor = torch.where(torch.isin(a, b), a, torch.inf).sort().values
    return both
