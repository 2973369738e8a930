"""Standard errors of whatever follows from pair moments, from how their sums differ between groups of records.

The problem. Millions of scores need a standard error each, of correlations, differences of means and ratios alike, and
a bootstrap of all of them is out of the question.

The idea. A score is a smooth function f of a few sums over symbols, each of which is kept by group of records. To the
first order the score moves with group g by its *share*, the product of the gradient of f with the sums of g, and the
variance of the score is that of the sum of the shares (the delta method: Wolter 2007, Introduction to Variance
Estimation, section 6.5, with the random groups of chapter 2). All scores here stay the same when all sums are doubled,
so that by Euler's theorem the shares add up to 0, and nothing has to be subtracted:

    variance = G / (G - 1) * sum over groups of share**2.

The gradient is taken of the very formula that makes the score, by automatic differentiation, so that no derivation can
go wrong.

Memory: about 30 arrays of `targets * units` float64 while a layer is worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats
from deepbase.measures.base import Target
from deepbase.measures.compile import Compiled, compiled, in_shares
from deepbase.measures.conventions import first_columns
from deepbase.measures.moments import PairMoments
from deepbase.measures.significance import LEAST_GROUPS, effective_groups
from deepbase.measures.spread import Scale, Spread, slope

TILE = 256
"""Units whose shares are made together."""


class PairSums(NamedTuple):
    """Sums over symbols, about the pilot values; [target, unit] or what broadcasts to it.

    Attributes:
        n: symbols.
        x, xx: of the units and their squares.
        y, yy: of the hypothesis and its squares.
        xy: of the products.
        shift: the pilot values of the units.
    """

    n: Tensor
    x: Tensor
    xx: Tensor
    y: Tensor
    yy: Tensor
    xy: Tensor
    shift: Tensor

    @classmethod
    def of(cls, state: PairMoments, columns: Sequence[int]) -> PairSums:
        """Those of some columns, a target each."""
        some = list(columns)
        of = state.null_class[some]
        n, y, yy = (v[:, None] for v in (state.n[of], state.y[some], state.yy[some]))
        return cls(n, state.x[of], state.xx[of], y, yy, state.xy[some], state.unit_shift.double())


Formula = Callable[[PairSums], Tensor]
"""Sums to scores, [target, unit]; each score follows from the sums at its own place."""


def pair_spread(state: PairMoments, targets: Sequence[Target], formula: Formula, score: Floats, scale: Scale) -> Spread:
    """The spread of scores that compare a unit with one column.

    Args:
        state: the sums by group of records.
        targets: what is asked for.
        formula: what makes the scores, or the angles on the scale of angles.
        score: float64[target, unit], the scores.
        scale: of the measure.
    """
    columns = first_columns(targets)
    sums = PairSums.of(state, columns)
    whole = sums.xy.shape
    leaves = [s.expand(whole).contiguous().requires_grad_() for s in sums[:-1]]
    with torch.enable_grad():
        found = formula(PairSums._make([*leaves, sums.shift]))
        gradients = torch.autograd.grad(found.sum(), leaves, allow_unused=True)
    by = [torch.zeros(whole, dtype=torch.float64) if g is None else g.cpu() for g in gradients]
    squares = _squares(state, columns, by)
    of = state.null_class[columns]
    groups = (state.n_of > 0).sum(0)[of].double().cpu().numpy()
    effective = effective_groups(state)[columns].cpu().numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(squares * (groups / (groups - 1))[:, None]) / slope(score, scale)
    centre = found.detach().cpu().numpy() if scale == "angle" else None
    known = (effective >= LEAST_GROUPS) & (groups > 1)
    freedom = np.where(known, np.minimum(effective, groups) - 1, 0.0)
    return Spread(np.where(np.isfinite(score), error, np.nan), freedom, centre=centre)


def _squares(state: PairMoments, columns: Sequence[int], gradient: Sequence[Tensor]) -> Floats:
    """float64[target, unit], the sums over groups of the squares of the shares."""
    own = (state.n_of, state.x_of, state.xx_of, state.y_of, state.yy_of, state.xy_of)
    groups = [t.cpu().numpy() for t in own]
    by = [g.numpy() for g in gradient]
    which, of = np.array(columns), state.null_class.cpu().numpy()[list(columns)]
    squares = np.zeros((len(which), len(state.unit_shift)))
    try:
        made = _loop()
    except ImportError:
        n, x, xx, y, yy, xy = groups
        for g in range(len(n)):
            share = by[0] * n[g, of][:, None] + by[1] * x[g, of] + by[2] * xx[g, of]
            share += by[3] * y[g, which][:, None] + by[4] * yy[g, which][:, None] + by[5] * xy[g, which]
            squares += np.square(share)
        return squares
    in_shares(len(state.unit_shift), TILE, lambda first, last: made(*groups, *by, which, of, squares, first, last))
    return squares


@cache
def _loop() -> Compiled:
    """`_add_squares`, compiled."""
    return compiled(_add_squares)


def _add_squares(
    n: Any,
    x: Any,
    xx: Any,
    y: Any,
    yy: Any,
    xy: Any,
    by_n: Any,
    by_x: Any,
    by_xx: Any,
    by_y: Any,
    by_yy: Any,
    by_xy: Any,
    columns: Any,
    classes: Any,
    squares: Any,
    first: int,
    last: int,
) -> None:
    """Add the squares of the shares of all groups.

    Args:
        n, x, xx, y, yy, xy: the sums by group, as in `PairMoments`.
        by_n, by_x, by_xx, by_y, by_yy, by_xy: float64[target, unit], the gradient.
        columns: int64[target], the column of each target.
        classes: int64[target], its null class.
        squares: float64[target, unit], added to.
        first: the first unit.
        last: the unit before which to end.
    """
    for t in range(len(columns)):
        h, c = columns[t], classes[t]
        for g in range(len(n)):
            n_g, y_g, yy_g = n[g, c], y[g, h], yy[g, h]
            if n_g > 0:
                for u in range(first, last):
                    share = by_n[t, u] * n_g + by_y[t, u] * y_g + by_yy[t, u] * yy_g
                    share += by_x[t, u] * x[g, c, u] + by_xx[t, u] * xx[g, c, u] + by_xy[t, u] * xy[g, h, u]
                    squares[t, u] += share * share
