"""Standard errors do not depend on how the symbols came, either."""

from __future__ import annotations

import numpy as np

from deepbase.blocks import Floats
from deepbase.measures.base import AbstractState
from deepbase.measures.spread import Spread
from deepbase.testing.data import Data
from deepbase.testing.states import merged, scores, targets_of
from deepbase.testing.trial import Trial

WITHIN = 1e-4
"""By how much of itself a standard error may be off."""
ROUNDED = 1e-6
"""Standard errors below this share of the score, or of 1, are rounding."""


def intervals(trial: Trial) -> None:
    """Standard errors of batches and of merged blocks are those of one pass, where both have one."""
    data = trial.data
    expected = _spread(trial, trial.state(data), data)
    if expected is None:
        return
    rng = np.random.default_rng(trial.seed)
    with trial.trying("batches of 7 symbols, in another order"):
        _compare(trial, trial.state(data, range(0, data.symbols, 7), rng=rng), expected, data)
    for i in range(min(trial.trees, 4)):
        cuts, order = trial.cuts(data, rng), rng.integers(0, 100, 16).tolist()
        with trial.trying(f"blocks that begin at {[0, *cuts]}, merged in the order {order}"):
            _compare(trial, merged(trial.blocks(data, cuts, rng if i % 2 else None), order), expected, data)


def _spread(trial: Trial, state: AbstractState, data: Data) -> tuple[Spread, Floats] | None:
    targets = list(targets_of(trial.measure, data).values())
    found = scores(trial.measure, state, data)
    spread = trial.measure.spread(state, targets, found)
    return None if spread is None else (spread, np.asarray(found.unit_score, dtype=np.float64))


def _compare(trial: Trial, state: AbstractState, expected: tuple[Spread, Floats], data: Data) -> None:
    """Refuse standard errors that are not these.

    Raises:
        AssertionError: tells the first one, by unit and hypothesis, and both values.
    """
    found = _spread(trial, state, data)
    if found is None:
        raise AssertionError("there are no standard errors, as there are of one pass")
    (mine, _), (other, score) = found, expected
    names = list(targets_of(trial.measure, data))
    for h, name in enumerate(names):
        if not np.isclose(mine.freedom[h], other.freedom[h], rtol=WITHIN):
            told = f"{mine.freedom[h]} degrees of freedom instead of {other.freedom[h]}"
            raise AssertionError(f"hypothesis {name!r}: {told}")
    known = np.isfinite(mine.error) & np.isfinite(other.error) & np.isfinite(score)
    floor = ROUNDED * np.maximum(1, np.abs(np.where(known, score, 1)))
    with np.errstate(invalid="ignore"):
        wrong = known & (np.abs(mine.error - other.error) > WITHIN * np.abs(other.error) + floor)
    for h, u in np.argwhere(wrong)[:1]:
        where = f"unit {list(data.units)[u]!r}" + (f", hypothesis {names[h]!r}" if names[h] else "")
        told = f"a standard error of {mine.error[h, u]} instead of {other.error[h, u]}"
        raise AssertionError(f"{where}: {told}, and {wrong.sum() - 1} more")
