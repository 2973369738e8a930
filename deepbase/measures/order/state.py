"""The one state of all measures that look at the order of values: rows while they fit, counts in bins afterwards.

The order of a unit's values over all symbols cannot be kept in a fixed size, but the rows of many a run fit in memory.
So the state keeps the batches as they come, without copying, and shares their labels with all other layers. When they
would take more than the memory that it was given, it becomes a `Sketch` of fixed size, and stays one.

Scores from rows are exact, those from a sketch have a bound, which their note tells.

Memory: `symbols * (4 * units + columns + 2)` bytes as long as that is within the limit (a number takes 7 bytes a symbol
more than a boolean, a further null class 1, and the records 8, where they are needed), then that of a `Sketch`. A
sketch has at least 16 bins, however small the limit is. Labels are counted in full for every layer, although layers
share them. The results of a walk, kept for the next measure, take about 100 bytes a unit and column, those without each
group of records, which intervals rest on, 256 more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, final

import torch
from torch import Tensor

from deepbase.measures.base import AbstractState
from deepbase.measures.batch import BatchLabels, KeptLabels
from deepbase.measures.order.labels import Assembled, assembled
from deepbase.measures.order.sketch import Sketch, bins_within, sketch_bytes
from deepbase.measures.order.walk import Cuts, Walk, walk
from deepbase.measures.order.without import numbers_alone, walks_without


@dataclass(frozen=True)
class Made:
    """What was computed of a state, for the next measure.

    Attributes:
        walks: over all rows, by their cuts.
        without: those without each group of records, or nothing.
        alone: the rows of each group of records, or nothing.
    """

    walks: dict[Cuts, Walk] = field(default_factory=dict)
    without: list[Walk] = field(default_factory=list)
    alone: list[PairOrder] = field(default_factory=list)


@final
@dataclass(frozen=True)
class PairOrder(AbstractState):
    """Rows, or counts in bins.

    Attributes:
        limit: bytes that the state may take.
        units: float32[symbol, unit], batches; without symbols, if there is a sketch.
        labels: of the same batches.
        sketch: the counts, once the rows no longer fit.
        made: what was computed of this state already.
    """

    saved: ClassVar[bool] = False
    quick: ClassVar[bool] = False
    cost: ClassVar[str] = "all rows, or counts in bins"

    limit: int
    units: tuple[Tensor, ...]
    labels: tuple[KeptLabels, ...]
    sketch: Sketch | None = None
    made: Made = field(default_factory=Made, repr=False, compare=False)

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int) -> Self:
        """The rows of the first batch."""
        return cls(memory, (_own(units),), (labels.kept,))._fitted()

    def empty_like(self, labels: BatchLabels) -> Self:
        """Nothing seen, the same limit and, of a sketch, the same borders."""
        if self.sketch is not None:
            return replace(self, sketch=self.sketch.empty(labels.kept), made=Made())
        return replace(self, units=(self.units[0][:0],), labels=(_nothing(labels.kept),), made=Made())

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Keep a batch, or count it."""
        if self.sketch is not None:
            return replace(self, sketch=self.sketch.add(units, labels.kept), made=Made())
        return self._with((_own(units),), (labels.kept,))

    def merge(self, other: Self) -> Self:
        """The rows of both; or the counts, if either has counts already or both have too many rows."""
        if self.sketch is None and other.sketch is None:
            return self._with(other.units, other.labels)
        if self.sketch is None:
            return other.merge(self)
        if other.sketch is not None:
            return replace(self, sketch=self.sketch.merge(other.sketch), made=Made())
        sketch = self.sketch.merge(self.sketch.empty(other.labels[0]))
        return replace(self, sketch=_counted(sketch, other.units, other.labels), made=Made())

    def _with(self, units: tuple[Tensor, ...], labels: tuple[KeptLabels, ...]) -> Self:
        """More rows; batches without symbols only stay if there is no other."""
        both = [(x, y) for x, y in zip(self.units + units, self.labels + labels, strict=True) if len(x)]
        both = both or [(self.units[0], self.labels[0])]
        return replace(self, units=tuple(x for x, _ in both), labels=tuple(y for _, y in both), made=Made())._fitted()

    def _fitted(self) -> Self:
        """This state, or a sketch in the place of rows that do not fit."""
        symbols, kept = sum(map(len, self.units)), self.labels[0]
        columns = len(kept.boolean) + 7 * int((~kept.boolean).sum()) + kept.valid.shape[1] - 1
        columns += 8 * bool(len(kept.record))
        width = self.units[0].shape[1]
        if not symbols or _row_bytes(width, columns, symbols) <= self.limit:
            return self
        slots = len(kept.boolean)
        sketch = Sketch.of(self.units, assembled(self.labels), bins_within(width, slots, self.limit))
        sketch = _counted(sketch, self.units, self.labels)
        return replace(self, units=(self.units[0].new_zeros(0, width),), labels=(_nothing(kept),), sketch=sketch)

    def arrays(self) -> dict[str, Tensor]:
        """The rows and their labels, or the sketch."""
        limit = {"limit": torch.tensor([self.limit])}
        if self.sketch is not None:
            return self.sketch.arrays() | limit
        labels = {name: value.cpu().clone() for name, value in vars(self.assembled().kept).items()}
        return {"units": torch.cat(self.units).cpu().clone(), **labels, **limit}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], device: torch.device) -> Self:
        """The state that `arrays` wrote."""
        limit = int(arrays["limit"])
        own = {name: arrays[name].to(device) for name in KeptLabels.__dataclass_fields__ if name in arrays}
        if "units" in arrays:
            return cls(limit, (arrays["units"].to(device),), (KeptLabels(**own),))
        sketch = Sketch.from_arrays(arrays, device)
        nothing = own["boolean"].new_zeros(0)
        empty = KeptLabels(
            truth=nothing.byte().reshape(0, int(own["boolean"].sum())),
            numbers=nothing.double().reshape(0, len(sketch.number_edges)),
            valid=nothing.byte().reshape(0, sketch.sums.shape[1]),
            record=nothing.long(),
            group=nothing.byte(),
            **own,
        )
        return cls(limit, (torch.zeros(0, len(sketch.shift), device=device),), (empty,), sketch)

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes for columns of booleans: of the rows if they fit, else of the sketch."""
        rows = _row_bytes(units, columns, symbols)
        if rows <= limit or not symbols:
            return rows
        return sketch_bytes(units, columns, bins_within(units, columns, limit)) + 8

    def assembled(self) -> Assembled:
        """The labels of all rows."""
        return assembled(self.labels)

    def walk(self, cuts: Cuts) -> Walk:
        """The walk over all rows, made once."""
        if cuts not in self.made.walks:
            self.made.walks[cuts] = walk(self.units, self.assembled(), cuts)
        return self.made.walks[cuts]

    def without(self) -> list[Walk]:
        """The sums of the walk without each group of records, made once; see `walks_without`."""
        if not self.made.without:
            self.made.without.extend(walks_without(self))
        return self.made.without

    def alone(self) -> list[PairOrder]:
        """The rows of each group of records with their numbers, and with booleans that are true nowhere."""
        if not self.made.alone:
            self.made.alone.extend(numbers_alone(self))
        return self.made.alone


def _row_bytes(units: int, columns: int, symbols: int) -> int:
    return symbols * (4 * units + columns + 2) + 9 * columns + 8


def _own(units: Tensor) -> Tensor:
    """Rows to keep: themselves, unless they keep much more alive than they are."""
    if units.untyped_storage().nbytes() > 2 * units.nbytes:
        return units.clone(memory_format=torch.contiguous_format)
    return units.contiguous()


def _nothing(kept: KeptLabels) -> KeptLabels:
    of_symbols = ("truth", "numbers", "valid", "record", "group")
    return replace(kept, **{name: getattr(kept, name)[:0].clone() for name in of_symbols})


def _counted(sketch: Sketch, units: tuple[Tensor, ...], labels: tuple[KeptLabels, ...]) -> Sketch:
    """The sketch with some batches more; it may reuse the storage."""
    for x, y in zip(units, labels, strict=True):
        sketch = sketch.add(x, y)
    return sketch
