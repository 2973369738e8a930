"""From rows or from bins to scores, with the conventions of all measures and the notes of those of order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats, Kind
from deepbase.measures.base import Target, Values
from deepbase.measures.conventions import Evidence, first_columns, values
from deepbase.measures.notes import NOTES
from deepbase.measures.order.bounds import Bins, Interval, bins_of
from deepbase.measures.order.sketch import Sketch
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.walk import Cuts, Walk

STEPS = tuple(m * 10.0**k for k in range(-7, 0) for m in (1, 2, 5))[:-1]
"""What bounds are rounded up to; one above the last says next to nothing of a score between 0 and 1."""
ORDER_NOTES: tuple[str | None, ...] = (
    *NOTES,
    "too little memory to keep the order of the values well enough",
    "too little memory to keep all rows, which Kendall's tau of a number needs",
    *(f"approximate: within {s:g} of the exact value" for s in STEPS),
    *(f"approximate: the borders of the bins are off by at most {s:g} of the symbols" for s in STEPS),
)
"""The notes of the measures of order: why there is no score, or how exact it is."""
USELESS = len(NOTES)
NEEDS_ROWS = USELESS + 1
WITHIN = NEEDS_ROWS + 1
BORDERS = WITHIN + len(STEPS)
EXACT = 1e-9
"""An error that is the rounding of float64."""

Bounds = Callable[[Bins], Interval]


def exact_values(
    score: Floats, walk: Walk, state: PairOrder, targets: Sequence[Target], takes: Sequence[Kind]
) -> Values:
    """Scores from rows, float64[target, unit], with the conventions applied."""
    columns = first_columns(targets)
    of = walk.null_class[columns]
    labels = state.assembled()
    n = walk.n[of].astype(np.float64)
    still = []
    for target, column, symbols in zip(targets, columns, n.tolist(), strict=True):
        if target.kind == "number":
            order = labels.ranks[column]
            still.append(bool(symbols) and int(order.high[0]) == symbols)
        else:
            still.append(_one_value(target, walk.positives[list(target.columns)], symbols))
    evidence = Evidence(
        n=torch.from_numpy(n),
        positives=torch.from_numpy(walk.positives[columns]),
        constant_target=torch.tensor(still, dtype=torch.bool),
        constant_unit=torch.from_numpy(walk.constant[of]),
        finite=torch.from_numpy(walk.finite)[None],
    )
    return values(torch.from_numpy(score), targets, takes, evidence, notes=ORDER_NOTES)


def sketch_values(
    found: Tensor, error: Tensor, sketch: Sketch, targets: Sequence[Target], takes: Sequence[Kind], first: int = WITHIN
) -> Values:
    """Scores from bins, with the conventions applied and a note of the error.

    Args:
        found: float64[target, unit].
        error: float64[target, unit], how far off the scores may be; infinite where rows are needed.
        sketch: what they are from.
        targets: what is asked for.
        takes: the kinds that the measure takes.
        first: the first of the notes that tell an error.
    """
    columns = first_columns(targets)
    of = sketch.null_class[columns]
    positives, n = sketch.positives(), sketch.n()[of]
    numbers = dict(zip(torch.nonzero(~sketch.boolean)[:, 0].tolist(), sketch.constant_numbers().tolist(), strict=True))
    still = [
        numbers[c] if t.kind == "number" else _one_value(t, positives[list(t.columns)].cpu().numpy(), symbols)
        for t, c, symbols in zip(targets, columns, n.tolist(), strict=True)
    ]
    evidence = Evidence(
        n=n,
        positives=positives[columns],
        constant_target=torch.tensor(still, dtype=torch.bool, device=found.device),
        constant_unit=sketch.constant_units()[of],
        finite=sketch.finite()[None],
    )
    scored = values(found, targets, takes, evidence, notes=ORDER_NOTES)
    off = error.cpu().numpy()
    step = np.searchsorted(np.array(STEPS) * (1 + 1e-12), off)
    note = np.where(step >= len(STEPS), USELESS, first + step)
    note = np.where(np.isinf(off), NEEDS_ROWS, np.where(off <= EXACT, 0, note))
    note = np.where(scored.note == 0, note, scored.note).astype(np.uint8)
    score = np.where((note == 0) | (note >= WITHIN), scored.unit_score, math.nan)
    return replace(scored, unit_score=score, note=note)


def _one_value(target: Target, positives: Floats, n: float) -> bool:
    """Whether a boolean or a category is the same at all of n symbols."""
    if target.kind == "category":
        return bool((positives > 0).sum() < 2)
    return bool(positives[0] in {0, n})


def from_bins(sketch: Sketch, targets: Sequence[Target], bounds: Bounds) -> Interval:
    """What the scores of booleans are at least and at most, float64[target, unit]; 0 for other kinds."""
    units = len(sketch.edges)
    low = torch.zeros(len(targets), units, dtype=torch.float64, device=sketch.edges.device)
    high = low.clone()
    of = sketch.null_class.tolist()
    for number in range(sketch.sums.shape[1]):
        mine = [i for i, t in enumerate(targets) if t.kind == "boolean" and of[t.columns[0]] == number]
        if not mine:
            continue
        columns = [targets[i].columns[0] for i in mine]
        parts = [bounds(bins) for bins in bins_of(sketch, columns, number)]
        low[mine] = torch.cat([a for a, _ in parts]).T
        high[mine] = torch.cat([b for _, b in parts]).T
    return low, high


def detector_values(
    state: PairOrder,
    targets: Sequence[Target],
    takes: Sequence[Kind],
    exact: Callable[[Walk], Floats],
    bounds: Bounds,
    cuts: Cuts | None = None,
) -> Values:
    """The scores of a measure of booleans.

    Args:
        state: what they are from.
        targets: what is asked for.
        takes: the kinds that the measure takes.
        exact: float64[unit, column] of a walk.
        bounds: what the scores can be, of bins.
        cuts: what the walk needs.
    """
    if state.sketch is None:
        walk = state.walk(cuts or Cuts())
        with np.errstate(invalid="ignore", divide="ignore"):
            score = exact(walk)[:, first_columns(targets)].T
        return exact_values(np.ascontiguousarray(score), walk, state, targets, takes)
    low, high = from_bins(state.sketch, targets, bounds)
    return sketch_values((low + high) / 2, ((high - low) / 2).nan_to_num(1.0), state.sketch, targets, takes)
