"""Sparse logistic probes: L1 penalties and elastic nets, of all hypotheses and strengths in one computation.

For a hypothesis y and a strength C, `fit_elastic` minimizes over the weights w and the intercept b

    sum_i log(1 + exp(-(2 y_i - 1)(x_i.w + b)))  +  ((1 - r) |w|^2 / 2 + r sum_j |w_j|) / C,     r = `l1_ratio`,

the objective of scikit-learn's `LogisticRegression(C=C, l1_ratio=r)` divided by C. The intercept is not penalized
(scikit-learn's solver `liblinear` penalizes it as one more weight, unless `intercept_scaling` is large).

The search is Newton's method with a proximal step (Yuan, Ho and Lin, 2012, *newGLMNET*, Journal of Machine Learning
Research 13, 1999-2030; Lee, Sun and Saunders, 2014, SIAM Journal on Optimization 24). Each step minimizes the quadratic
model of the losses together with the exact penalty (`quadratic`), and then goes there, or a share of the way until the
objective decreases enough. Rows are needed only for values, gradients and Hessians: one pass takes them for all probes,
and the models are solved without rows. The Hessians are estimated anew in each pass, from a sample of the rows as in
`passes`. The start is the same step for least squares, on the scale of log odds (`start`).

Convergence: by the quadratic model, the gap to the optimum is at most `tolerance` of the objective. (For a penalty that
is 0 this is half the squared Newton decrement.)

Everything but the rows is float64; zeros among the weights are exact.

Memory: `32 (units + 1)^2` bytes for each probe in the computation. `memory` bounds that: the others wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.lbfgs import ARMIJO, ROUNDING
from deepbase.measures.probes.logistic import fit_logistic
from deepbase.measures.probes.passes import Evaluation
from deepbase.measures.probes.quadratic import minimize
from deepbase.measures.probes.result import LogisticFit
from deepbase.measures.probes.start import Survey, to_scale
from deepbase.measures.probes.together import AbstractSearches, Begin, fit_together

SAMPLE = 2500
"""Rows for one Hessian, at least, and"""
SAMPLES = 200_000
"""rows for all Hessians of a pass, where that is more."""
DAMPING = 1e-3
"""Share of the Gram matrix's diagonal in a Hessian: a unit may be 0 at all sampled rows."""


def fit_elastic(
    design: Design,
    strengths: Sequence[float],
    l1_ratio: float,
    *,
    tolerance: float = 1e-6,
    max_passes: int = 200,
    memory: int = 2**30,
) -> tuple[LogisticFit, ...]:
    """Fit the sparse probes of all hypotheses.

    Args:
        design: the rows.
        strengths: scikit-learn's C, positive; all are fitted at the same time.
        l1_ratio: the share of the L1 penalty, from 0 (`fit_logistic`) to 1 (no L2 penalty).
        tolerance: how near to the optimum, relative to the objective; see above.
        max_passes: after how many passes a probe gives up; it has `converged` false then, and its best point.
        memory: bytes for the models of the probes that are in the computation at the same time; one always is.

    Returns:
        A fit for each strength, in their order.
    """
    if l1_ratio == 0:
        return fit_logistic(design, strengths, tolerance=tolerance, max_passes=max_passes, memory=memory)

    def prepare(found: Survey) -> Begin:
        return lambda probe, weight: _Searches(found, probe, (1 - l1_ratio) * weight, l1_ratio * weight)

    room = memory // (32 * (design.units + 1) ** 2)
    return fit_together(design, strengths, prepare, tolerance=tolerance, max_passes=max_passes, room=room)


@final
class _Searches(AbstractSearches):
    """The searches, one row each, with their models."""

    def __init__(self, found: Survey, probe: Tensor, ridge: Tensor, lasso: Tensor) -> None:
        self.found = found
        self.probe, self.ridge, self.lasso = probe, ridge, lasso
        hypothesis = probe % len(found.sums)
        self.model = (found.gram / 4).expand(len(probe), -1, -1).clone()
        self._regularize(slice(None))
        origin = torch.zeros_like(found.sums[hypothesis])
        direction, _ = minimize(self.model, found.gram[-1] / 2 - found.sums[hypothesis], origin, lasso)
        self.point, _ = to_scale(found, direction, hypothesis, ridge, lasso)
        self.target, self.gradient = self.point.clone(), torch.zeros_like(self.point)
        self.value, self.length = torch.full_like(ridge, torch.inf), torch.ones_like(ridge)
        self.gap, self.slope = self.value.clone(), torch.zeros_like(ridge)
        """How far above the optimum the point is by the model; the derivative that Armijo's condition asks for."""
        self.passes = torch.zeros_like(probe)

    def _regularize(self, rows: Tensor | slice) -> None:
        """Add the L2 penalty, and the damping, to those models."""
        model = self.model[rows]
        share = DAMPING * model[:, -1, -1] / self.found.gram[-1, -1]
        more = share[:, None] * self.found.gram.diagonal()
        more[:, :-1] += self.ridge[rows][:, None]
        model.diagonal(dim1=1, dim2=2).add_(more)
        self.model[rows] = model

    def standing(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """How far they have come."""
        return self.point, self.value, self.gap, self.passes, self.length

    def sample(self, rows: int) -> list[int]:
        """From how many rows the Hessian of each probe is estimated in the next pass."""
        return [min(4 * rows, max(SAMPLE, SAMPLES // len(self.probe)))] * len(self.probe)

    def there(self) -> Tensor:
        """The next point to look at; zeros of the target are kept by a whole step."""
        whole = (self.length == 1)[:, None]
        return torch.where(whole, self.target, self.point + self.length[:, None] * (self.target - self.point))

    def step(self, there: Tensor, seen: Evaluation) -> None:
        """Go there, or not so far, and choose where to go next."""
        self.passes += 1
        weights = there.clone()
        weights[:, -1] = 0
        value = seen.value + self.ridge * weights.square().sum(1) / 2 + self.lasso * weights.abs().sum(1)
        gradient = seen.gradient + self.ridge[:, None] * weights
        first = self.value.isinf()
        accepted = first | (value <= self.value * (1 + ROUNDING) + ARMIJO * self.length * self.slope)
        for i in accepted.nonzero()[:, 0].tolist():
            hessian = seen.curvature[i]
            assert hessian is not None
            self.model[i] = hessian
        self._regularize(accepted)
        self.point = torch.where(accepted[:, None], there, self.point)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.value = torch.where(accepted, value, self.value)
        self.length = torch.where(accepted, 1.0, self.length / 3)
        self._aim(accepted)

    def _aim(self, rows: Tensor) -> None:
        """Solve the models at the new points."""
        if not bool(rows.any()):
            return
        point, gradient, lasso = self.point[rows], self.gradient[rows], self.lasso[rows]
        model = self.model if bool(rows.all()) else self.model[rows]
        target, gap = minimize(model, gradient, point, lasso)
        self.target[rows], self.gap[rows] = target, gap
        change = target[:, :-1].abs().sum(1) - point[:, :-1].abs().sum(1)
        self.slope[rows] = (gradient * (target - point)).sum(1) + lasso * change
