"""Standard errors of measures of order: by the delete-a-group jackknife, and for ranks of numbers by random groups.

Best thresholds, average precisions and information are no smooth functions of sums, and of a rare hypothesis a group of
records holds next to nothing by itself. Without one group, though, there is nearly everything; how the score differs
then tells its error and its bias (`spread.jackknife`). One pass over the sorted symbols finds all sixteen (`without`).

Rank correlations with numbers, which are not rare, are computed of each group alone instead (`spread.random_groups`).

The bias is not taken off: best thresholds and bins have one, of the order of the error or below, but its estimate moves
more than it mends. In simulations with tokens of sentences, intervals about the score itself hold what they say, and
those of F1, the Jaccard index and information without their bias miss more often. The many cells of a category have a
greater one: there the error is the root of variance and squared bias together.

Where rows are no longer kept there are no groups, and no interval.

Memory: beside what `without` says, `16 * 8 * targets * UNITS` bytes a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from deepbase.blocks import Floats
from deepbase.measures.base import Target
from deepbase.measures.batch import GROUPS
from deepbase.measures.conventions import first_columns
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.walk import Cuts, Walk
from deepbase.measures.order.without import counts_without
from deepbase.measures.significance import LEAST_GROUPS
from deepbase.measures.spread import THIN, Scale, Spread, jackknife, random_groups, unknown

NO_ROWS = "no interval: too little memory to keep all rows"
UNITS = 128
"""Units whose scores without each group are looked at together."""

Formula = Callable[[Walk, Sequence[Target]], Floats]
"""Scores of a walk, float64[target, unit]."""


def spread_of_sums(
    state: PairOrder, targets: Sequence[Target], score: Floats, formula: Formula, scale: Scale
) -> Spread:
    """The spread of scores that follow from the sums and the ties of a walk.

    Args:
        state: what the scores are of.
        targets: what is asked for; what is neither a boolean nor a category has none.
        score: float64[target, unit].
        formula: what makes the scores.
        scale: of the measure.
    """
    if state.sketch is not None:
        return unknown(score, NO_ROWS)
    return _jackknifed(state, targets, score, formula, scale, _parts(state.without()))


def spread_of_counts(
    state: PairOrder, targets: Sequence[Target], score: Floats, formula: Formula, scale: Scale, cuts: Cuts, which: slice
) -> Spread:
    """The spread of scores that follow from the counts at some cuts.

    Args:
        state, targets, score, formula, scale: as for `spread_of_sums`.
        cuts: of the walk.
        which: those that the formula looks at, which are all that it is given.
    """
    if state.sketch is not None:
        return unknown(score, NO_ROWS)
    return _jackknifed(state, targets, score, formula, scale, counts_without(state, cuts, which))


def _jackknifed(
    state: PairOrder,
    targets: Sequence[Target],
    score: Floats,
    formula: Formula,
    scale: Scale,
    parts: Iterator[tuple[slice, list[Walk]]],
) -> Spread:
    freedom, present = evidence(state, targets)
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for units, walks in parts:
            without = np.stack([formula(walk, targets) for walk in walks])
            found.append(jackknife(score[:, units], without, freedom, scale, present))
    error, bias = (np.concatenate([getattr(s, name) for s in found], axis=1) for name in ("error", "bias"))
    many = np.array([t.kind == "category" for t in targets])[:, None]
    return Spread(np.where(many, np.hypot(error, bias), error), freedom)


def _parts(walks: Sequence[Walk]) -> Iterator[tuple[slice, list[Walk]]]:
    """Walks of some units at a time."""
    for first in range(0, len(walks[0].finite), UNITS):
        some = slice(first, first + UNITS)
        yield some, [_part(walk, some) for walk in walks]


def _part(walk: Walk, units: slice) -> Walk:
    pairs, cubes = walk.tied_pairs[:, units], walk.tied_cubes[:, units]
    return replace(walk, sums=walk.sums[units], tied_pairs=pairs, tied_cubes=cubes)


def spread_of_ranks(
    state: PairOrder,
    targets: Sequence[Target],
    score: Floats,
    formula: Formula,
    of_group: Callable[[PairOrder, Sequence[Target]], Floats],
    scale: Scale,
) -> Spread:
    """The spread of rank correlations with booleans and numbers; there is none of what is neither.

    Args:
        state, targets, score, scale: as for `spread_of_sums`.
        formula: what makes the scores of booleans.
        of_group: the scores of numbers, float64[target, unit], of the rows of a group alone.
    """
    if state.sketch is not None:
        return unknown(score, NO_ROWS)
    whole = unknown(score, THIN)
    error, freedom = whole.error, whole.freedom
    for kind in ("boolean", "number"):
        mine = [i for i, t in enumerate(targets) if t.kind == kind]
        some = [targets[i] for i in mine]
        if not some:
            continue
        if kind == "boolean":
            found = spread_of_sums(state, some, score[mine], formula, scale)
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                each = np.stack([np.clip(of_group(one, some), -1, 1) for one in state.alone()])
            found = random_groups(score[mine], each, _symbols(state, some), evidence(state, some)[0], scale)
        error[mine], freedom[mine] = found.error, found.freedom
    return Spread(error, freedom)


def evidence(state: PairOrder, targets: Sequence[Target]) -> tuple[Floats, Floats]:
    """Degrees of freedom, float64[target], and whether each group has symbols, float64[group, target].

    What a group tells of a hypothesis is the sum of squares about the mean: of the truth of a boolean, of all values of
    a category, of the ranks of a number. Of categories all groups count that have symbols.
    """
    labels, group = state.assembled(), state.assembled().kept.group.cpu().numpy()
    n = _symbols(state, targets)
    tells = np.zeros_like(n)
    for i, target in enumerate(targets):
        if target.kind == "number":
            order = labels.ranks[target.columns[0]]
            squares = np.square(order.middle - (len(order.row) + 1) / 2)
            tells[:, i] = np.bincount(group[order.row], squares, minlength=GROUPS)
        elif target.kind == "boolean":
            column = target.columns[0]
            true = labels.truth[:, column] & labels.valid[labels.null_class[column]]
            p = np.bincount(group[true > 0], minlength=GROUPS)
            mean = p.sum() / max(n[:, i].sum(), 1)
            tells[:, i] = p * (1 - 2 * mean) + n[:, i] * mean**2
        else:
            tells[:, i] = n[:, i] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.square(tells.sum(0)) / np.square(tells).sum(0)
    groups = (n > 0).sum(0)
    known = (effective >= LEAST_GROUPS) & (groups > 1)
    return np.where(known, np.minimum(effective, groups) - 1, 0.0), (n > 0).astype(np.float64)


def _symbols(state: PairOrder, targets: Sequence[Target]) -> Floats:
    """float64[group, target], the symbols where each has a value."""
    labels, group = state.assembled(), state.assembled().kept.group.cpu().numpy()
    by_class = [np.bincount(group[valid > 0], minlength=GROUPS) for valid in labels.valid]
    of = labels.null_class[first_columns(targets)]
    return np.stack(by_class, 1)[:, of].astype(np.float64)
