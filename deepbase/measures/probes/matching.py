"""The same symbols in the rows of several layers and models: what two groups of units are compared on.

The layers of one model keep the same rows in the same order. Models do not: each forms its batches by the lengths that
its own tokenizer gives. So a symbol is known by its record, its place in the record, and the characters that it stands
for. Models whose symbols are the same, one by one, are of one *family*, and their rows are read in the order of the
first of them. Others cannot be compared: two tokenizers that cut a text differently have no symbols in common, but they
share its words.

Memory: 28 bytes a symbol and model while symbols are compared, then 8 bytes a symbol and model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Ints
from deepbase.measures.moments import pilot
from deepbase.measures.probes.group import Scale, scale_of
from deepbase.measures.rows import Rows

CHUNK_ROWS = 8192


@dataclass(frozen=True)
class Order:
    """In which order to read the rows of a model.

    Attributes:
        family: a number; the rows of models of one family are of the same symbols in these orders.
        rows: int64[symbol].
        record: int64[symbol], the number of the record of each.
    """

    family: int
    rows: Ints
    record: Ints


def matched(models: Sequence[Rows], *, without_first: bool = False) -> list[Order]:
    """The orders in which the rows of models are of the same symbols.

    Args:
        models: for each model the rows of one of its layers, whose labels know the places of the symbols.
        without_first: leave out the first symbol of each record, which has no derivative.
    """
    found: list[Order] = []
    families: list[_Symbols] = []
    for rows in models:
        symbols = _Symbols.of(rows, without_first)
        family = next((i for i, known in enumerate(families) if known.same(symbols)), len(families))
        if family == len(families):
            families.append(symbols)
        read = families[family].order.argsort()
        found.append(Order(family, symbols.order[read], symbols.record[read]))
    return found


@dataclass(frozen=True)
class _Symbols:
    """The symbols of some rows by record and place.

    Attributes:
        order: int64[symbol], their rows.
        record: int64[symbol].
        place: int32[symbol, 3], their places, first and last characters.
    """

    order: Ints
    record: Ints
    place: np.ndarray[tuple[int, int], np.dtype[np.int32]]

    @classmethod
    def of(cls, rows: Rows, without_first: bool) -> Self:
        record = np.concatenate([p.labels.record.cpu().numpy() for p in rows.pieces])
        places = [p.labels.place for p in rows.pieces]
        place = np.concatenate([x.cpu().numpy() for x in places if x is not None])
        order = np.lexsort((place[:, 0], record))
        if without_first:
            order = order[place[order, 0] > 0]
        return cls(order, record[order], place[order])

    def same(self, other: Self) -> bool:
        return np.array_equal(self.record, other.record) and np.array_equal(self.place, other.place)


@final
@dataclass(frozen=True, eq=False)
class MatchedUnits:
    """A group of units, read in the order of its family.

    Attributes:
        states: the rows of its layers, all of one model.
        order: of the rows of this model.
    """

    states: tuple[Rows, ...]
    order: Order

    @property
    def units(self) -> int:
        """How many."""
        return sum(s.units for s in self.states)

    @property
    def symbols(self) -> int:
        """How many."""
        return len(self.order.rows)

    def read(self, rows: Ints | None = None, units: slice = slice(None)) -> Iterator[Tensor]:
        """Some of the units at some of the symbols, float32[symbol, unit], at most `CHUNK_ROWS` symbols at once.

        Args:
            rows: int64[symbol], numbers of symbols in the order of the family; None for all.
            units: a range of the units.
        """
        chosen = self.order.rows if rows is None else self.order.rows[rows]
        first, end, _ = units.indices(self.units)
        parts: list[tuple[_Reader, slice]] = []
        for reader in self._readers:
            columns = slice(max(first, 0), min(end, reader.state.units))
            if columns.start < columns.stop:
                parts.append((reader, columns))
            first, end = first - reader.state.units, end - reader.state.units
        for at in range(0, len(chosen), CHUNK_ROWS):
            some = [reader.read(chosen[at : at + CHUNK_ROWS], columns) for reader, columns in parts]
            yield some[0] if len(some) == 1 else torch.cat(some, 1)

    @cached_property
    def _readers(self) -> list[_Reader]:
        return [_Reader(state) for state in self.states]

    def scale(self, rows: Ints | None = None) -> tuple[Scale, Ints]:
        """How the units are brought to mean 0 and deviation 1 over some symbols, and why some are left out."""
        return scale_of(pilot(next(self.read())), self.read(rows), self.read())


class _Reader:
    """Takes rows of a layer by their numbers."""

    def __init__(self, state: Rows) -> None:
        self.state = state
        self.ends = np.cumsum([len(p.units) for p in state.pieces])
        self.device = state.pieces[-1].units.device

    def read(self, rows: Ints, columns: slice) -> Tensor:
        """float32[row, unit]."""
        piece = np.searchsorted(self.ends, rows, side="right")
        found = torch.empty(len(rows), columns.stop - columns.start, device=self.device)
        for number in np.unique(piece).tolist():
            at = np.flatnonzero(piece == number)
            units = self.state.pieces[number].units
            index = torch.from_numpy(rows[at] - (self.ends[number] - len(units))).to(units.device)
            found[torch.from_numpy(at).to(self.device)] = units[:, columns][index].to(self.device)
        return found
