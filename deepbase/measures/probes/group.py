"""The units of a probe and the rows that it is fitted on and scored on.

*Split.* Records are split, never symbols: the symbols of a sentence are no independent witnesses. A record belongs to
the held-out part by a hash of its number in the dataset, so that the split is the same for every layer, model, measure
and batch size.

*Scale.* Every unit is brought to mean 0 and standard deviation 1 over the training part, so that the penalty of a probe
treats all units alike and weights compare. A unit that is constant over the training part, or not finite somewhere, is
0 throughout: a probe gives it no weight.

*Missing labels.* Hypotheses that are NULL at the same symbols share rows, and so one fit; others have their own.

*Confounds.* Where some are given, what a regression on them predicts is taken off the units before they are scaled
(`residuals`), and rows where one of them has no value are left out.

*Order.* Rows that fit the memory are read in an order of the records that is random and always the same. Others are
read as they came: the blocks of a run come in a random order, too.

Memory: the standardized rows, `4 * rows * (units + hypotheses)` bytes, where that is below `IN_MEMORY`; beyond, they
are made anew in each pass. One set of rows is there at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Ints, Kind
from deepbase.measures.batch import BatchLabels
from deepbase.measures.hashing import hashed
from deepbase.measures.moments import constant_units, pilot
from deepbase.measures.notes import CONSTANT_UNIT, NOT_FINITE
from deepbase.measures.probes.controls import control_task, labels_of, shuffled, with_labels
from deepbase.measures.probes.design import Chunk, Design, joined
from deepbase.measures.probes.residuals import Regression, labels_about, regression
from deepbase.measures.probes.rows import columns as some
from deepbase.measures.rows import Piece, Rows, beside

IN_MEMORY = 2**30
"""Bytes of standardized rows that are kept from pass to pass."""
CHUNK_ROWS = 8192


class Scale(NamedTuple):
    """How units are standardized: float64[unit] each; `keep` is 0 for a unit that is left out, else 1."""

    mean: Tensor
    deviation: Tensor
    keep: Tensor


@dataclass(frozen=True)
class Fold:
    """What hypotheses with the same rows are fitted and scored on.

    Attributes:
        columns: of the labels; those of the designs, in this order.
        train: the rows that a probe is fitted on.
        test: the rows that it is scored on, on the scale of the training part.
        rows_of_records: int64[record] for each of them, how many rows each record has, in the order of the rows.
        words: int64[row] for each of them, a hash of the word type of each row; empty where no probe needs it.
        unit_note: int64[unit], why a unit takes no part; 0 where it does.
        given_note: int64[hypothesis], why there is nothing left to learn after what is given; 0 where there is.
    """

    columns: tuple[int, ...]
    train: Design
    test: Design
    rows_of_records: tuple[Ints, Ints]
    words: tuple[Ints, Ints]
    unit_note: Ints
    given_note: Ints

    def only(self, which: Ints) -> Fold:
        """Some of the hypotheses."""
        return replace(
            self,
            columns=tuple(self.columns[i] for i in which),
            train=some(self.train, torch.from_numpy(which)),
            test=some(self.test, torch.from_numpy(which)),
            given_note=self.given_note[which],
        )

    def with_labels(self, train: Tensor, test: Tensor) -> Fold:
        """The same rows with other labels, float32[row, hypothesis] each."""
        return replace(self, train=with_labels(self.train, train), test=with_labels(self.test, test))

    def controls(self, kind: Kind) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The labels of a control task, and the shuffled labels, each for the training and the held-out rows."""
        train, test = labels_of(self.train), labels_of(self.test)
        task = (control_task(train, self.words[0], kind), control_task(train, self.words[1], kind))
        return task, (shuffled(train, self.rows_of_records[0]), shuffled(test, self.rows_of_records[1]))


class UnitGroup:
    """Some units, of one layer or of several, that a probe scores together.

    Args:
        states: the rows of each layer.
    """

    def __init__(self, states: Sequence[Rows]) -> None:
        self.states = tuple(states)
        self.units = sum(s.units for s in states)
        self._known: tuple[object, Fold] | None = None

    def pieces(self) -> Iterator[Piece]:
        """The rows, with the units of all layers side by side."""
        return beside(self.states)

    def labels(self) -> Iterator[BatchLabels]:
        """The labels of the rows, without the units."""
        return (p.labels for p in self.states[0].pieces)

    def folds(self, columns: Sequence[int], held_out: float, seed: int, given: tuple[int, ...] = ()) -> Iterator[Fold]:
        """The rows for some columns of labels, once for each set of columns that have a value at the same symbols.

        Args:
            columns: of the labels.
            held_out: the share of the records that a probe is scored on; 0 for a probe that learns from all.
            seed: of the split.
            given: columns of confounds, which are taken off the units.
        """
        split = Split.of((x.record for x in self.labels()), held_out, seed)
        for together in _by_nulls(self.labels(), columns):
            key = (together, held_out, seed, given)
            if self._known is None or self._known[0] != key:
                self._known = None  # the old one goes before the new one comes
                self._known = (key, self._fold(together, split, given))
            yield self._known[1]

    def _fold(self, columns: tuple[int, ...], split: Split, given: tuple[int, ...]) -> Fold:
        def rows(held_out: bool) -> Iterator[tuple[Piece, Tensor]]:
            for piece in self.pieces():
                labels = piece.labels
                mask = split.held_out(labels.record) == held_out
                if labels.valid is not None:
                    mask &= (labels.valid[:, labels.null_class[columns[0]]] > 0).cpu()
                if given and labels.confounds is not None:
                    mask &= labels.confounds.known(given).cpu()
                yield piece, mask.to(piece.units.device)

        first_shift = self.states[0].pieces[-1].labels.shift
        taken, given_note = None, np.zeros(len(columns), dtype=np.int64)
        if given:
            taken = regression(rows(False), given, columns, first_shift)
            given_note = taken.label_note
        scale, note = self._scale(rows(False)) if taken is None else self._scale_of(taken)
        designs, runs, words = [], [], []
        for held_out in (False, True):
            record = _gathered(piece.labels.record[mask] for piece, mask in rows(held_out))
            word = _gathered(w[mask] for piece, mask in rows(held_out) if (w := piece.labels.word) is not None)
            chunks = _Chunks(partial(rows, held_out), columns, scale, first_shift, taken)
            read: Callable[[], Iterator[Chunk]] = chunks
            if 4 * len(record) * (self.units + len(columns)) <= IN_MEMORY / 2:
                order = np.argsort(hashed(record, split.seed + 1), kind="stable")
                read, record = _kept(chunks, order), record[order]
                word = word[order] if len(word) else word
            designs.append(Design(read, len(record), self.units, len(columns)))
            starts = np.flatnonzero(np.diff(record, prepend=-1))
            runs.append(np.diff(starts, append=len(record)))
            words.append(word)
        return Fold(columns, designs[0], designs[1], (runs[0], runs[1]), (words[0], words[1]), note, given_note)

    def _scale_of(self, taken: Regression) -> tuple[Scale, Ints]:
        """How residuals are standardized, and why some units are left out."""
        finite = torch.stack([piece.units.isfinite().all(0) for piece in self.pieces()]).all(0)
        note = torch.where(finite, taken.unit_note, NOT_FINITE)
        used = note == 0
        mean = torch.zeros_like(taken.deviation)  # that of the residuals
        return Scale(mean, torch.where(used, taken.deviation, 1), used.double()), note.cpu().numpy()

    def _scale(self, rows: Iterator[tuple[Piece, Tensor]]) -> tuple[Scale, Ints]:
        """How the units are standardized by these rows, and why some are left out."""
        shift = pilot(next(self.pieces()).units)
        return scale_of(shift, (p.units[mask] for p, mask in rows), (p.units for p in self.pieces()))


def scale_of(shift: Tensor, some: Iterable[Tensor], every: Iterable[Tensor]) -> tuple[Scale, Ints]:
    """How units are standardized, and why some are left out.

    Args:
        shift: float32[unit], pilot values.
        some: float32[row, unit], by which rows.
        every: float32[row, unit], the rows at which each has to be finite.
    """
    n = 0
    sums = torch.zeros(2, len(shift), dtype=torch.float64, device=shift.device)
    for units in some:
        x = units.double() - shift
        n += len(units)
        sums += torch.stack([x.sum(0), x.square().sum(0)])
    mean = sums[0] / max(n, 1)
    variance = (sums[1] / max(n, 1) - mean.square()).clamp_min(0)
    finite = sums.isfinite().all(0)
    for units in every:
        finite &= units.isfinite().all(0)
    still = constant_units(mean, variance, shift)
    note = torch.where(finite, torch.where(still, CONSTANT_UNIT, 0), NOT_FINITE)
    keep = (note == 0).double()
    mean = torch.where(note == 0, mean + shift, 0)
    return Scale(mean, torch.where(note == 0, variance.sqrt(), 1), keep), note.cpu().numpy()


class _Chunks:
    """Reads the rows of a design, standardized as they come."""

    def __init__(
        self,
        rows: Callable[[], Iterator[tuple[Piece, Tensor]]],
        columns: tuple[int, ...],
        scale: Scale,
        shift: Tensor,
        taken: Regression | None,
    ) -> None:
        self.rows, self.columns, self.scale, self.taken = rows, list(columns), scale, taken
        self.shift = shift[self.columns]

    def __call__(self) -> Iterator[Chunk]:
        mean, deviation, keep = self.scale
        left: list[Chunk] = []
        for piece, mask in self.rows():
            units = piece.units[mask].double()
            if self.taken is not None:
                units -= self.taken.predicted(piece.labels, mask)
            x = torch.where(keep > 0, (units - mean) / deviation, 0).float()
            left.append((x, labels_about(piece.labels, mask, self.columns, self.shift)))
            if sum(len(c[0]) for c in left) >= CHUNK_ROWS:
                yield joined(left)
                left = []
        if left:
            yield joined(left)


def _gathered(tensors: Iterable[Tensor]) -> Ints:
    found = [t.cpu().numpy() for t in tensors]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _kept(chunks: _Chunks, order: Ints) -> Callable[[], Iterator[Chunk]]:
    """The same rows, from memory, in another order."""
    read = list(chunks())
    if not read:
        return lambda: iter(())
    x, y = joined(read)
    del read
    at = torch.from_numpy(order).to(x.device)
    x, y = x[at], y[at]
    kept = [(x[i : i + CHUNK_ROWS], y[i : i + CHUNK_ROWS]) for i in range(0, len(x), CHUNK_ROWS)]
    return lambda: iter(kept)


@dataclass(frozen=True)
class Split:
    """Which records are held out: those whose hash is below a bound."""

    bound: np.uint64
    seed: int

    @classmethod
    def of(cls, records: Iterator[Tensor], share: float, seed: int) -> Split:
        """The split of some records, int64[symbol] in parts; with the share 0 nothing is held out."""
        known = np.unique(np.concatenate([np.unique(r.cpu().numpy()) for r in records]))
        if not share or not len(known):
            return cls(np.uint64(0), seed)
        hashes = np.sort(hashed(known, seed))
        return cls(hashes[min(max(round(share * len(hashes)), 1), len(hashes) - 1)], seed)

    def held_out(self, records: Tensor) -> Tensor:
        """bool[symbol]."""
        return torch.from_numpy(hashed(records.cpu().numpy(), self.seed) < self.bound)


def _by_nulls(labels: Iterator[BatchLabels], columns: Sequence[int]) -> list[tuple[int, ...]]:
    """Columns that have a value at the same symbols, together."""
    patterns: dict[int, list[int]] = {c: [] for c in columns}
    for batch in labels:
        classes = batch.null_class.tolist()
        for column, pattern in patterns.items():
            pattern.append(0 if batch.valid is None else 1 + classes[column])
    found: dict[tuple[int, ...], list[int]] = {}
    for column, pattern in patterns.items():
        found.setdefault(tuple(pattern), []).append(column)
    return [tuple(several) for several in found.values()]
