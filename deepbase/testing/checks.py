"""What any measure of units passes: each check folds hard data in some other way and looks at every score.

A check takes a `Trial`, and raises an AssertionError.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from deepbase.measures.batch import BatchLabels
from deepbase.testing import cases
from deepbase.testing.data import label_behavior, label_shift
from deepbase.testing.states import merged, scores
from deepbase.testing.trial import Trial


def one_pass(trial: Trial) -> None:
    """All symbols in one batch give the reference's score, for three seeds and for 8,192 symbols; some have one."""
    if np.isnan(scores(trial.measure, trial.state(trial.data), trial.data).unit_score).all():
        raise AssertionError("no unit has a score with any hypothesis")
    for symbols, seed in ((240, 0), (240, 1), (240, 2), (8192, 0)):
        data = cases.hard(symbols, trial.seed + seed)
        with trial.trying(f"hard_data({symbols}, {trial.seed + seed})"):
            trial.right(trial.state(data), data)


def batches(trial: Trial) -> None:
    """Batches of any size give the same scores, and so do batches of whole records in any order."""
    data = trial.data
    for each in (3, 100) if trial.measure.grouped else (1, 2, 7, 100):
        with trial.trying(f"batches of {each} symbols"):
            trial.right(trial.state(data, range(0, data.symbols, each)), data)
    with trial.trying("batches in another order"):
        rng = np.random.default_rng(trial.seed)
        cuts = data.starts[::5].tolist()
        trial.right(trial.state(data, cuts, rng=rng), data)


def merge_trees(trial: Trial) -> None:
    """Blocks with pilot values and null classes of their own give the same scores, merged as any tree."""
    data, rng = trial.data, np.random.default_rng(trial.seed)
    for i in range(trial.trees):
        cuts, order = trial.cuts(data, rng), rng.integers(0, 100, 16).tolist()
        with trial.trying(f"blocks that begin at {[0, *cuts]}, merged in the order {order}"):
            trial.right(merged(trial.blocks(data, cuts, rng if i % 2 else None), order), data)


def pilots(trial: Trial) -> None:
    """Blocks may share the pilot values of the first; a later batch may bring others, or other null classes."""
    data, shift = trial.data, label_shift(trial.data)
    quarters = [*data.starts[:: len(data.starts) // 4].tolist()[:4], data.symbols]
    with trial.trying("blocks that share the pilot values of the first"):
        state = None
        for first, end in itertools.pairwise(quarters):
            block = trial.state(data.rows(first, end), [20, 40], shift=shift, like=state)
            state = block if state is None else state.merge(block)
        assert state is not None
        trial.right(state, data)
    middle, units, whole = quarters[2], trial.units(data), label_behavior(data)
    halves = (data.rows(0, middle), data.rows(middle, data.symbols))
    first = BatchLabels.of(whole, 0, middle, label_shift(halves[0]), trial.device)
    later = BatchLabels.of(whole, middle, data.symbols - middle, shift, trial.device)
    for how, labels in (
        ("a later batch with other pilot values of the hypotheses", (first, later)),
        ("a later batch with other null classes", [trial.labels(half, shift) for half in halves]),
    ):
        with trial.trying(how):
            begun = trial.kind.first(units[:middle], labels[0], trial.memory)
            trial.right(begun.update(units[middle:], labels[1]), data)


def few_symbols(trial: Trial) -> None:
    """None, one, or a handful of symbols; and a block without symbols changes nothing."""
    for symbols in (0, 1):
        data = trial.data.rows(0, symbols)
        with trial.trying(f"{symbols} symbols"):
            trial.right(trial.state(data), data)
    with trial.trying("a first block without symbols"):
        empty = trial.state(trial.data.rows(0, 0))
        trial.right(empty.merge(trial.state(trial.data)), trial.data)
    for data, cut in cases.handfuls(trial.seed):
        with trial.trying(f"{data.symbols} symbols, the second block from {cut}"):
            trial.right(merged(trial.blocks(data, [cut])), data)


def conventions(trial: Trial) -> None:
    """What is constant where a hypothesis has a value has no score, and outliers where it has none do not spoil it.

    Perfect detectors, and units that are the hypothesis itself, stay in the range.
    """
    data = cases.silent_units(trial.seed)
    fires = int(np.flatnonzero(data.units["0.0 or more"])[0])
    for cuts in ([], [1], [200, 400], [fires, fires + 1]):
        with trial.trying(f"units that are constant where a hypothesis has a value, blocks at {[0, *cuts]}"):
            trial.right(merged(trial.blocks(data, cuts)), data)
    data = cases.outliers(trial.seed)
    for each in (32, 640):
        with trial.trying(f"outliers where a hypothesis has no value, batches of {each} symbols"):
            trial.right(trial.state(data, range(0, data.symbols, each)), data)
    data = cases.detectors()
    with trial.trying("perfect detectors"):
        trial.right(trial.state(data, [100, 200]), data)
    data = cases.itself(trial.seed)
    with trial.trying("units that are the hypothesis itself"):
        trial.right(trial.state(data, [30]), data)


def neighbours(trial: Trial) -> None:
    """A unit with a NaN or an infinity has no score, and the others have the scores that they have without it."""
    data = trial.data
    clean = {k: v for k, v in data.units.items() if np.isfinite(v).all()}
    others = [i for i, name in enumerate(clean) if name != "ties"]
    where = np.arange(data.symbols) == 100
    found = []
    for poison in (None, np.nan, np.inf, -np.inf):
        units = clean if poison is None else {**clean, "ties": np.where(where, np.float32(poison), clean["ties"])}
        spoiled = replace(data, units=units)
        with trial.trying(f"one value of a unit is {poison}"):
            found.append(scores(trial.measure, merged(trial.blocks(spoiled, [90, 180])), spoiled).unit_score)
            if not np.isnan(found[-1][:, list(clean).index("ties")]).all() and poison is not None:
                raise AssertionError(f"a unit with one value of {poison} has a score")
            if not np.array_equal(found[0][:, others], found[-1][:, others], equal_nan=True):
                raise AssertionError(f"one value of {poison} in a unit changes the scores of other units")


def null_rows(trial: Trial) -> None:
    """What a unit does where a hypothesis is NULL is nothing to it, and neither is a symbol at which all are NULL."""
    if not trial.measure.kinds:
        return
    data = cases.of_words(trial.seed)
    known = ~np.isnan(next(iter(data.hypotheses.values())))
    changed = {k: np.where(known, x, np.roll(x, 7) * 3).astype(np.float32) for k, x in data.units.items()}
    with trial.trying("other values of the units where all hypotheses are NULL"):
        other = replace(data, units=changed)
        trial.right(trial.state(data), data)
        trial.expected[other] = trial.expected[data]
        trial.right(trial.state(other, [50]), other)
    with trial.trying("without the symbols where all hypotheses are NULL"):
        fewer = data.take(np.flatnonzero(known))
        trial.expected[fewer] = trial.expected[data]
        trial.right(trial.state(fewer, [50]), fewer)
