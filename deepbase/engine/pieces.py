"""The pieces of a run: which units and hypotheses go on, and what the others have left.

The problem. Some scores are settled after 300 records, others after 300,000. What is settled should not be computed any
more; but nothing that it gave may be lost, since a later question may want it to be more precise.

The idea. A run begins as one piece: all units of all layers, and all hypotheses. After a look, a piece may be split in
up to three, each of which is a rectangle again: what is still open goes on, the other hypotheses and the other units
stay as they are, with their states and the number of the next block that they have not seen. A piece is a run of its
own in all but name: it can be scored, written, read back, and gone on with from its own block.

A piece that stays takes no time, only the memory of its states, which is never more than that of the run at its
beginning. A layer that no piece needs any more is no longer run. Splitting costs a copy of the states, and is done
where it spares enough (`LEAST_GAIN`).

A model that is compared with its random twin, and groups that are compared with each other, stay together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from deepbase.blocks import Bools, Ints
from deepbase.engine.base import ChosenLayer, Job, RunState, SliceState
from deepbase.engine.goals import Standings
from deepbase.engine.looks import FIRST_LOOK, TOKENS, Spending
from deepbase.engine.results import OPEN, Scores, scores_of
from deepbase.inputs.stream import FIRST_SHARE

LEAST_GAIN = 0.25
"""The least share of the open scores of a piece that has to be settled before it is split."""

Kept = Mapping[str, Mapping[str, Ints | None]]
"""By model and layer, which of the units that the job asks for a piece has; None for all."""


@dataclass(frozen=True)
class Piece:
    """A part of a run.

    Attributes:
        job: what it has to do.
        state: how far it is.
        kept: its layers and units, as places in those of the whole job.
        columns: int64, its labels, as places in those of the whole job.
        level: the chance that one of its intervals misses, which its last look spent.
        due: at how many records it is to be looked at.
        going: whether it goes on.
    """

    job: Job
    state: RunState
    kept: Kept
    columns: Ints
    level: float = 0.0
    due: int = FIRST_LOOK
    going: bool = True

    @classmethod
    def whole(cls, job: Job, state: RunState) -> Piece:
        """All of a job."""
        kept = {part.name: dict.fromkeys((x.layer for x in part.layers), None) for part in job.parts}
        piece = cls(job, state, kept, np.arange(len(job.labels.labels)))
        return replace(piece, due=max(FIRST_LOOK, min(piece.between_looks, job.records.matching // FIRST_SHARE)))

    @property
    def between_looks(self) -> int:
        """How many records are read from one look to the next, at least."""
        return math.ceil(TOKENS * len(self.columns) * len(self.job.measures) / self.job.records.tokens)

    @property
    def unread(self) -> float:
        """The share of the records that it stands for and has not read."""
        return 1.0 if self.job.spec.population else self.job.records.unread(self.state.records_seen)

    @property
    def spending(self) -> Spending:
        """How sure its looks have to be."""
        records = self.job.records
        dataset = math.inf if self.job.spec.population else float(records.matching)
        return Spending(1 - self.job.spec.confidence, records.expected, dataset)

    @property
    def ended(self) -> bool:
        """Whether it has read all that it may."""
        records = self.job.records
        return self.state.next_block >= records.blocks or self.state.records_seen >= records.limit

    def scores(self, *, spreads: bool) -> Iterator[Scores]:
        """Its scores."""
        for item in scores_of(self.job, self.state, spreads=spreads and self.unread > 0):
            yield replace(item, level=self.level, unread=self.unread)

    def split(self, standings: Sequence[tuple[Scores, Standings]]) -> list[Piece]:
        """What goes on, and what stays; the piece itself, if splitting it is not worth it.

        Args:
            standings: what a look found of its scores.
        """
        by_column, by_unit = self._open(standings)
        if not any(u.any() for u in by_unit.values()):
            return [replace(self, going=False)]
        divisible = all(s.divisible for f in self.state.slices.values() for x in f.layers.values() for s in x.values())
        if not divisible:
            by_column = np.ones_like(by_column)
            by_unit = {at: np.full(u.shape, u.any()) for at, u in by_unit.items()}
        kept = by_column.mean() if by_column.size else 1.0
        kept *= np.concatenate(list(by_unit.values())).mean()
        if kept > 1 - LEAST_GAIN or not self._is_divisible:
            return [self]
        every = {at: np.ones_like(u) for at, u in by_unit.items()}
        left = []
        if not by_column.all():
            left.append(self._part(~by_column, every))
        if not all(u.all() for u in by_unit.values()):
            left.append(self._part(by_column, {at: ~u for at, u in by_unit.items()}))
        return [self._part(by_column, by_unit), *(replace(p, going=False) for p in left)]

    @property
    def _is_divisible(self) -> bool:
        measures = self.job.measures
        together = any(m.grouped and (not m.kinds or getattr(m, "group", "") == "model") for m in measures)
        return not together and not any(m.needs_baseline for m in measures)

    def _open(self, standings: Sequence[tuple[Scores, Standings]]) -> tuple[Bools, dict[tuple[str, str], Bools]]:
        """bool[column] and by model and layer bool[unit]: what has an open pair."""
        by_column = np.zeros(len(self.columns), dtype=bool)
        by_unit = {(p.name, x.layer): np.zeros(x.width, dtype=bool) for p in self.job.parts for x in p.layers}
        for item, standing in standings:
            is_open = standing == OPEN
            by_unit[item.model, item.layer.layer] |= is_open.any(0)
            for row, (_, target) in zip(is_open.any(1).tolist(), self.job.targets.get(item.measure, ()), strict=False):
                if row:
                    by_column[list(target.columns)] = True
        labels = self.job.labels.labels
        by_column |= not by_column.any()  # where only facts of units are open, their piece has hypotheses all the same
        for name in {x.category for x in labels if x.category}:  # the values of a category stay together
            of = np.array([x.category == name for x in labels])
            by_column[of] = by_column[of].any()
        return by_column, by_unit

    def _part(self, columns: Bools, units: Mapping[tuple[str, str], Bools]) -> Piece:
        """Some hypotheses, and some units."""
        chosen = {at: None if u.all() else np.flatnonzero(u) for at, u in units.items() if u.any()}
        job = _narrowed(self.job, np.flatnonzero(columns), chosen)
        slices = {
            (of, model): _selected(found, model, np.flatnonzero(columns), chosen)
            for (of, model), found in self.state.slices.items()
            if any(m == model for m, _ in chosen)
        }
        kept = {
            model: {
                layer: _among(own, chosen[model, layer]) for layer, own in layers.items() if (model, layer) in chosen
            }
            for model, layers in self.kept.items()
        }
        kept = {model: layers for model, layers in kept.items() if layers}
        return replace(
            self, job=job, state=replace(self.state, slices=slices), kept=kept, columns=self.columns[columns]
        )


def _among(own: Ints | None, chosen: Ints | None) -> Ints | None:
    """Some of some places."""
    if chosen is None:
        return own
    return chosen if own is None else own[chosen]


def _narrowed(job: Job, columns: Ints, chosen: Mapping[tuple[str, str], Ints | None]) -> Job:
    """A job with some of its hypotheses, and some units of some of its layers."""
    parts = []
    for part in job.parts:
        layers = tuple(_some(x, chosen[part.name, x.layer]) for x in part.layers if (part.name, x.layer) in chosen)
        if layers:
            parts.append(replace(part, layers=layers))
    return replace(job, parts=tuple(parts), labels=job.labels.only(columns.tolist()))


def _some(layer: ChosenLayer, units: Ints | None) -> ChosenLayer:
    return layer if units is None else ChosenLayer(layer.of, layer.numbers[units])


def _selected(
    found: SliceState, model: str, columns: Ints, chosen: Mapping[tuple[str, str], Ints | None]
) -> SliceState:
    """What a slice knows of some units and hypotheses."""
    hypotheses = len(found.label_shift)
    whole = len(columns) == hypotheses
    sets = len(found.symbols) // (hypotheses + 1)
    places = np.append(columns, hypotheses)
    of_sets = np.concatenate([places + i * (hypotheses + 1) for i in range(sets)])
    layers = {
        layer: {kind: s.select(chosen[model, layer], None if whole else columns) for kind, s in states.items()}
        for layer, states in found.layers.items()
        if (model, layer) in chosen
    }
    return SliceState(
        label_shift=found.label_shift[columns],
        symbols=found.symbols[of_sets],
        records=found.records[of_sets],
        with_true=found.with_true[columns],
        with_false=found.with_false[columns],
        layers=layers,
    )


def to_bytes(pieces: Sequence[Piece]) -> bytes:
    """All pieces as safetensors: their states, and what they are of."""
    tensors = {str(i): torch.frombuffer(bytearray(p.state.to_bytes()), dtype=torch.uint8) for i, p in enumerate(pieces)}
    of = [
        {
            "kept": {m: {x: None if u is None else u.tolist() for x, u in own.items()} for m, own in p.kept.items()},
            "columns": p.columns.tolist(),
            "level": p.level,
            "due": p.due,
            "going": p.going,
        }
        for p in pieces
    ]
    return bytes(
        save_tensors(tensors | {"of": torch.frombuffer(bytearray(json.dumps(of).encode()), dtype=torch.uint8)})
    )


def from_bytes(job: Job, data: bytes) -> list[Piece]:
    """The pieces of a job that `to_bytes` wrote."""
    tensors = load_tensors(data)
    found = []
    for i, of in enumerate(json.loads(bytes(tensors["of"].numpy()))):
        state = RunState.from_bytes(bytes(tensors[str(i)].numpy()), job.state_types, job.state_device)
        kept = {
            model: {x: None if u is None else np.array(u, dtype=np.int64) for x, u in layers.items()}
            for model, layers in of["kept"].items()
        }
        columns = np.array(of["columns"], dtype=np.int64)
        chosen = {(model, x): u for model, layers in kept.items() for x, u in layers.items()}
        own = _narrowed(job, columns, chosen)
        found.append(Piece(own, state, kept, columns, of["level"], of["due"], of["going"]))
    return found
