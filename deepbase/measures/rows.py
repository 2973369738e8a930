"""The rows themselves: what a probe is fitted on, for measures that cannot be had from a few sums.

A probe reads its symbols several times, so its state is what it has seen: the activations of a layer at every symbol,
and the labels. That grows with the data, and no memory is given to it without end: rows are kept in memory up to a
limit, and then moved to a scratch file, from which they are mapped back when they are read. The file has no name in the
file system once it is open, so nothing is left behind however the process ends.

A checkpoint does not hold the rows. A run with such a state that is resumed begins again.

Memory: the limit, on disk `4 * symbols * (units + columns)` bytes. Labels are shared by the layers of a model while
they are in memory.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

import torch
from torch import Tensor

from deepbase.errors import MeasureError
from deepbase.measures.base import AbstractState
from deepbase.measures.batch import BatchLabels


@dataclass(frozen=True)
class Piece:
    """Some rows.

    Attributes:
        units: float32[symbol, unit].
        labels: the same symbols' labels.
        on_disk: whether they are mapped from a file.
    """

    units: Tensor
    labels: BatchLabels
    on_disk: bool = False

    @property
    def bytes(self) -> int:
        """What the units take in memory."""
        return 0 if self.on_disk else self.units.nbytes


@final
@dataclass(frozen=True)
class Rows(AbstractState):
    """Rows in the order in which they came.

    Attributes:
        pieces: the rows.
        units: how many units there are.
        limit: bytes of units that stay in memory.
    """

    saved: ClassVar[bool] = False
    quick: ClassVar[bool] = False
    cost: ClassVar[str] = "keeps the activations, in memory or on disk"

    pieces: tuple[Piece, ...]
    units: int
    limit: int

    @classmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int) -> Self:
        """The rows of the first batch."""
        return cls((), units.shape[1], memory).update(units, labels)

    def empty_like(self, labels: BatchLabels) -> Self:
        """No rows, the same limit."""
        return replace(self, pieces=())

    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """The rows with some more, which are kept as they are."""
        return self._with((*self.pieces, Piece(units, labels)))

    def merge(self, other: Self) -> Self:
        """The rows of both."""
        return self._with((*self.pieces, *other.pieces))

    def _with(self, pieces: tuple[Piece, ...]) -> Self:
        """These rows; those in memory go to disk together once they are too many."""
        if sum(p.bytes for p in pieces) <= self.limit:
            return replace(self, pieces=pieces)
        in_memory = [p for p in pieces if not p.on_disk]
        return replace(self, pieces=(*(p for p in pieces if p.on_disk), *_on_disk(in_memory)))

    def arrays(self) -> dict[str, Tensor]:
        """Nothing: see `saved`."""
        raise MeasureError("rows are not written to a checkpoint", "Start the run again.")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], device: torch.device) -> Self:
        """Nothing: see `saved`."""
        raise MeasureError("rows are not written to a checkpoint", "Start the run again.")

    @classmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes of the units that stay in memory."""
        return min(limit, 4 * units * symbols)

    @property
    def symbols(self) -> int:
        """How many rows there are."""
        return sum(len(p.units) for p in self.pieces)


def beside(states: Sequence[Rows]) -> Iterator[Piece]:
    """The rows of several layers with their units side by side: pieces of the same symbols."""
    if len(states) == 1:
        yield from states[0].pieces
        return
    bounds = sorted({b for s in states for b in _bounds(s.pieces)})
    readers = [_cut(s.pieces, bounds) for s in states]
    for several in zip(*readers, strict=True):
        first = several[0]
        yield Piece(torch.cat([p.units for p in several], dim=1), first.labels)


def _bounds(pieces: Sequence[Piece]) -> list[int]:
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece.units))
    return ends


def _cut(pieces: Sequence[Piece], bounds: Sequence[int]) -> Iterator[Piece]:
    """The same rows in smaller pieces."""
    first = 0
    for piece in pieces:
        end = first + len(piece.units)
        inner = [b - first for b in bounds if first <= b <= end]
        for a, b in itertools.pairwise(inner):
            yield Piece(piece.units[a:b], piece.labels.rows(slice(a, b)))
        first = end


def _on_disk(pieces: Sequence[Piece]) -> list[Piece]:
    """The same rows, mapped from a scratch file.

    Raises:
        MeasureError: if there is no room for it.
    """
    confounds = [p.labels.confounds.values.view(torch.float32) for p in pieces if p.labels.confounds]
    tensors = [t for p in pieces for t in (p.units, p.labels.values, p.labels.valid) if t is not None]
    tensors = [*confounds, *tensors]  # float64 first, so that each begins at a multiple of 8 bytes
    try:
        with tempfile.NamedTemporaryFile(prefix="deepbase-", delete=False) as file:
            try:
                for tensor in tensors:
                    tensor.cpu().contiguous().numpy().tofile(file)
                file.flush()
                mapped = torch.from_file(file.name, shared=True, size=sum(t.numel() for t in tensors))
            finally:
                os.unlink(file.name)
    except OSError as error:
        size = sum(t.nbytes for t in tensors) / 2**30
        raise MeasureError(
            f"a probe needs {size:.1f} GB more for the activations in {tempfile.gettempdir()}: {error.strerror}",
            "Make room, set TMPDIR to another folder, or inspect fewer layers or records.",
        ) from error
    views = iter(torch.split(mapped, [t.numel() for t in tensors]))
    found = []
    own = iter([next(views).view(t.shape).view(torch.float64) for t in confounds])
    for piece in pieces:
        units, values = (next(views).view(t.shape) for t in (piece.units, piece.labels.values))
        valid = None if piece.labels.valid is None else next(views).view(piece.labels.valid.shape)
        given = piece.labels.confounds and replace(piece.labels.confounds, values=next(own))
        labels = replace(piece.labels, values=values, valid=valid, confounds=given)
        found.append(Piece(units, labels, on_disk=True))
    return found
