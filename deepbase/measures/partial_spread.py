"""Standard errors of what is left after confounds, from residual products by group of records.

The regressions of all symbols leave nothing to be gained by other coefficients, so that to the first order residual
products move as plain sums do, and the delta method applies as in `delta`. With the residual products S of all symbols,
the share of a group of records of a partial correlation r, and of an adjusted difference d, is

    xy / sqrt(Sxx Syy) - r / 2 (xx / Sxx + yy / Syy)        and        (xy - d yy) / Syy.

Shares add up to 0. The cost is that of the p-values, which come with the scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from deepbase.blocks import Floats
from deepbase.measures.base import Target
from deepbase.measures.conventions import first_columns
from deepbase.measures.partial import PartialMoments
from deepbase.measures.significance import LEAST_GROUPS
from deepbase.measures.spread import Scale, Spread, slope


def residual_spread(state: PartialMoments, targets: Sequence[Target], score: Floats, scale: Scale) -> Spread:
    """The spread of partial correlations, on Fisher's scale, or of adjusted differences, on the plain one.

    Args:
        state: the sums.
        targets: what is asked for.
        score: float64[target, unit].
        scale: of the measure.
    """
    columns = first_columns(targets)
    of = state.null_class[columns]
    whole, found = state.residuals, torch.from_numpy(score).to(state.xx.device)
    sxx, syy = whole.xx[of], whole.yy[columns][:, None]
    squares, yy = torch.zeros_like(found), []
    for left in state.by_group():
        own = left.yy[columns][:, None]
        if scale == "fisher":
            share = left.xy[columns] / (sxx * syy).sqrt() - found / 2 * (left.xx[of] / sxx + own / syy)
        else:
            share = (left.xy[columns] - found * own) / syy
        squares += share.square()
        yy.append(left.yy)
    groups, effective = (t[columns] for t in state.evidence(torch.stack(yy)))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = (squares * groups / (groups - 1)).sqrt().cpu().numpy() / slope(score, scale)
    known = (effective >= LEAST_GROUPS) & (groups[:, 0] > 1)
    freedom = torch.where(known, torch.minimum(effective, groups[:, 0]) - 1, 0.0).cpu().numpy()
    error = np.where(np.isfinite(score), error, np.nan)
    return Spread(error, freedom, per=None if scale == "fisher" else _deviation(state, columns))


def _deviation(state: PartialMoments, columns: list[int]) -> Floats:
    """float64[target, unit]: the standard deviations of the units where each hypothesis and the confounds are known."""
    of = state.null_class[columns]
    n = state.n[of, None]
    mean = state.wx_of.sum(0)[of, 0] / n
    found: Floats = (state.xx[of] / n - mean.square()).clamp_min(0).sqrt().cpu().numpy()
    return found
