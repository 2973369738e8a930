"""What any state passes: its written form, its memory, and whose storage it writes to."""

from __future__ import annotations

import numpy as np
import torch

from deepbase.measures.base import AbstractState
from deepbase.measures.batch import BatchLabels
from deepbase.testing.data import Data, hard_data, label_behavior, label_shift
from deepbase.testing.states import bits, merged, same_bits, scores, size
from deepbase.testing.trial import Trial

SLACK = 2**12
"""Bytes by which a state may be larger than it said: the few numbers that it has once."""


def written_form(trial: Trial) -> None:
    """A state that is written and read again gives the same scores, and goes on to the same, bit for bit."""
    if not trial.kind.saved:
        return
    data = trial.data
    whole = merged(trial.blocks(data, [100], np.random.default_rng(trial.seed)))
    arrays = whole.arrays()
    if any(value.device.type != "cpu" for value in arrays.values()):
        raise AssertionError(f"arrays() of {trial.kind.__name__} are not all on the CPU")
    again = trial.kind.from_arrays(arrays, trial.device)
    if not same_bits(whole.arrays(), again.arrays()):
        raise AssertionError(f"a {trial.kind.__name__} that is written and read again has other arrays")
    before, after = (scores(trial.measure, state, data) for state in (whole, again))
    if not np.array_equal(before.unit_score, after.unit_score, equal_nan=True):
        raise AssertionError(f"a {trial.kind.__name__} that is written and read again has other scores")
    more = trial.state(data)
    if not same_bits(whole.merge(more).arrays(), again.merge(more).arrays()):
        raise AssertionError(f"a {trial.kind.__name__} that is written and read again merges to another state")
    state = trial.state(data)
    arrays = state.arrays()
    kept = {name: value.clone() for name, value in arrays.items()}
    state.update(trial.units(data), _labels(trial, data))
    if not same_bits(arrays, kept):
        raise AssertionError(f"arrays() of {trial.kind.__name__} change when the state goes on: give copies")


def untouched(trial: Trial) -> None:
    """Folding changes neither the units nor the labels, `merge` neither state, `merge_last` not the first."""
    data, shift = trial.data, label_shift(trial.data)
    units, labels = trial.units(data), _labels(trial, data)
    valid = labels.valid if labels.valid is not None else labels.values
    inputs = {"units": units, "values": labels.values, "valid": valid, "shift": labels.shift}
    inputs |= {"null_class": labels.null_class, "record": labels.record}
    before = {name: value.clone() for name, value in inputs.items()}
    state = trial.kind.first(units, labels, trial.memory).update(units, labels)
    state.merge(trial.kind.first(units, labels, trial.memory)).update(units, labels)
    if not same_bits(inputs, before):
        raise AssertionError(f"{trial.kind.__name__} changes the units or the labels that it is given")
    a, b = trial.blocks(data, [100], np.random.default_rng(trial.seed + 1))
    kept = [_seen(trial, state, part) for state, part in ((a, data), (b, data))]
    a.merge(b).update(units, BatchLabels.of(label_behavior(data), 0, data.symbols, 0 * shift, trial.device))
    for name, state, old in (("the first", a, kept[0]), ("the second", b, kept[1])):
        if not same_bits(_seen(trial, state, data), old):
            raise AssertionError(f"merge() of {trial.kind.__name__} changes {name} of its states, or what follows does")
    _merged_last(trial)


def _merged_last(trial: Trial) -> None:
    """`merge_last` gives what `merge` gives, and leaves the first state as it is; the blocks are those of a run."""
    halves = (trial.data.rows(0, 100), trial.data.rows(100, trial.data.symbols))
    shift = label_shift(halves[0])
    first = trial.state(halves[0], shift=shift)
    second = trial.state(halves[1], shift=shift, like=first)
    kept, expected = _seen(trial, first, halves[0]), _seen(trial, first.merge(second), trial.data)
    if not same_bits(_seen(trial, first.merge_last(second), trial.data), expected):
        raise AssertionError(f"merge_last() of {trial.kind.__name__} gives another state than merge()")
    if not same_bits(_seen(trial, first, halves[0]), kept):
        raise AssertionError(f"merge_last() of {trial.kind.__name__} changes the first of its states")


def _seen(trial: Trial, state: AbstractState, data: Data) -> dict[str, torch.Tensor]:
    """All that can be seen of a state."""
    found = bits(state) if trial.kind.saved else {}
    return found | {"scores": torch.from_numpy(scores(trial.measure, state, data).unit_score.copy())}


def memory(trial: Trial) -> None:
    """`memory()` is no less than what the arrays take, and what is saved stays within its memory however long it is."""
    if not trial.kind.saved:
        return
    for units, columns in ((1, 1), (7, 3), (40, 2), (5, 60)):
        data = _plain(units, columns)
        said = trial.kind.memory(units, columns, data.symbols, trial.memory)
        takes = size(trial.state(data))
        if takes > 1.05 * said + SLACK:
            raise AssertionError(
                f"memory() of {trial.kind.__name__} says {said:,} bytes, and its arrays take {takes:,}: "
                f"{units} units, {columns} columns of labels, {data.symbols} symbols"
            )
    least = trial.kind.memory(9, 9, 1000, trial.memory)
    if trial.kind.memory(9, 9, 10**9, trial.memory) > max(least, trial.memory):
        raise AssertionError(f"a {trial.kind.__name__} grows beyond the memory that it is given")
    if least >= trial.kind.memory(9, 9, 10**9, trial.memory):  # it says that it does not grow
        few, many = (hard_data(n, trial.seed) for n in (240, 1200))
        sizes = [size(merged(trial.blocks(d, range(0, d.symbols, 60)))) for d in (few, many)]
        if sizes[0] != sizes[1]:
            raise AssertionError(
                f"a {trial.kind.__name__} of 240 symbols takes {sizes[0]:,} bytes, of 1,200 {sizes[1]:,}"
            )


def _plain(units: int, columns: int) -> Data:
    """Nine symbols."""
    position = np.arange(9)
    return Data(
        {str(i): position.astype(np.float32) for i in range(units)},
        {str(i): (position % 2).astype(np.float64) for i in range(columns)},
        dict.fromkeys(map(str, range(columns)), "boolean"),
    )


def _labels(trial: Trial, data: Data) -> BatchLabels:
    return trial.labels(data, label_shift(data))
