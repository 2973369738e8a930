"""The softmax probe of a category, with an L2 penalty.

For K classes, which are the columns of the design's labels, `fit_softmax` minimizes over the weights W and intercepts b

    sum_i -log softmax_k(x_i.W + b)[k = class of i]  +  |W|^2 / (2 C),

the objective of scikit-learn's multinomial `LogisticRegression(C=C)` divided by C. (With two classes scikit-learn fits
one logistic probe instead; this objective is that one's at 2 C, where the two columns of W are each other's negatives.)

The search is L-BFGS (`lbfgs`) over all weights together, one pass over the rows a step. Its metric has a block for each
class, the Hessian of that class with the others held: `X' diag(p_k (1 - p_k)) X + 1/C`. The Hessian of all has blocks
between classes too; what they do is left to L-BFGS. (Böhning, 1992, Annals of the Institute of Statistical Mathematics
44, bounds the blocks by a Gram matrix.) At first a block is the Gram matrix times the mean variance of its class; where
progress is slow the blocks are estimated from a sample of the rows, as in `passes`.

Convergence is as in `logistic`: half of `g' B^-1 g`, with what L-BFGS has seen in B, is at most `tolerance` of the
objective. Since B lacks the blocks between classes, the true gap can be ten times that, and the default is stricter.

The sum of the intercepts makes no difference to the probabilities; it is 0 in the result. A class without a row is left
out of the model, and so NaN in the result. With fewer than two classes that have rows there is nothing to fit.

Memory: `20 (units + 1)^2` bytes for each class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.lbfgs import SHORTEST, Search, factor
from deepbase.measures.probes.logistic import FAR, Shared, starting_points
from deepbase.measures.probes.passes import Hessian, blocks, sum_hessians
from deepbase.measures.probes.start import survey

FIRST_CURVATURE = 4
"""Passes before the blocks may be estimated."""
SAMPLE = 10_000
"""Rows for the estimate of a block."""


@dataclass(frozen=True)
class SoftmaxFit:
    """The probe of a category.

    Attributes:
        coefficients: float64[class, unit]; 0 for units that are 0 throughout; NaN for classes without a row.
        intercept: float64[class], with the sum 0 over the classes that have rows.
        objective: the penalized sum of the losses; NaN where there is nothing to fit.
        passes: how often the design was read for the search.
        converged: whether the criterion of convergence was met.
    """

    coefficients: Tensor
    intercept: Tensor
    objective: float
    passes: int
    converged: bool


def fit_softmax(design: Design, strength: float, *, tolerance: float = 1e-7, max_passes: int = 500) -> SoftmaxFit:
    """Fit the probe.

    Args:
        design: the rows; one class, and only one, is true at each.
        strength: scikit-learn's C, positive; the greater, the weaker the penalty.
        tolerance: how near to the optimum, relative to the objective; see above.
        max_passes: when to give up; `converged` is false then, and the result the best point.
    """
    found = survey(design)
    kept = None if found is None else found.varies.nonzero()[:, 0]
    if found is None or kept is None or len(kept) < 2:
        empty = torch.full((design.hypotheses, design.units + 1), torch.nan, dtype=torch.float64)
        return SoftmaxFit(empty[:, :-1], empty[:, -1], float("nan"), 0, False)
    ridge = torch.full_like(found.positives[kept], 1 / strength)
    shared = Shared(found)
    points, variance = starting_points(found, shared, kept, ridge)
    metric = _Blocks(shared, variance, ridge)
    search = Search(points.reshape(1, -1))
    known, wanted, close = torch.inf, False, False
    while not close and int(search.passes) < max_passes and float(search.length) >= SHORTEST:
        points = search.there().view_as(points)
        value, gradient, hessians = _evaluate(design, points, kept, SAMPLE if wanted else 0)
        weights = points * ridge[:, None]
        weights[:, -1] = 0
        value += (weights * points).sum() / 2
        fresh = search.accepts(value) & bool(hessians)
        if fresh:
            metric.take(hessians)
        slow = bool(search.step(value, (gradient + weights).reshape(1, -1), fresh, metric))
        known = float(search.decrement) if fresh else known
        wanted = slow and float(search.decrement) <= FAR * known and int(search.passes) >= FIRST_CURVATURE - 1
        close = float(search.decrement) <= 2 * tolerance * float(search.value)
    result = points.new_full((design.hypotheses, design.units + 1), torch.nan)
    result[kept] = search.point.view_as(points)
    result[kept, -1] -= result[kept, -1].mean()
    return SoftmaxFit(result[:, :-1], result[:, -1], float(search.value), int(search.passes), close)


class _Blocks:
    """The metric: a block for each class, at first the Gram matrix times the mean variance of the class."""

    def __init__(self, shared: Shared, variance: Tensor, ridge: Tensor) -> None:
        self.shared, self.variance, self.ridge = shared, variance, ridge
        self.factors: list[Tensor] = []

    def take(self, hessians: list[Hessian]) -> None:
        """Make those the blocks."""
        self.factors = []
        for hessian, ridge in zip(hessians, self.ridge, strict=True):
            whole = hessian.whole()
            whole.diagonal()[:-1] += ridge
            self.factors.append(factor(whole))

    def __call__(self, gradient: Tensor) -> Tensor:
        parts = gradient.view(len(self.ridge), -1)
        if not self.factors:
            return self.shared.solve(parts, self.variance, self.ridge).reshape(1, -1)
        solved = [torch.cholesky_solve(x[:, None], f)[:, 0] for x, f in zip(parts, self.factors, strict=True)]
        return torch.cat(solved)[None]


def _evaluate(design: Design, points: Tensor, kept: Tensor, sample: int) -> tuple[Tensor, Tensor, list[Hessian]]:
    """Read the design once: float64[1], the loss; float64[class, unit + 1], its gradient; and the blocks if wanted."""
    weights, intercept = points[:, :-1].float(), points[:, -1:].float()
    value = points.new_zeros(1)
    gradient = torch.zeros_like(points)
    hessians = [Hessian(design, sample, points) for _ in kept] if sample else []
    for units, labels in blocks(design):
        true = labels.T[kept]
        logs = torch.addmm(intercept, weights, units.T).log_softmax(0)
        value -= (true * logs).sum(dtype=torch.float64)
        share = logs.exp_()
        if hessians:
            sum_hessians(hessians, units, share * (1 - share), design.rows)
        residual = share.sub_(true)
        gradient[:, :-1] += residual @ units
        gradient[:, -1] += residual.sum(1, dtype=torch.float64)
    return value, gradient, hessians
