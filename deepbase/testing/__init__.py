"""Does a measure keep its promises? One harness for those that DeepBase has and for a user's own.

    import deepbase.testing

    def test_my_measure():
        deepbase.testing.check_measure(MyMeasure, lambda x, y: ...)

A measure promises that its scores do not depend on how the symbols came: in one batch or many, in one block or many,
merged in the order of any tree, from the memory of a process or read back from a file. `check_measure` folds data that
are made to be hard in all these ways, and compares every score with a reference, with the conventions for pairs that
have none, or, without a reference, with what one pass gives. It needs no test framework: what is wrong is an
`AssertionError` that says in which check, how the data was divided, for which unit and hypothesis, and the values.

`hard_data` gives the data; `block_state`, `block_states` and `merged` the states of them, to look closer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from deepbase.blocks import Kind
from deepbase.errors import MeasureError, nearest
from deepbase.measures.base import AbstractMeasure, Values
from deepbase.measures.own import checked, is_own, naming, tried
from deepbase.testing import checks, groups, written
from deepbase.testing.comparison import compare
from deepbase.testing.data import Data, group_data, hard_data, label_behavior, label_shift
from deepbase.testing.intervals import intervals
from deepbase.testing.references import Case, Expected, Reference, Score, expected_of, said_bound
from deepbase.testing.states import CPU, LITTLE, PLENTY, block_state, block_states, merged, scores
from deepbase.testing.trial import Trial

__all__ = [
    "CHECKS",
    "CPU",
    "GROUP_CHECKS",
    "LITTLE",
    "PLENTY",
    "Case",
    "Data",
    "Reference",
    "block_state",
    "block_states",
    "check_measure",
    "compare",
    "expected_of",
    "group_data",
    "hard_data",
    "label_behavior",
    "label_shift",
    "merged",
    "said_bound",
    "scores",
]

Check = Callable[[Trial], None]
CHECKS: Mapping[str, Check] = {
    "one pass": checks.one_pass,
    "batches": checks.batches,
    "merge trees": checks.merge_trees,
    "pilots": checks.pilots,
    "few symbols": checks.few_symbols,
    "conventions": checks.conventions,
    "neighbours": checks.neighbours,
    "null rows": checks.null_rows,
    "intervals": intervals,
    "untouched": written.untouched,
    "written form": written.written_form,
    "memory": written.memory,
}
"""What a measure of units is tried with, in this order; the docstring of each says what it shows."""
GROUP_CHECKS: Mapping[str, Check] = {
    "reference": groups.reference,
    "batches": checks.batches,
    "merge trees": checks.merge_trees,
    "pilots": checks.pilots,
    "conventions": groups.conventions,
    "untouched": written.untouched,
    "written form": written.written_form,
    "memory": written.memory,
}
"""What a group measure, such as a probe, is tried with."""
ON_DEVICES = ("one pass", "reference", "batches", "merge trees", "pilots", "written form")
"""The checks that are made on other devices than the CPU, too."""


def check_measure(
    measure: AbstractMeasure | type[AbstractMeasure],
    reference: Reference | Score | Mapping[Kind, Score] | None = None,
    *,
    devices: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    trees: int = 12,
    seed: int = 0,
) -> None:
    """Try a measure on data that are made to be hard, and compare every score.

    A state whose memory grows with the symbols is tried with too little memory as well; its scores may then have notes
    that say how far they may be off.

    Args:
        measure: an instance, or a class, whose options then have their defaults.
        reference: the textbook value `score(x, y)` of a unit and a hypothesis, in float64 and without NULLs; one such
            function for each kind of hypothesis; or a `Reference`, which says more. Of a fact of a unit it is
            `score(x)`, and of a group measure `score(x, y, held_out_x, held_out_y)`; see `Reference`.
        devices: names of torch devices; without, the CPU, and CUDA where there is one.
        only: names of checks, of `CHECKS` or `GROUP_CHECKS`; all without.
        trees: how many trees of blocks are merged, each with other blocks.
        seed: of the data and the trees.

    Raises:
        AssertionError: if a score is not what it should be, or a state does what it must not.
        MeasureError: if the class does not keep the contract of a measure, or a user's own raises something; for a
            measure that compares groups of units.
    """
    expected = reference if isinstance(reference, Reference) else Reference(reference)
    for one in _made(measure).each():
        if one.grouped and not one.kinds:
            raise MeasureError(f"{one.name} compares groups of units", "Only measures that score units are tried here.")
        chosen = _chosen(GROUP_CHECKS if one.grouped else CHECKS, only)
        known: tuple[dict[Data, Expected], dict[Data, Values]] = ({}, {})
        if is_own(type(one)):
            tried(one)
        for device in devices or ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
            for memory in _memories(one):
                trial = Trial(one, expected, memory, torch.device(device), seed, trees, *known)
                for name, check in chosen.items():
                    if device == "cpu" or name in ON_DEVICES:
                        _tried(name, check, trial)


def _chosen(known: Mapping[str, Check], only: Sequence[str] | None) -> Mapping[str, Check]:
    """The checks that are asked for."""
    for name in only or ():
        if name not in known:
            raise MeasureError(f"unknown check '{name}'", nearest(name, known))
    return {name: check for name, check in known.items() if only is None or name in only}


def _made(measure: AbstractMeasure | type[AbstractMeasure]) -> AbstractMeasure:
    if isinstance(measure, AbstractMeasure):
        checked(type(measure), f"'{type(measure).__name__}'")
        return measure
    return checked(measure, f"'{getattr(measure, '__name__', measure)}'")()


def _memories(measure: AbstractMeasure) -> tuple[int, ...]:
    """The bytes that states are given: for those that grow with the symbols, too few as well."""
    grows = measure.reads.memory(9, 9, 10**6, PLENTY) > measure.reads.memory(9, 9, 10**3, PLENTY)
    little = LITTLE // 4 if measure.grouped else LITTLE
    return (PLENTY, little) if grows else (PLENTY,)


def _tried(name: str, check: Check, trial: Trial) -> None:
    try:
        with naming([trial.measure]):
            check(trial)
    except AssertionError as error:
        where = ["on " + str(trial.device)] if trial.device != CPU else []
        where += [f"with {trial.memory:,} bytes"] if trial.memory != PLENTY else []
        how = "; ".join([*trial.how, *where])
        told = f"measure {trial.measure.call!r}, check {name!r}{f' ({how})' if how else ''}: {error}"
        raise AssertionError(told) from None
