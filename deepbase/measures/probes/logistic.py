"""Logistic probes with an L2 penalty, of all hypotheses and all strengths of the penalty in one computation.

For a hypothesis y and a strength C, `fit_logistic` minimizes over the weights w and the intercept b

    sum_i log(1 + exp(-(2 y_i - 1)(x_i.w + b)))  +  |w|^2 / (2 C),

the objective of scikit-learn's `LogisticRegression(C=C)` divided by C. Each probe gets its own optimum; what is shared
is the work. One pass over the rows evaluates all probes (`passes`), and a probe leaves when it has converged.

The search is L-BFGS (`lbfgs`), with a metric for each probe:

1. It starts from least squares on the scale of log odds (`start`).
2. The first metric is the Gram matrix G, weighted for each probe: `c G + 1/C`, with c the mean variance of its
   predictions. All probes share one eigendecomposition of G. (c = 1/4 is the bound of Böhning, 1992, Annals of the
   Institute of Statistical Mathematics 44.)
3. Where G is the wrong metric, and for rare classes it is, since few rows bend their loss, progress is slow. A probe
   that is slow after `FIRST_CURVATURE` passes gets its own Hessian, estimated from a sample of the rows where it is in
   doubt, and again when the search has gone far from there. As probes leave, the samples of those that stay get larger.

Convergence: half the squared Newton decrement in the metric of the search, `g' B^-1 g / 2`, is at most `tolerance` of
the objective. With the Hessian as B that is the gap to the optimum up to third order (Boyd and Vandenberghe, *Convex
Optimization*, 2004, section 9.5.1); here B comes from an estimate and from the curvature that the search saw.

Weights, gradients, metrics and decisions are float64; see `passes` for the rows.

Memory: `20 (units + 1)^2` bytes for each probe that has a metric of its own. `memory` bounds that: the probes that do
not fit wait until others have converged.

Left out: penalties of the intercept, weights of rows, warm starts from another fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.lbfgs import Search, factor
from deepbase.measures.probes.passes import Evaluation
from deepbase.measures.probes.result import LogisticFit
from deepbase.measures.probes.start import Survey, to_scale
from deepbase.measures.probes.together import AbstractSearches, Begin, fit_together

FIRST_CURVATURE = 8
"""Passes before a probe may ask for its Hessian."""
FAR = 0.05
"""The search has gone far from its last Hessian where the squared decrement is below this share of the one there."""
SAMPLE = 2500
"""Rows for one Hessian, at least, and"""
SAMPLES = 200_000
"""rows for all Hessians of a pass, where that is more."""


def fit_logistic(
    design: Design,
    strengths: Sequence[float],
    *,
    tolerance: float = 1e-6,
    max_passes: int = 200,
    memory: int = 2**30,
) -> tuple[LogisticFit, ...]:
    """Fit the probes of all hypotheses.

    Args:
        design: the rows.
        strengths: scikit-learn's C, positive; the greater, the weaker the penalty. All are fitted at the same time.
        tolerance: how near to the optimum, relative to the objective; see above.
        max_passes: after how many passes a probe gives up; it has `converged` false then, and its best point.
        memory: bytes for the metrics of the probes that are in the computation at the same time; one always is.

    Returns:
        A fit for each strength, in their order.
    """

    def prepare(found: Survey) -> Begin:
        return partial(_Searches, found, Shared(found))

    room = memory // (20 * (design.units + 1) ** 2)
    return fit_together(design, strengths, prepare, tolerance=tolerance, max_passes=max_passes, room=room)


class Shared:
    """The Gram matrix as a metric: its eigendecomposition, with the intercept by itself. Units that are 0 stay so."""

    def __init__(self, found: Survey) -> None:
        self.varies = found.gram.diagonal() > 0
        size, vectors = torch.linalg.eigh(found.gram[:-1, :-1])
        self.size = torch.cat([size.clamp(min=0), found.gram[-1:, -1]])
        self.vectors = torch.eye(len(self.size), dtype=vectors.dtype, device=vectors.device)
        self.vectors[:-1, :-1] = vectors

    def solve(self, gradient: Tensor, variance: Tensor, ridge: Tensor) -> Tensor:
        """Apply the inverses of `variance * gram + ridge`, float64[probe, unit + 1]."""
        size = variance[:, None] * self.size
        size[:, :-1] += ridge[:, None]
        result: Tensor = ((gradient @ self.vectors) / size.clamp(min=1e-300)) @ self.vectors.T
        return result * self.varies


def starting_points(found: Survey, shared: Shared, probe: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """float64[probe, unit + 1], where their searches start, and float64[probe], the mean variance there."""
    hypothesis = probe % len(found.sums)
    quarter = torch.full_like(ridge, 0.25)
    points = shared.solve(found.sums[hypothesis] - found.gram[-1] / 2, quarter, ridge)
    return to_scale(found, points, hypothesis, ridge, torch.zeros_like(ridge))


@final
class _Searches(AbstractSearches):
    """The searches, one row each, and their metrics."""

    def __init__(self, found: Survey, shared: Shared, probe: Tensor, ridge: Tensor) -> None:
        self.shared, self.probe, self.ridge = shared, probe, ridge
        points, self.variance = starting_points(found, shared, probe, ridge)
        self.search = Search(points)
        self.own: list[Tensor | None] = [None] * len(probe)
        """Cholesky factors of the Hessians, of the probes that have theirs."""
        self.known = torch.full_like(ridge, torch.inf)
        """The squared decrement where the last Hessian was taken."""
        self.wanted = torch.zeros_like(probe, dtype=torch.bool)
        """Who asks for a Hessian in the next pass."""

    def standing(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """How far they have come."""
        search = self.search
        return search.point, search.value, search.decrement / 2, search.passes, search.length

    def there(self) -> Tensor:
        """The points to look at next."""
        return self.search.there()

    def sample(self, rows: int) -> list[int]:
        """From how many rows each probe wants its Hessian in the next pass."""
        each = min(4 * rows, max(SAMPLE, SAMPLES // max(1, int(self.wanted.sum()))))
        return [each * wanted for wanted in self.wanted.tolist()]

    def step(self, there: Tensor, seen: Evaluation) -> None:
        """Take in what was seen at the points."""
        weights = there * self.ridge[:, None]
        weights[:, -1] = 0
        value = seen.value + (weights * there).sum(1) / 2
        fresh = self._take(seen.curvature, self.search.accepts(value))
        slow = self.search.step(value, seen.gradient + weights, fresh, self._metric)
        self.known = torch.where(fresh, self.search.decrement, self.known)
        far = self.search.decrement <= (FAR if len(self.own) * SAMPLE > SAMPLES // 4 else 1) * self.known
        self.wanted = slow & far & ~fresh & (self.search.passes >= FIRST_CURVATURE - 1)

    def _take(self, curvature: Sequence[Tensor | None], accepted: Tensor) -> Tensor:
        """Make the Hessians at accepted points the metrics; which probes have a new one."""
        fresh = torch.zeros_like(accepted)
        for i, (hessian, taken) in enumerate(zip(curvature, accepted.tolist(), strict=True)):
            if hessian is not None and taken:
                hessian.diagonal()[:-1] += self.ridge[i]
                self.own[i] = factor(hessian)
                fresh[i] = True
        return fresh

    def _metric(self, gradient: Tensor) -> Tensor:
        common = torch.tensor([x is None for x in self.own], device=gradient.device)
        result = torch.empty_like(gradient)
        result[common] = self.shared.solve(gradient[common], self.variance[common], self.ridge[common])
        for i, lower in enumerate(self.own):
            if lower is not None:
                result[i] = torch.cholesky_solve(gradient[i, :, None], lower)[:, 0]
        return result
