"""Of no affinity: p-values that know that the symbols of a record are not independent, and q-values.

*The test.* Under the null hypothesis a unit x and a hypothesis y do not vary together, and the sum over all symbols of
`(x - mean(x)) (y - mean(y))` is 0 up to chance. It is a sum over random groups of whole records, which are independent
whatever happens inside a record. So its share of each group is one observation, and Student's t of these observations
is the statistic (random groups: Wolter 2007, Introduction to Variance Estimation, section 2.2; as a test with few
clusters: Ibragimov and Mueller 2010, "t-statistic based correlation and heterogeneity robust inference").

*Thin data.* Groups that say more than others make the test cautious, not bold: its size stays below its level up to
0.08 whatever their variances are (Bakirov and Szekely 2006, cited there). Where next to all that is known of a
hypothesis is from one group there is no p-value: where `(sum v)^2 / sum v^2`, the effective number of groups, is below
2, with v the sum of squares of y about its mean in each group (Carter, Schnepel, Steigerwald 2017, "Asymptotic behavior
of a t-test robust to cluster heterogeneity").

*q-values.* Of all p-values of a run for one measure, over all its models, layers, units, hypotheses and slices: the
least false discovery rate at which a pair is among the discoveries (Benjamini and Hochberg 1995). Their procedure holds
for tests that are independent or positively dependent; that of Benjamini and Yekutieli (2001, "The control of the false
discovery rate in multiple testing under dependency", theorem 1.3) holds always, and its q-values are greater by a
factor of about the logarithm of the number of tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy.special
import torch
from torch import Tensor

from deepbase.blocks import Floats
from deepbase.measures.compile import in_shares

if TYPE_CHECKING:
    from deepbase.measures.moments import PairMoments

LEAST_GROUPS = 2.0
Correction = Literal["bh", "by"]
"""Whose procedure makes q-values: Benjamini and Hochberg's, or Benjamini and Yekutieli's."""


def clustered_p_values(state: PairMoments) -> Floats:
    """Two-sided p-values of no association.

    Args:
        state: the sums by group of records.

    Returns:
        float64[hypothesis, unit]; NaN where the records do not tell.
    """
    of = state.null_class
    mean_x, _ = state.unit_moments()
    mean_y, _ = state.label_moments()
    n = state.n_of[:, of]
    total, squares = torch.zeros_like(state.xy), torch.zeros_like(state.xy)
    x, y = mean_x.float(), mean_y[:, None].float()
    for group, xy in enumerate(state.xy_of):
        within = state.x_of[group].float()[of] - n[group, :, None].float() * x[of]
        share = xy - x[of] * state.y_of[group, :, None].float() - y * within
        total += share
        squares += share.square()
    return p_values_of_shares(total, squares, (n > 0).sum(0)[:, None], effective_groups(state))


def p_values_of_shares(total: Tensor, squares: Tensor, groups: Tensor, effective: Tensor) -> Floats:
    """Two-sided p-values of Student's t of the shares of groups of records.

    Args:
        total: [hypothesis, unit], the sum of the shares.
        squares: [hypothesis, unit], the sum of their squares.
        groups: [hypothesis, 1], how many groups there are.
        effective: [hypothesis], how many tell of the hypothesis.

    Returns:
        float64[hypothesis, unit]; NaN where the records do not tell.
    """
    variance = (squares - total.square() / groups) * groups / (groups - 1).clamp_min(1)
    freedom = groups - 1
    statistic = (total / variance.clamp_min(0).sqrt()).abs()
    known = (effective[:, None] >= LEAST_GROUPS) & (groups > 1) & (variance > 0)
    p = two_sided(statistic, freedom.clamp_min(1))
    return np.where(known.cpu().numpy(), p, np.nan)


def effective_groups(state: PairMoments) -> Tensor:
    """float64[hypothesis]: how many groups of records tell of each hypothesis."""
    mean, _ = state.label_moments()
    n = state.n_of[:, state.null_class]
    v = (state.yy_of - 2 * mean * state.y_of + n * mean.square()).clamp_min(0)
    return v.sum(0).square() / v.square().sum(0)


def q_values(p_values: Sequence[Floats], method: Correction = "bh") -> list[Floats]:
    """The q-values of a family of tests, in the shapes of their p-values; NaN where there is no p-value.

    Args:
        p_values: of all its tests.
        method: of Benjamini and Hochberg, or of Benjamini and Yekutieli.
    """
    flat = np.concatenate([p.ravel() for p in p_values])
    known = ~np.isnan(flat)
    found = np.full(flat.shape, np.nan)
    found[known] = _false_discovery_rates(flat[known], method)
    ends = np.cumsum([p.size for p in p_values])
    return [part.reshape(p.shape) for part, p in zip(np.split(found, ends[:-1]), p_values, strict=True)]


def _false_discovery_rates(p: Floats, method: Correction) -> Floats:
    """As `scipy.stats.false_discovery_control`, which takes four times as long for the millions of a run."""
    order = np.argsort(p)
    rank = np.arange(1, len(p) + 1)
    tests = len(p) * (np.sum(1 / rank) if method == "by" else 1)
    found = np.empty_like(p)
    found[order] = np.minimum.accumulate((p[order] * tests / rank)[::-1])[::-1].clip(max=1)
    return found


def two_sided(statistic: Tensor, freedom: Tensor) -> Floats:
    """The chance of Student's t to be this far from 0, on either side."""
    t, df = statistic.cpu().numpy(), np.broadcast_to(freedom.cpu().numpy(), statistic.shape)
    found = np.empty(t.shape)

    def rows(first: int, last: int) -> None:
        own = df[first:last]
        scipy.special.betainc(own / 2, 0.5, own / (own + np.square(t[first:last])), out=found[first:last])

    in_shares(len(t), 1, rows)
    return found
