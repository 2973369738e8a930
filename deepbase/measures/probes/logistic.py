"""Logistic probes with an L2 penalty, of all hypotheses and all strengths of the penalty in one computation.

For a hypothesis y and a strength C, `fit_logistic` minimizes over the weights w and the intercept b

    sum_i log(1 + exp(-(2 y_i - 1)(x_i.w + b)))  +  |w|^2 / (2 C),

the objective of scikit-learn's `LogisticRegression(C=C)` divided by C. Each probe gets its own optimum; what is shared
is the work. One pass over the rows evaluates all probes (`passes`), and a probe leaves when it has converged.

The search is L-BFGS (Nocedal and Wright, *Numerical Optimization*, 2nd ed. 2006, algorithm 7.4) with a metric for each
probe in place of its scaled identity (their section 7.2, "H_k^0"):

1. It starts from least squares on the scale of log odds (`start`).
2. The first metric is the Gram matrix G, weighted for each probe: `c G + 1/C`, with c the mean variance of its
   predictions. All probes share one eigendecomposition of G. (c = 1/4 is the bound of Böhning, 1992, Annals of the
   Institute of Statistical Mathematics 44, section 2.)
3. Where G is the wrong metric, and for rare classes it is, since few rows bend their loss, progress is slow. A probe
   that is slow after `FIRST_CURVATURE` passes gets its own Hessian, estimated from a sample of the rows where it is in
   doubt, and again when the search has gone far from there. As probes leave, the samples of those that stay get larger.
4. Steps are accepted by the condition of Armijo and otherwise shortened by cubic interpolation (Nocedal and Wright,
   eq. 3.59), to try again in the next pass.

Convergence: half the squared Newton decrement in the metric of the search, `g' B^-1 g / 2`, is at most `tolerance` of the
objective. With the Hessian as B that is the gap to the optimum up to third order (Boyd and Vandenberghe, *Convex
Optimization*, 2004, section 9.5.1, eq. 9.30); here B comes from an estimate and from the curvature that the search saw.

Weights, gradients, metrics and decisions are float64; see `passes` for the rows.

Memory: `12 (units + 1)^2` bytes for each probe that has a metric of its own. `memory` bounds that: the probes that do not
fit wait until others have converged.

Left out: penalties of the intercept, weights of rows, warm starts from another fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.passes import Evaluation, evaluate
from deepbase.measures.probes.result import Collected, LogisticFit
from deepbase.measures.probes.start import Survey, survey, to_scale

PAIRS = 8
"""Steps that L-BFGS remembers."""
FIRST_CURVATURE = 8
"""Passes before a probe may ask for its Hessian."""
SLOW = 0.4
"""Progress is slow where the squared decrement stays above this share of the one before."""
FAR = 0.05
"""The search has gone far from its last Hessian where the squared decrement is below this share of the one there."""
SAMPLE = 2500
"""Rows for one Hessian, at least, and"""
SAMPLES = 200_000
"""rows for all Hessians of a pass, where that is more."""
ARMIJO = 1e-4
ROUNDING = 1e-7
"""By how much of itself an objective of float32 losses may grow in a step that is accepted."""
SHORTEST = 1e-6


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
    found = survey(design)
    if found is None:
        return Collected(len(strengths) * design.hypotheses, design.units, torch.device("cpu")).fits(len(strengths))
    device = found.gram.device
    results = Collected(len(strengths) * design.hypotheses, design.units, device)
    waiting = found.varies.repeat(len(strengths)).nonzero()[:, 0]
    ridge = torch.tensor([1 / c for c in strengths], dtype=torch.float64, device=device)
    ridge = ridge.repeat_interleave(design.hypotheses)
    room = max(1, memory // (12 * (design.units + 1) ** 2))
    metric = _Shared(found)
    running: _Running | None = None
    while len(waiting) or running is not None:
        free = room - (0 if running is None else len(running.probe))
        if free > 0 and len(waiting):
            new, waiting = waiting[:free], waiting[free:]
            entering = _entering(found, metric, new, ridge[new])
            running = entering if running is None else running.joined(entering)
        assert running is not None
        there = running.point + running.length[:, None] * running.direction
        sample = running.sample(design.rows)
        seen = evaluate(design, there, running.probe % design.hypotheses, sample)
        running.step(there, seen)
        close = running.decrement <= 2 * tolerance * running.value
        done = close | (running.passes >= max_passes) | (running.length < SHORTEST)
        results.put(*(x[done] for x in (running.probe, running.point, running.value, running.passes, close)))
        running = running.only(~done)
    return results.fits(len(strengths))


class _Shared:
    """The Gram matrix as a metric: its eigendecomposition, with the intercept by itself."""

    def __init__(self, found: Survey) -> None:
        size, vectors = torch.linalg.eigh(found.gram[:-1, :-1])
        self.size = torch.cat([size.clamp(min=0), found.gram[-1:, -1]])
        self.vectors = torch.block_diag(vectors, torch.ones_like(vectors[:1, :1]))

    def solve(self, gradient: Tensor, variance: Tensor, ridge: Tensor) -> Tensor:
        """Apply the inverses of `variance * gram + ridge`, float64[probe, unit + 1]."""
        size = variance[:, None] * self.size
        size[:, :-1] += ridge[:, None]
        return ((gradient @ self.vectors) / size.clamp(min=1e-300)) @ self.vectors.T


def _entering(found: Survey, metric: _Shared, probe: Tensor, ridge: Tensor) -> _Running:
    """Probes at their start."""
    hypothesis = probe % len(found.sums)
    quarter = torch.full_like(ridge, 0.25)
    points = metric.solve(found.sums[hypothesis] - found.gram[-1] / 2, quarter, ridge)
    points, variance = to_scale(found, points, hypothesis, ridge, torch.zeros_like(ridge))
    points[:, :-1][:, found.gram.diagonal()[:-1] == 0] = 0
    return _Running(metric, probe, ridge, variance, points)


class _Running:
    """The probes in the computation, one row each, and what their searches remember."""

    def __init__(self, shared: _Shared, probe: Tensor, ridge: Tensor, variance: Tensor, point: Tensor) -> None:
        self.shared = shared
        self.own: list[Tensor | None] = [None] * len(probe)
        """Cholesky factors of the Hessians, of the probes that have theirs."""
        self.probe, self.ridge, self.variance, self.point = probe, ridge, variance, point
        self.direction, self.gradient = torch.zeros_like(point), torch.zeros_like(point)
        self.value = torch.full_like(ridge, torch.inf)
        self.decrement, self.known = self.value.clone(), self.value.clone()
        """The squared Newton decrement at the point, and where the last Hessian was taken."""
        self.length = torch.ones_like(ridge)
        self.moves = point.new_zeros(len(probe), PAIRS, point.shape[1])
        self.changes = torch.zeros_like(self.moves)
        self.inverse = self.moves[:, :, 0].clone()
        self.wanted = torch.zeros_like(probe, dtype=torch.bool)
        self.passes = torch.zeros_like(probe)

    def only(self, rows: Tensor) -> _Running | None:
        """Those probes, a mask; None where there is none."""
        if bool(rows.all()):
            return self
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])
        self.own = [x for x, kept in zip(self.own, rows.tolist(), strict=True) if kept]
        return self if self.own else None

    def joined(self, other: _Running) -> _Running:
        """With the others behind."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, torch.cat([value, getattr(other, name)]))
        self.own += other.own
        return self

    def sample(self, rows: int) -> list[int]:
        """From how many rows each probe wants its Hessian in the next pass."""
        each = min(4 * rows, max(SAMPLE, SAMPLES // max(1, int(self.wanted.sum()))))
        return [each * wanted for wanted in self.wanted.tolist()]

    def step(self, there: Tensor, seen: Evaluation) -> None:
        """Go there, or not so far, and choose where to go next."""
        self.passes += 1
        weights = there * self.ridge[:, None]
        weights[:, -1] = 0
        value = seen.value + (weights * there).sum(1) / 2
        gradient = seen.gradient + weights
        slope = (gradient * self.direction).sum(1)
        first = self.value.isinf()
        accepted = first | (value <= self.value * (1 + ROUNDING) - ARMIJO * self.length * self.decrement)
        shorter = _shorter(self.length, self.value, -self.decrement, value, slope)
        self._remember(there - self.point, gradient - self.gradient, accepted & ~first)
        self.point = torch.where(accepted[:, None], there, self.point)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.value = torch.where(accepted, value, self.value)
        fresh = self._take(seen.curvature, accepted)
        before = self.decrement
        direction = -self._solve(self.gradient)
        self.direction = torch.where(accepted[:, None], direction, self.direction)
        self.decrement = torch.where(accepted, -(self.gradient * direction).sum(1), before)
        self.length = torch.where(accepted, 1.0, shorter)
        self.known = torch.where(fresh, self.decrement, self.known)
        slow = ~accepted | (self.decrement > SLOW * before)
        far = self.decrement <= (FAR if len(self.own) * SAMPLE > SAMPLES // 4 else 1) * self.known
        self.wanted = slow & far & ~fresh & (self.passes >= FIRST_CURVATURE - 1)

    def _remember(self, move: Tensor, change: Tensor, moved: Tensor) -> None:
        product = (move * change).sum(1)
        rows = moved & (product > 0)
        for memory, new in ((self.moves, move), (self.changes, change), (self.inverse, 1 / product)):
            memory[rows] = torch.cat([memory[rows][:, 1:], new[rows][:, None]], 1)

    def _take(self, curvature: Sequence[Tensor | None], accepted: Tensor) -> Tensor:
        """Make the Hessians at accepted points the metrics; which probes have a new one."""
        fresh = torch.zeros_like(accepted)
        for i, (hessian, taken) in enumerate(zip(curvature, accepted.tolist(), strict=True)):
            if hessian is not None and taken:
                hessian.diagonal()[:-1] += self.ridge[i]
                self.own[i] = _factor(hessian)
                fresh[i] = True
        self.inverse[fresh] = 0
        return fresh

    def _solve(self, gradient: Tensor) -> Tensor:
        """The inverse of the curvature as it is known, times the gradients: the two loops of L-BFGS."""
        result = gradient.clone()
        shares = torch.zeros_like(self.inverse)
        for i in range(PAIRS - 1, -1, -1):
            shares[:, i] = self.inverse[:, i] * (self.moves[:, i] * result).sum(1)
            result -= shares[:, i, None] * self.changes[:, i]
        common = torch.tensor([x is None for x in self.own], device=gradient.device)
        result[common] = self.shared.solve(result[common], self.variance[common], self.ridge[common])
        for i, factor in enumerate(self.own):
            if factor is not None:
                result[i] = torch.cholesky_solve(result[i, :, None], factor)[:, 0]
        for i in range(PAIRS):
            back = shares[:, i] - self.inverse[:, i] * (self.changes[:, i] * result).sum(1)
            result += back[:, None] * self.moves[:, i]
        return result


def _factor(hessian: Tensor) -> Tensor:
    """The Cholesky factor, with a little more on the diagonal where rounding needs it."""
    more = 1e-12 * float(hessian.diagonal().max())
    factor, failed = torch.linalg.cholesky_ex(hessian)
    while int(failed):
        hessian.diagonal().add_(max(more, 1e-300))
        more *= 10
        factor, failed = torch.linalg.cholesky_ex(hessian)
    return factor


def _shorter(length: Tensor, value: Tensor, slope: Tensor, new_value: Tensor, new_slope: Tensor) -> Tensor:
    """Where the cubic through two values and two slopes is least, between a tenth and a half of the length."""
    a = 3 * (value - new_value) / length + slope + new_slope
    root = (a * a - slope * new_slope).sqrt()
    best = length * (1 - (new_slope + root - a) / (new_slope - slope + 2 * root))
    return torch.minimum(torch.maximum(best.nan_to_num(0), length / 10), length / 2)
