"""The label side of a batch, as states fold it: made once, and shared by all layers.

Labels are wanted in several forms: as a matrix, as the few rows at which each column is not 0, as bytes to keep. Each
is made when the first state asks for it, and then there for all layers and states of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepbase.blocks import ConfoundBehavior, Floats, Ints, Kind, LabelBehavior
from deepbase.measures.exchange import BlockLabels, Exchange, Exchanged
from deepbase.measures.hashing import hashed

GROUP_SEED = 2
ROWS = 512
"""Symbols that are folded at once: few enough for the caches, and for float32 sums."""
GROUPS = 16
"""Random groups of records, whose differences tell how far a score may be off."""


class Bags(NamedTuple):
    """Rows that are added up together, bag after bag.

    Attributes:
        places: int64[bag], where each bag belongs: `group * columns + column`.
        rows: int64[row in a bag], the symbols within the portion.
        offsets: int64[bag], where each bag begins in `rows`.
        weights: float32[row in a bag], by what each is multiplied; None where all are taken as they are.
    """

    places: Tensor
    rows: Tensor
    offsets: Tensor
    weights: Tensor | None


class Portion(NamedTuple):
    """Some symbols of a batch, by group of records.

    Attributes:
        rows: the symbols.
        present: those at which a null class has values.
        true: those at which a column is not 0.
    """

    rows: slice
    present: Bags
    true: Bags


class Sorted(NamedTuple):
    """The labels of a batch as compiled loops read them, on the CPU.

    Attributes:
        order: int64[symbol], the symbols, group of records after group of records.
        ends: int64[group], where each group ends in `order`.
        valid: uint8[symbol, null class], where the columns of a class have a value; empty where all have.
        start: int64[symbol + 1], where the labels of each symbol that are not 0 begin in `column`.
        column: int32[label], which they are.
        weight: float32[label], what they are; empty where all are 1.
    """

    order: Ints
    ends: Ints
    valid: npt.NDArray[np.uint8]
    start: Ints
    column: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]


@dataclass(frozen=True)
class BatchConfounds:
    """The confounds of one batch, on the device of the model.

    Attributes:
        values: float64[symbol, confound]; NaN where there is no value.
        kinds: `boolean` or `number`, of each.
        sets: the columns that measures are given together, ascending, each set once.
        summed: those of the sets for which sums are kept.
    """

    values: Tensor
    kinds: tuple[Kind, ...]
    sets: tuple[tuple[int, ...], ...]
    summed: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, confounds: ConfoundBehavior, rows: slice, device: torch.device) -> Self:
        """Some rows of a block's."""
        values = torch.from_numpy(confounds.values[rows]).to(device)
        return cls(values, confounds.kinds, confounds.sets, confounds.summed)

    def known(self, columns: Sequence[int]) -> Tensor:
        """bool[symbol], where all of these columns have a value."""
        return ~self.values[:, list(columns)].isnan().any(1)

    def rows(self, rows: slice | Tensor) -> Self:
        """Some of the symbols."""
        return replace(self, values=self.values[rows])


@dataclass(frozen=True)
class BatchLabels:
    """The label side of one batch, on the device of the model; shared by all layers and states.

    Attributes:
        values: float32[symbol, column], less `shift`; 0 where there is no value.
        valid: float32[symbol, null class], 1 where the columns of the class have a value; None where all have.
        null_class: int64[column], the class of each column.
        shift: float64[column], what was subtracted from the values; 0 for booleans.
        record: int64[symbol], the number of each symbol's record in the dataset; the symbols of one record stand
            together.
        kinds: the kind of each column, `boolean` or `number`.
        word: int64[symbol], a hash of each symbol's word; None where no measure needs it.
        of_block: the labels of the whole block, and the row at which the batch begins; None where no measure needs
            them.
        recorded: whether states that keep labels keep the records, too.
        confounds: what measures are given besides; None where nothing is. Most states never look at it.
        place: int32[symbol, 3], each symbol's place in its record, its first and its last character; None where no
            measure needs it.
    """

    values: Tensor
    valid: Tensor | None
    null_class: Tensor
    shift: Tensor
    record: Tensor
    kinds: tuple[Kind, ...]
    word: Tensor | None = None
    of_block: tuple[BlockLabels, int] | None = None
    recorded: bool = False
    confounds: BatchConfounds | None = None
    place: Tensor | None = None

    @classmethod
    def of(
        cls,
        labels: LabelBehavior,
        first: int,
        symbols: int,
        shift: Floats,
        device: torch.device,
        *,
        recorded: bool = False,
    ) -> Self:
        """The rows `first : first + symbols` of a block's labels."""
        rows = slice(first, first + symbols)
        valid = labels.valid[rows]
        classes = labels.null_class
        values = labels.values[rows]
        if shift.any():
            values = values - shift * valid[:, classes]
        whole = valid.shape[1] == 1 and bool(valid.all())
        return cls(
            values=torch.from_numpy(values.astype(np.float32)).to(device),
            valid=None if whole else torch.from_numpy(valid.astype(np.float32)).to(device),
            null_class=torch.from_numpy(classes).to(device),
            shift=torch.from_numpy(shift).to(device),
            record=torch.from_numpy(labels.record[rows]).to(device),
            kinds=labels.kinds,
            word=None if labels.word is None else torch.from_numpy(labels.word[rows]).to(device),
            recorded=recorded,
            confounds=BatchConfounds.of(labels.confounds, rows, device) if labels.confounds else None,
            place=None if labels.place is None else torch.from_numpy(labels.place[rows]).to(device),
        )

    @cached_property
    def exchanged(self) -> Exchanged:
        """The labels that the symbols get when the records of the block exchange theirs, or those of the batch."""
        block, first = self.of_block or (self._alone, 0)
        return Exchanged(block, first, len(self.values), self.values.device)

    @property
    def _alone(self) -> BlockLabels:
        """The labels of the batch, as those of a block."""
        valid = self.values.new_ones(len(self.values), 1) if self.valid is None else self.valid
        values, known, record = (t.cpu().numpy() for t in (self.values, valid, self.record))
        return BlockLabels(values, known, Exchange(record))

    @cached_property
    def group(self) -> Tensor:
        """int64[symbol], the random group of each symbol's record, by a hash of its number."""
        groups = hashed(self.record.cpu().numpy(), GROUP_SEED) % np.uint64(GROUPS)
        return torch.from_numpy(groups.astype(np.int64)).to(self.record.device)

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """By group, float64[group, null class], symbols with a value; float64[group, column], values and squares."""
        classes = int(self.null_class.max()) + 1 if len(self.null_class) else 1
        valid = self.values.new_ones(len(self.values), classes) if self.valid is None else self.valid
        y = self.values.double()
        several = (valid.double(), y, y.square())
        n, sums, squares = (v.new_zeros(GROUPS, v.shape[1]).index_add_(0, self.group, v) for v in several)
        return n, sums, squares

    @property
    def known(self) -> Tensor:
        """bool[symbol, column], where there is a value."""
        if self.valid is None:
            return torch.ones_like(self.values, dtype=torch.bool)
        return self.valid[:, self.null_class] > 0

    @cached_property
    def sorted(self) -> Sorted:
        """The labels as compiled loops read them."""
        values, group = self.values.cpu().numpy(), self.group.cpu().numpy()
        row, column = np.nonzero(values)
        plain = "number" not in self.kinds
        return Sorted(
            order=np.argsort(group, kind="stable"),
            ends=np.bincount(group, minlength=GROUPS).cumsum(),
            valid=np.empty((0, 1), np.uint8) if self.valid is None else self.valid.cpu().numpy().astype(np.uint8),
            start=np.append(0, np.bincount(row, minlength=len(values)).cumsum()),
            column=column.astype(np.int32),
            weight=np.empty(0, np.float32) if plain else values[row, column],
        )

    @cached_property
    def portions(self) -> tuple[Portion, ...]:
        """The symbols in portions of at most `ROWS`."""
        return tuple(self._portion(slice(i, i + ROWS)) for i in range(0, len(self.values), ROWS))

    def _portion(self, rows: slice) -> Portion:
        values, group = self.values[rows], self.group[rows]
        valid = values.new_ones(len(values), 1) if self.valid is None else self.valid[rows]
        weighted = "number" in self.kinds
        return Portion(rows, _bags(valid, group, weighted=False), _bags(values, group, weighted=weighted))

    def rows(self, rows: slice | Tensor) -> Self:
        """Some of the symbols."""
        valid = None if self.valid is None else self.valid[rows]
        word = None if self.word is None else self.word[rows]
        place = None if self.place is None else self.place[rows]
        return replace(
            self,
            values=self.values[rows],
            valid=valid,
            record=self.record[rows],
            word=word,
            place=place,
            confounds=self.confounds and self.confounds.rows(rows),
        )

    @cached_property
    def kept(self) -> KeptLabels:
        """The same labels in the least room: made once a batch, and shared by all layers that keep rows."""
        boolean = torch.tensor([k == "boolean" for k in self.kinds], dtype=torch.bool, device=self.values.device)
        valid = self.values.new_ones(len(self.values), 1) if self.valid is None else self.valid
        shift = self.shift[~boolean]
        known = (valid[:, self.null_class[~boolean]] > 0).any(0)
        return KeptLabels(
            truth=self.values[:, boolean].byte(),
            numbers=self.values[:, ~boolean].double() + shift,
            valid=valid.byte(),
            null_class=self.null_class,
            shifts=torch.stack([torch.where(known, shift, torch.inf), torch.where(known, shift, -torch.inf)]),
            boolean=boolean,
            record=self.record if self.recorded else self.record[:0],
            group=self.group.byte(),
        )


@dataclass(frozen=True, eq=False)
class KeptLabels:
    """Labels in the form in which a state may keep them.

    Attributes:
        truth: uint8[symbol, boolean column].
        numbers: float64[symbol, number column], the values themselves, up to the rounding of `BatchLabels.values`;
            the shift where there is no value.
        valid: uint8[symbol, null class].
        null_class: int64[column].
        shifts: float64[2, number column], the least and the greatest shift that the numbers were rounded about;
            infinite where none has a value.
        boolean: bool[column], which columns are booleans; the others are numbers.
        record: int64[symbol], the number of each symbol's record; empty where no measure needs it.
        group: uint8[symbol], the random group of each symbol's record.
    """

    truth: Tensor
    numbers: Tensor
    valid: Tensor
    null_class: Tensor
    shifts: Tensor
    boolean: Tensor
    record: Tensor
    group: Tensor

    def rows(self, rows: slice | Tensor) -> Self:
        """Some of the symbols."""
        record = self.record[rows] if len(self.record) else self.record
        truth, numbers, valid, group = (of[rows] for of in (self.truth, self.numbers, self.valid, self.group))
        return replace(self, truth=truth, numbers=numbers, valid=valid, record=record, group=group)


def _bags(values: Tensor, group: Tensor, *, weighted: bool) -> Bags:
    """The rows at which each column is not 0, by group."""
    row, column = values.nonzero(as_tuple=True)
    place = group[row] * values.shape[1] + column
    order = place.argsort(stable=True)
    row, column = row[order], column[order]
    places, counts = torch.unique_consecutive(place[order], return_counts=True)
    return Bags(places, row, counts.cumsum(0) - counts, values[row, column] if weighted else None)
