"""What the engine works on: a job, and the state that a run carries from block to block.

The problem. Every unit of every layer is to be compared with every hypothesis over a dataset of any size, in memory
that does not depend on that size; and a run that stops anywhere must be able to go on to the very same numbers.

The idea. A run is a fold. Blocks of records come in a seeded random order; each block is read once, and for every model
it is turned into symbols, labels and *partial states* of its own. At its end, and only then, they are merged into the
run's. Between two blocks the `RunState` is all there is: it can be scored, written, read back, and gone on from.
Whatever interrupts a block takes nothing but that block with it.

Where records are grouped, every group, a *slice*, has states of its own. The forwards are the same as without: within a
batch the symbols of a slice stand together, and are folded into its states.

What is in memory at one time: the models, the records that are read ahead, the symbols and labels of one block, the
activations of one layer on one batch, and the states of all slices and models, twice (the run's and the block's).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from deepbase.blocks import Block, Column, Floats, Ints, Layer, Tokenize
from deepbase.inputs.stream import Records
from deepbase.labels.base import Label, categories, whole
from deepbase.labels.evaluate import Labels
from deepbase.measures.base import AbstractMeasure, AbstractState, Target
from deepbase.measures.own import a_state, named_arrays
from deepbase.models.base import InspectableModel
from deepbase.query.base import InspectSpec

LayerStates = Mapping[str, Mapping[type[AbstractState], AbstractState]]
"""The states by layer and type."""
Slice = tuple[str | None, ...]
"""The values of the columns of records by which they are grouped; empty where they are not."""


@dataclass(frozen=True)
class ChosenLayer:
    """A layer that is inspected.

    Attributes:
        of: the layer.
        units: int64[unit], the numbers of the units that are asked for, ascending; None for all.
    """

    of: Layer
    units: Ints | None = None

    @property
    def layer(self) -> str:
        """The torch module path."""
        return self.of.layer

    @property
    def width(self) -> int:
        """How many units are asked for."""
        return self.of.width if self.units is None else len(self.units)

    @property
    def numbers(self) -> Ints:
        """int64[unit], the numbers of the units that are asked for."""
        return np.arange(self.of.width) if self.units is None else self.units


@dataclass(frozen=True)
class Part:
    """What is done with one model.

    Attributes:
        name: the name of the model.
        model: the model, on its device.
        tokenize: texts to encodings.
        layers: the layers to inspect.
        tags: the model's row of `models` as texts, by column.
        baseline: whether this is the model of the same name with random weights, which probes are compared with.
    """

    name: str
    model: InspectableModel
    tokenize: Tokenize
    layers: tuple[ChosenLayer, ...]
    tags: Mapping[str, str | None] = field(default_factory=dict)
    baseline: bool = False

    @property
    def key(self) -> str:
        """What its states are called."""
        return f"{self.name} (random weights)" if self.baseline else self.name


@dataclass(frozen=True)
class Job:
    """Everything that the loop needs, bound and checked.

    Attributes:
        spec: what was asked for, its measures and columns under their full names.
        parts: the models.
        labels: evaluates the hypotheses.
        measures: what is computed.
        records: what is read.
        columns: the columns of the dataset that the hypotheses read.
        given: what measures are given, in words, as the numbers of the confounds.
    """

    spec: InspectSpec
    parts: tuple[Part, ...]
    labels: Labels
    measures: tuple[AbstractMeasure, ...]
    records: Records
    columns: Sequence[Column]
    given: Mapping[tuple[str, ...], tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def state_device(self) -> torch.device:
        """Where the states are: with the models, except on Apple's GPUs, which have no float64."""
        device = self.parts[0].model.device
        return torch.device("cpu") if device.type == "mps" else device

    @property
    def state_types(self) -> tuple[type[AbstractState], ...]:
        """The states that the measures read, each once."""
        return tuple(dict.fromkeys(m.reads for m in self.measures))

    def states_of(self, part: Part) -> tuple[type[AbstractState], ...]:
        """Those that they read of one model."""
        return tuple(dict.fromkeys(m.reads for m in self.measures if m.needs_baseline or not part.baseline))

    def memory(self, layer: ChosenLayer) -> int:
        """Bytes that one state of a layer may take, where it can do with more or with less."""
        units = sum(x.width for part in self.parts for x in part.layers)
        return self.room * layer.width // (units * self.records.slices * max(1, self.elastic))

    @property
    def room(self) -> int:
        """Bytes for what measures keep of the data."""
        return int(self.spec.memory * 2**30)

    @cached_property
    def elastic(self) -> int:
        """How many kinds of states can do with more memory or with less, and share it."""
        return sum(kind.memory(1, 1, 2**20, 2**10) != kind.memory(1, 1, 2**20, 2**40) for kind in self.state_types)

    @cached_property
    def targets(self) -> Mapping[AbstractMeasure, list[tuple[str | None, Target]]]:
        """What each measure compares units with, by the name of the hypothesis."""
        return {m: self._targets(m) for m in self.measures}

    def _targets(self, measure: AbstractMeasure) -> list[tuple[str | None, Target]]:
        """What a measure compares units with.

        A category is scored by the measures that take categories, its values, as booleans, by those that take booleans.
        Any other hypothesis that a measure does not take is there, so that its rows can say so.
        """
        if not measure.kinds:
            return [(None, Target(None))]
        found: list[tuple[str | None, Target]] = []
        given = self.given.get(measure.confounds, ())
        columns: dict[str, list[int]] = {}
        for i, label in enumerate(self.labels.labels):
            if label.category:
                columns.setdefault(label.category, []).append(i)
            if not label.category or label.kind in measure.takes:
                found.append((label.name, Target(label.kind, (i,), given)))
        if "category" in measure.takes:
            found += [(name, Target("category", tuple(several), given)) for name, several in columns.items()]
        return found

    def coverage(self, target: Target) -> int:
        """Where `SliceState` tells on how many symbols and records a target is compared."""
        if not target.columns:
            return len(self.labels.labels)  # all symbols
        (first, *_), sets = target.columns, self.labels.given.sets if self.labels.given else ()
        return first + (1 + sets.index(target.given) if target.given else 0) * (len(self.labels.labels) + 1)

    @property
    def scored(self) -> list[Label]:
        """The hypotheses of the run's scores: labels, and categories where a measure takes them."""
        labels = list(self.labels.labels)
        if any("category" in m.takes for m in self.measures):
            labels += [whole(members) for members in categories(labels).values()]
        return labels

    @property
    def needs_records(self) -> bool:
        """Whether states have to keep the records of symbols."""
        return any(m.needs_records for m in self.measures)

    @property
    def is_quick(self) -> bool:
        """Whether the scores follow from the states in no time."""
        return all(kind.quick for kind in self.state_types)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The names of the hypotheses, in the order of the states' rows."""
        return tuple(x.name for x in self.labels.labels)


@dataclass(frozen=True)
class SliceState:
    """What is known of one model on one slice of the records.

    Attributes:
        label_shift: float64[hypothesis], the pilot values of the hypotheses, each from the first block in which it has
            a value.
        symbols: int64[hypothesis + 1], the symbols at which each hypothesis had a value, and all symbols; then, for
            each set of confounds that measures are given, the same where all of the set had a value.
        records: int64[as many], the records that these are from.
        with_true, with_false: int64[hypothesis], the records in which it is not 0 somewhere, and is 0 somewhere.
        layers: the states of the measures.
    """

    label_shift: Floats
    symbols: Ints
    records: Ints
    with_true: Ints
    with_false: Ints
    layers: LayerStates

    @property
    def carriers(self) -> Ints:
        """int64[hypothesis]: how many records tell what is true of a boolean from what is not."""
        return np.minimum(self.with_true, self.with_false)

    def with_block(self, later: Self) -> Self:
        """The state with that of a later block, which may be used up; this one is not changed."""
        merged = {
            layer: {kind: a_state(kind, self.layers[layer][kind].merge_last(s), "merge") for kind, s in states.items()}
            for layer, states in later.layers.items()
        }
        counts = {name: getattr(self, name) + getattr(later, name) for name in COUNTS}
        return type(self)(later.label_shift, **counts, layers=merged)


SliceStates = Mapping[tuple[Slice, str], SliceState]
"""The states by slice and model; a slice without a symbol has none."""


@dataclass(frozen=True)
class RunState:
    """What a run has learned from the blocks so far.

    Attributes:
        next_block: the first block that is not in it.
        records_seen: how many records it rests on.
        symbols_seen: how many symbols, of all models together.
        looked: how many records it rested on when its scores were last looked at; 0 if never.
        counts: what was lost on the way, by name, of all models together.
        slices: what is known of each slice and model.
    """

    next_block: int = 0
    records_seen: int = 0
    symbols_seen: int = 0
    looked: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    slices: SliceStates = field(default_factory=dict)

    def after(self, blocks: Sequence[Block], partial: SliceStates) -> Self:
        """The state with one more block of records merged in, as each model read it."""
        counts = dict(self.counts)
        for block in blocks:
            for name, count in block.counts.items():
                counts[name] = counts.get(name, 0) + count
        merged = dict(self.slices)
        for key, state in partial.items():
            merged[key] = merged[key].with_block(state) if key in merged else state
        return replace(
            self,
            next_block=blocks[0].index + 1,
            records_seen=self.records_seen + blocks[0].records,
            symbols_seen=self.symbols_seen + sum(len(block.symbols) for block in blocks),
            counts=counts,
            slices=merged,
        )

    @property
    def is_saved(self) -> bool:
        """Whether the state can be written: some measures keep more than a checkpoint holds."""
        return all(s.saved for part in self.slices.values() for x in part.layers.values() for s in x.values())

    def to_bytes(self) -> bytes:
        """The state as safetensors."""
        tensors: dict[str, Tensor] = {}
        for i, part in enumerate(self.slices.values()):
            for name in ARRAYS:
                tensors[f"{i}/{name}"] = torch.from_numpy(getattr(part, name)).clone()  # slices may share theirs
            for layer, states in part.layers.items():  # in the order of the state types: two may have one name
                for k, state in enumerate(states.values()):
                    arrays = named_arrays(state).items()
                    tensors.update({f"{i}/state/{k}/{n}/{layer}": v for n, v in arrays})
        facts = {name: getattr(self, name) for name in ("next_block", "records_seen", "symbols_seen", "looked")}
        run = {**facts, "counts": dict(self.counts), "slices": list(self.slices)}
        return bytes(save_tensors(tensors, {"run": json.dumps(run)}))

    @classmethod
    def from_bytes(cls, data: bytes, state_types: Sequence[type[AbstractState]], device: torch.device) -> Self:
        """The state that `to_bytes` wrote, of a run with the same state types in the same order."""
        tensors = load_tensors(data)
        facts = json.loads(_metadata(data)["run"])
        parts: list[dict[str, Tensor]] = [{} for _ in facts["slices"]]
        for name, tensor in tensors.items():
            number, _, rest = name.partition("/")
            parts[int(number)][rest] = tensor
        keys = [(tuple(values), model) for values, model in facts.pop("slices")]
        states = [_slice_state(part, state_types, device) for part in parts]
        return cls(**facts, slices=dict(zip(keys, states, strict=True)))


COUNTS = ("symbols", "records", "with_true", "with_false")
ARRAYS = ("label_shift", *COUNTS)


def _slice_state(
    tensors: Mapping[str, Tensor], state_types: Sequence[type[AbstractState]], device: torch.device
) -> SliceState:
    """The state of a slice that was written as these arrays."""
    layers: dict[str, dict[type[AbstractState], AbstractState]] = {}
    for k, kind in enumerate(state_types):
        arrays: dict[str, dict[str, Tensor]] = {}
        prefix = f"state/{k}/"
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                array, _, layer = name.removeprefix(prefix).partition("/")
                arrays.setdefault(layer, {})[array] = tensor
        for layer, values in arrays.items():
            layers.setdefault(layer, {})[kind] = kind.from_arrays(values, device)
    return SliceState(**{name: tensors[name].numpy() for name in ARRAYS}, layers=layers)


@dataclass(frozen=True)
class Progress:
    """What an onlooker may want to know: after each block, and now and then inside one.

    Attributes:
        records_seen, symbols_seen: so far.
        records_expected: how many there will be if nothing stops the run before.
        seconds: since it began.
        pairs: how many scores are wanted; 0 before the first look at them.
        open: how many of them were not settled at the last look.
        widest: half the width of the widest interval then; infinite if one has none.
    """

    records_seen: int
    records_expected: int
    symbols_seen: int
    seconds: float
    pairs: int = 0
    open: int = 0
    widest: float = math.inf


def _metadata(data: bytes) -> dict[str, str]:
    """The free text in the header of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(data[8 : 8 + size])
    return header["__metadata__"]
