"""Data -> states: in one block or many, in batches of any size, merged in the order of any tree."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from deepbase.blocks import Floats
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.batch import BatchLabels
from deepbase.measures.own import conventional
from deepbase.measures.probes.base import AbstractProbe
from deepbase.testing.data import Data, label_behavior, label_shift

CPU = torch.device("cpu")
PLENTY = 2**40
"""Bytes: more than any state of these data asks for."""
LITTLE = 2**14
"""Bytes: too little for the rows of most of these data."""


def block_state(
    kind: type[AbstractState],
    block: Data,
    cuts: Iterable[int] = (),
    *,
    shift: Floats | None = None,
    rng: np.random.Generator | None = None,
    like: AbstractState | None = None,
    memory: int = PLENTY,
    device: torch.device = CPU,
    shuffled: bool = False,
) -> AbstractState:
    """The state of one block.

    Args:
        kind: the type of the state.
        block: its symbols.
        cuts: where its batches begin and end; empty batches are left out, as a run does.
        shift: float64[column], the pilot values of the hypotheses; 0 without.
        rng: splits null classes at random, and orders the batches if they are `shuffled`.
        like: a state whose pilot values are used; without, those of the first batch are.
        memory: bytes that the state may take.
        device: where it is.
        shuffled: whether the batches come in an order of chance.
    """
    labels = label_behavior(block, rng)
    shift = np.zeros(len(labels.kinds)) if shift is None else shift
    bounds = sorted({0, block.symbols, *(min(c, block.symbols) for c in cuts)})
    spans = list(itertools.pairwise(bounds)) or [(0, 0)]
    if shuffled and rng is not None:
        rng.shuffle(spans)
    state: AbstractState | None = None
    units = torch.from_numpy(block.x.copy()).to(device)  # a wrong state writes to its own ones only
    for first, end in spans:
        batch = BatchLabels.of(labels, first, end - first, shift, device)
        if state is None and like is not None:
            state = like.empty_like(batch)
        state = kind.first(units[first:end], batch, memory) if state is None else state.update(units[first:end], batch)
    assert state is not None
    return state


def block_states(
    kind: type[AbstractState],
    data: Data,
    cuts: Iterable[int],
    rng: np.random.Generator | None = None,
    *,
    memory: int = PLENTY,
    device: torch.device = CPU,
) -> list[AbstractState]:
    """The states of the blocks between some symbols, each of two batches, with pilot values of their own.

    Args:
        kind: the type of the states.
        data: the symbols.
        cuts: where blocks begin and end.
        rng: moves the pilot values and splits null classes; without, they are what the block suggests.
        memory: bytes that each state may take.
        device: where they are.
    """
    return [
        block_state(
            kind,
            block := data.rows(a, b),
            [(b - a) // 3],
            shift=label_shift(block, rng),
            rng=rng,
            memory=memory,
            device=device,
        )
        for a, b in itertools.pairwise(sorted({0, data.symbols, *cuts}))
    ]


def merged(states: Sequence[AbstractState], order: Iterable[int] = ()) -> AbstractState:
    """Merge two of the states, then two of what is left, and so on.

    Args:
        states: of blocks.
        order: which come next, as places in what is left; the first ones after its end.
    """
    left = list(states)
    picks = iter([*order, *[0] * (2 * len(left))])
    while len(left) > 1:
        a = left.pop(next(picks) % len(left))
        b = left.pop(next(picks) % len(left))
        left.append(a.merge(b))
    return left[0]


def targets_of(measure: AbstractMeasure, data: Data) -> dict[str, Target]:
    """What a measure is tried on, by name: as in a run, categories only where it takes them."""
    if not measure.kinds:
        return {"": Target(None)}
    return {n: t for n, t in data.targets.items() if t.kind != "category" or "category" in measure.takes}


def scores(measure: AbstractMeasure, state: AbstractState, data: Data) -> Values:
    """The scores of a state of data, with the conventions of a run."""
    targets = list(targets_of(measure, data).values())
    found = measure.compute(state, targets)
    return found if isinstance(measure, AbstractProbe) else conventional(measure, found, targets, len(data.units))


def bits(state: AbstractState) -> dict[str, torch.Tensor]:
    """The arrays of a state, to compare."""
    return {name: value.clone() for name, value in state.arrays().items()}


def size(state: AbstractState) -> int:
    """Bytes of the arrays of a state."""
    return sum(a.numel() * a.element_size() for a in state.arrays().values())


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether arrays are the same, NaN included."""
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(_plain(a[n]), _plain(b[n])) for n in a)


def _plain(value: torch.Tensor) -> torch.Tensor:
    return value.nan_to_num(7.5) if value.is_floating_point() else value
