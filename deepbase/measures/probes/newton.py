"""Logistic regression on a few units of each hypothesis's own, for all hypotheses at once: Newton's method, batched.

For a hypothesis y in {0, 1} and k chosen units x it minimizes, over the coefficients w and the intercept b,

    sum(log(1 + exp(z)) - y * z) + penalty / 2 * |w|**2,     z = x w + b,

the objective of scikit-learn's `LogisticRegression(C=1 / penalty)`; the intercept has no penalty. Each Newton step
(Boyd and Vandenberghe 2004, "Convex Optimization", section 9.5) is one pass, in which the value, the gradient and the
Hessian of size k + 1 of all hypotheses are summed over gathered columns. A step that does not lessen the value is
quartered. A hypothesis is done when its Newton decrement is below `DECREMENT`; after the last step the decrement is
some square of it, far below rounding. The ones that are done cost nothing in later passes. Several choices of units (k
= 1, 2, 4, ...) share the passes.

Precision: the value, the gradient, and so the solution, in float64; the products of the Hessian, which only says where
to step, in float32.

Cost: about 6 to 12 passes of `2 * rows * hypotheses * (k + 1)**2` operations each. Memory: `8 * hypotheses * (k +
1)**2` bytes, and `GATHERED` for the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.rows import Weights, portions

DECREMENT = 1e-9
PASSES = 100
"""More are never needed; a bound for data that are not finite."""
GATHERED = 1 << 23
"""Bytes of the columns that are gathered at once, and of each of the few tensors of their size."""


def logistic_on(design: Design, choices: Sequence[Tensor], positives: Tensor, penalty: float = 1.0) -> list[Weights]:
    """Logistic regression of every hypothesis on each of some choices of units.

    A hypothesis of one class has coefficients 0 and the intercept -inf or inf.

    Args:
        design: the training rows; the hypotheses are boolean.
        choices: int64[hypothesis, k] each: the units that each hypothesis is fitted on.
        positives: float64[hypothesis], the rows where it holds.
        penalty: above 0.

    Returns:
        For each choice the coefficients float64[hypothesis, k] and the intercepts float64[hypothesis].
    """
    odds = (positives / (design.rows - positives)).log()
    problems = [_Problem(units, design.units, odds, penalty) for units in choices]
    for _ in range(PASSES):
        open_ones = [p for p in problems if len(p.active)]
        if not open_ones:
            break
        for p in open_ones:
            p.begin()
        widest = max(p.columns.numel() for p in open_ones)
        for x, y in portions(design, min(max(GATHERED // (8 * widest), 64), 4096)):
            columns, labels = x.new_ones(x.shape[1] + 1, len(x), dtype=torch.float64), y.T.double()
            columns[:-1] = x.T
            for p in open_ones:
                p.add(columns, labels)
        for p in open_ones:
            p.step()
    return [(p.best[:, :-1], p.best[:, -1]) for p in problems]


class _Problem:
    """The descent of all hypotheses on one choice of units. The intercept is the last of the unknowns.

    Attributes:
        best: float64[hypothesis, unknown], where the least value was found.
        active: int64[active], the hypotheses that are not done; the tensors below have rows for these.
        columns: int64[active * unknown], the units of all of them, the line of ones after those of each.
        exact, coarse: float64 and float32[active, unknown, row], what was gathered last; kept for their storage.
        value, gradient, hessian: at the trial point; after `step`, unless it was refused, at the best one.
    """

    def __init__(self, units: Tensor, intercept: int, odds: Tensor, penalty: float) -> None:
        self.units, self.intercept = units, intercept
        self.exact = self.coarse = odds[:0]
        self.best = torch.zeros(len(units), units.shape[1] + 1, dtype=torch.float64, device=units.device)
        self.best[:, -1] = odds
        self.active = odds.isfinite().nonzero()[:, 0]
        self.trial = self.best[self.active]
        self.least = torch.full_like(odds, torch.inf)[self.active]
        self.move = torch.zeros_like(self.trial)
        self.penalty = torch.full_like(self.best[0], penalty)
        self.penalty[-1] = 0

    def begin(self) -> None:
        """Start the sums at the trial points with the penalty."""
        self.columns = pad(self.units[self.active], (0, 1), value=self.intercept).flatten()
        self.value = (self.penalty * self.trial.square()).sum(1) / 2
        self.gradient = self.penalty * self.trial
        self.hessian = self.penalty.diag().repeat(len(self.active), 1, 1)

    def add(self, columns: Tensor, labels: Tensor) -> None:
        """Add some rows: float64[unit, row], and below it a line of ones, and float64[hypothesis, row]."""
        shape = (*self.trial.shape, columns.shape[1])
        if self.exact.shape != shape:
            self.exact, self.coarse = columns.new_empty(shape), columns.new_empty(shape, dtype=torch.float32)
        torch.index_select(columns, 0, self.columns, out=self.exact.view(-1, shape[2]))
        x, y = self.coarse.copy_(self.exact), labels[self.active]
        z = torch.bmm(self.trial[:, None], self.exact)[:, 0]
        p = z.sigmoid()
        self.value += (softplus(z) - y * z).sum(1)
        self.gradient += torch.bmm((p - y)[:, None], self.exact.mT)[:, 0]
        self.hessian += torch.bmm(x * (p * (1 - p)).float()[:, None], x.mT)

    def step(self) -> None:
        """Take the trial points that are better, choose the next ones, and drop the hypotheses that are done."""
        better = self.value <= self.least + 1e-12 * self.least.abs()
        newton, failed = torch.linalg.solve_ex(self.hessian, self.gradient[:, :, None])
        newton = torch.where(failed[:, None] == 0, -newton[:, :, 0], -self.gradient)
        decrement = -(newton * self.gradient).sum(1)
        done = better & (decrement < DECREMENT)
        self.move = torch.where(better[:, None], newton, self.move / 4)
        point = torch.where(better[:, None], self.trial, self.best[self.active])
        self.best[self.active] = torch.where(done[:, None], self.trial + newton, point)
        self.least = torch.where(better, self.value, self.least)
        stuck = ~better & (self.move.abs().amax(1) < 1e-14)
        kept = ~(done | stuck | self.value.isnan())
        self.trial, self.move, self.least = (point + self.move)[kept], self.move[kept], self.least[kept]
        self.active = self.active[kept]
