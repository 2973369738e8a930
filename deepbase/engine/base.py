"""What the engine works on: a job, and the state that a run carries from block to block.

The problem. Every unit of every layer is to be compared with every hypothesis over a dataset of any size, in memory
that does not depend on that size; and a run that stops anywhere must be able to go on to the very same numbers.

The idea. A run is a fold. Blocks of records come in a seeded random order; each block is turned into symbols, labels
and a *partial state* of its own, and at its end, and only then, the partial state is merged into the run's. Between two
blocks the `RunState` is all there is: it can be scored, written, read back, and gone on from. Whatever interrupts a
block takes nothing but that block with it.

What is in memory at one time: the records that are read ahead, the symbols and labels of one block, the activations of
one layer on one batch, and two states (the run's and the block's).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from deepbase.blocks import Block, Column, Floats, Ints, LabelBehavior, Layer, Tokenize
from deepbase.inputs.stream import Records
from deepbase.labels.evaluate import Labels
from deepbase.measures.base import AbstractMeasure, AbstractState
from deepbase.models.base import InspectableModel
from deepbase.query.base import InspectSpec

LayerStates = Mapping[str, Mapping[type[AbstractState], AbstractState]]
"""The states by layer and type."""


@dataclass(frozen=True)
class Job:
    """Everything that the loop needs, bound and checked.

    Attributes:
        spec: what was asked for.
        model: the model, on its device.
        tokenize: texts to encodings.
        layers: the layers to inspect.
        labels: evaluates the hypotheses.
        measures: what is computed.
        records: what is read.
        columns: the columns of the dataset that the hypotheses read.
    """

    spec: InspectSpec
    model: InspectableModel
    tokenize: Tokenize
    layers: tuple[Layer, ...]
    labels: Labels
    measures: tuple[AbstractMeasure, ...]
    records: Records
    columns: Sequence[Column]

    @property
    def state_device(self) -> torch.device:
        """Where the states are: with the model, except on Apple's GPUs, which have no float64."""
        return torch.device("cpu") if self.model.device.type == "mps" else self.model.device

    @property
    def state_types(self) -> tuple[type[AbstractState], ...]:
        """The states that the measures read, each once."""
        return tuple(dict.fromkeys(m.state_type for m in self.measures))

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The names of the hypotheses, in the order of the states' rows."""
        return tuple(x.name for x in self.labels.labels)


@dataclass(frozen=True)
class RunState:
    """What a run has learned from the blocks so far.

    Attributes:
        next_block: the first block that is not in it.
        records_seen, symbols_seen: what it rests on.
        counts: what was lost on the way, by name.
        label_shift: float64[hypothesis], the pilot values of the hypotheses, each from the first block in which it has
            a value; None before the first block.
        symbols: int64[hypothesis], the symbols at which each hypothesis had a value.
        records: int64[hypothesis], the records that these are from.
        layers: the states of the measures.
    """

    next_block: int = 0
    records_seen: int = 0
    symbols_seen: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    label_shift: Floats | None = None
    symbols: Ints | None = None
    records: Ints | None = None
    layers: LayerStates = field(default_factory=dict)

    def after(self, block: Block, labels: LabelBehavior, shift: Floats, partial: LayerStates) -> Self:
        """The state with one more block merged in."""
        symbols, records = _coverage(labels)
        return type(self)(
            next_block=block.index + 1,
            records_seen=self.records_seen + block.records,
            symbols_seen=self.symbols_seen + len(block.symbols),
            counts={k: self.counts.get(k, 0) + block.counts.get(k, 0) for k in {**self.counts, **block.counts}},
            label_shift=shift,
            symbols=symbols if self.symbols is None else self.symbols + symbols,
            records=records if self.records is None else self.records + records,
            layers=_merged(self.layers, partial),
        )

    def to_bytes(self) -> bytes:
        """The state as safetensors."""
        tensors: dict[str, Tensor] = {}
        if self.label_shift is not None and self.symbols is not None and self.records is not None:
            tensors["label_shift"] = torch.from_numpy(self.label_shift)
            tensors["symbols"] = torch.from_numpy(self.symbols)
            tensors["records"] = torch.from_numpy(self.records)
        for layer, states in self.layers.items():
            for kind, state in states.items():
                tensors.update({f"state/{kind.__name__}/{n}/{layer}": v for n, v in state.arrays().items()})
        facts = {"next_block": self.next_block, "records_seen": self.records_seen, "symbols_seen": self.symbols_seen}
        return bytes(save_tensors(tensors, {"run": json.dumps({**facts, "counts": dict(self.counts)})}))

    @classmethod
    def from_bytes(cls, data: bytes, state_types: Sequence[type[AbstractState]], device: torch.device) -> Self:
        """The state that `to_bytes` wrote."""
        tensors = load_tensors(data)
        facts = json.loads(_metadata(data)["run"])
        layers: dict[str, dict[type[AbstractState], AbstractState]] = {}
        for kind in state_types:
            arrays: dict[str, dict[str, Tensor]] = {}
            prefix = f"state/{kind.__name__}/"
            for name, tensor in tensors.items():
                if name.startswith(prefix):
                    array, _, layer = name.removeprefix(prefix).partition("/")
                    arrays.setdefault(layer, {})[array] = tensor
            for layer, values in arrays.items():
                layers.setdefault(layer, {})[kind] = kind.from_arrays(values, device)
        for name in ("label_shift", "symbols", "records"):
            facts[name] = tensors[name].numpy() if name in tensors else None
        return cls(**facts, layers=layers)


@dataclass(frozen=True)
class Progress:
    """What an onlooker may want to know: after each block, and now and then inside one."""

    records_seen: int
    records_expected: int
    symbols_seen: int
    seconds: float


def _merged(all_states: LayerStates, partial: LayerStates) -> LayerStates:
    """The states of both; a block without symbols has none, and neither has a run before its first."""
    if not all_states or not partial:
        return all_states or partial
    return {layer: {t: all_states[layer][t].merge(s) for t, s in states.items()} for layer, states in partial.items()}


def _coverage(labels: LabelBehavior) -> tuple[Ints, Ints]:
    """How many symbols and records each hypothesis has a value at."""
    starts = np.flatnonzero(np.diff(labels.record, prepend=-1))
    symbols = labels.valid.sum(0)
    records = np.logical_or.reduceat(labels.valid, starts, axis=0).sum(0) if len(starts) else symbols
    return symbols[labels.null_class], records[labels.null_class]


def _metadata(data: bytes) -> dict[str, str]:
    """The free text in the header of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(data[8 : 8 + size])
    return header["__metadata__"]
