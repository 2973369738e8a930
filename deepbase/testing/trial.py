"""A measure on trial: its states over data, in one block or many, and whether its scores are right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from deepbase.blocks import Floats
from deepbase.measures.base import AbstractMeasure, AbstractState, Values
from deepbase.measures.batch import BatchLabels
from deepbase.testing import cases
from deepbase.testing.comparison import compare, compare_groups
from deepbase.testing.data import Data, label_behavior, label_shift
from deepbase.testing.references import Expected, Reference, expected_of
from deepbase.testing.states import PLENTY, block_state, block_states, scores


@dataclass(frozen=True, eq=False)
class Trial:
    """A measure, and with what and how it is tried.

    Attributes:
        measure: which.
        reference: what its scores should be.
        memory: bytes that a state may take.
        device: where the states are.
        seed: of all that is random.
        trees: how many random trees of blocks are merged.
        expected: what the scores of units for some data should be, once it was asked for.
        known: what one pass over some data gives, likewise.
        how: what is being tried, for messages.
    """

    measure: AbstractMeasure
    reference: Reference
    memory: int
    device: torch.device
    seed: int
    trees: int
    expected: dict[Data, Expected] = field(default_factory=dict)
    known: dict[Data, Values] = field(default_factory=dict)
    how: list[str] = field(default_factory=list)

    @property
    def kind(self) -> type[AbstractState]:
        """The type of the state."""
        return self.measure.reads

    @property
    def data(self) -> Data:
        """The hard data that most checks use."""
        return cases.planted(60, self.seed) if self.measure.grouped else cases.hard(240, self.seed)

    def cuts(self, data: Data, rng: np.random.Generator) -> list[int]:
        """Where blocks begin, at random; between records, for a measure that must not have them divided."""
        bounds = data.starts[1:] if self.measure.grouped else np.arange(1, data.symbols)
        return sorted(set(rng.choice(bounds, int(rng.integers(9))).tolist()))

    def state(
        self,
        data: Data,
        cuts: Iterable[int] = (),
        *,
        shift: Floats | None = None,
        rng: np.random.Generator | None = None,
        like: AbstractState | None = None,
    ) -> AbstractState:
        """The state of one block, its batches in an order of chance if there is a generator; see `block_state`."""
        shift = label_shift(data) if shift is None else shift
        return block_state(
            self.kind,
            data,
            cuts,
            shift=shift,
            rng=rng,
            like=like,
            memory=self.memory,
            device=self.device,
            shuffled=rng is not None,
        )

    def blocks(self, data: Data, cuts: Iterable[int], rng: np.random.Generator | None = None) -> list[AbstractState]:
        """The states of some blocks; see `block_states`."""
        return block_states(self.kind, data, cuts, rng, memory=self.memory, device=self.device)

    def labels(self, data: Data, shift: Floats) -> BatchLabels:
        """The labels of all symbols in one batch."""
        return BatchLabels.of(label_behavior(data), 0, data.symbols, shift, self.device)

    def units(self, data: Data) -> torch.Tensor:
        """float32[symbol, unit]."""
        return torch.from_numpy(data.x.copy()).to(self.device)

    def right(self, state: AbstractState, data: Data) -> None:
        """Compare the scores of a state with what they should be."""
        found = scores(self.measure, state, data)
        if self.measure.grouped:
            compare_groups(self.measure, found, self._one_pass(data), data)
            return
        if data not in self.expected:
            one_pass = None if callable(self.reference.score) else self._one_pass(data)
            self.expected[data] = expected_of(self.measure, self.reference, data, one_pass)
        compare(self.measure, found, self.expected[data], self.reference, approximate=self.memory != PLENTY)

    def _one_pass(self, data: Data) -> Values:
        """The scores of all symbols in one batch, with as much memory as they need."""
        if data not in self.known:
            state = block_state(self.kind, data, shift=label_shift(data))
            self.known[data] = scores(self.measure, state, data)
        return self.known[data]

    @contextmanager
    def trying(self, how: str) -> Iterator[None]:
        """Say what is being tried, if it fails."""
        self.how.append(how)
        yield
        self.how.pop()
