"""L-BFGS for many independent searches at once, one evaluation of all of them a step.

The method is Nocedal and Wright, *Numerical Optimization*, 2nd ed. 2006, algorithms 7.4 and 7.5, with a metric that the
caller gives in place of the scaled identity. A step is accepted by the condition of Armijo (their eq. 3.4); otherwise
it is shortened by cubic interpolation (eq. 3.59), to try again in the next evaluation. All is float64.

Memory: `16 * PAIRS` bytes for each unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, final

import torch
from torch import Tensor

PAIRS = 8
"""Steps that are remembered."""
ARMIJO = 1e-4
ROUNDING = 1e-7
"""By how much of itself an objective of float32 losses may grow in a step that is accepted."""
SHORTEST = 1e-6
"""A search that needs shorter steps than this share of its direction has met the limits of float32."""
SLOW = 0.4
"""Progress is slow where the squared decrement stays above this share of the one before."""


class Stacked:
    """What has a row for each of several searches in every tensor, list, and stack that it has."""

    def only(self, rows: Tensor) -> Self:
        """Those rows, a mask."""
        for name, value in vars(self).items():
            if isinstance(value, list):
                setattr(self, name, [x for x, kept in zip(value, rows.tolist(), strict=True) if kept])
            elif isinstance(value, Tensor | Stacked):
                setattr(self, name, value.only(rows) if isinstance(value, Stacked) else value[rows])
        return self

    def joined(self, other: Self) -> Self:
        """With the others behind."""
        for name, value in vars(self).items():
            more = getattr(other, name)
            if isinstance(value, Tensor):
                setattr(self, name, torch.cat([value, more]))
            elif isinstance(value, list | Stacked):
                setattr(self, name, value.joined(more) if isinstance(value, Stacked) else value + more)
        return self


@final
class Search(Stacked):
    """The searches, one row each.

    Attributes:
        point: float64[search, unknown], the best point yet.
        value: float64[search], the objective there.
        decrement: float64[search], the squared Newton decrement there, `g' B^-1 g`.
        length: float64[search], the share of `direction` that is tried next.
        passes: int64[search], evaluations.
    """

    def __init__(self, point: Tensor) -> None:
        self.point = point
        self.direction, self.gradient = torch.zeros_like(point), torch.zeros_like(point)
        self.value = torch.full_like(point[:, 0], torch.inf)
        self.decrement = self.value.clone()
        self.length = torch.ones_like(self.value)
        self.moves = point.new_zeros(len(point), PAIRS, point.shape[1])
        self.changes = torch.zeros_like(self.moves)
        self.inverse = self.moves[:, :, 0].clone()
        self.passes = torch.zeros_like(self.value, dtype=torch.int64)

    def there(self) -> Tensor:
        """The points to evaluate next."""
        return self.point + self.length[:, None] * self.direction

    def accepts(self, value: Tensor) -> Tensor:
        """bool[search], whether a step to such a value is taken."""
        allowed = self.value * (1 + ROUNDING) - ARMIJO * self.length * self.decrement
        return self.value.isinf() | (value <= allowed)

    def step(self, value: Tensor, gradient: Tensor, fresh: Tensor, metric: Callable[[Tensor], Tensor]) -> Tensor:
        """Go there, or not so far, and choose where to go next.

        Args:
            value: float64[search], the objectives at `there()`.
            gradient: float64[search, unknown].
            fresh: bool[search], whose metrics are new, so that what was seen of the curvature before is forgotten.
            metric: applies the inverses of the metrics to float64[search, unknown].

        Returns:
            bool[search], where the squared decrement is more than `SLOW` of that before, or the step was refused.
        """
        self.passes += 1
        there, accepted = self.there(), self.accepts(value)
        slope = (gradient * self.direction).sum(1)
        shorter = _shorter(self.length, self.value, -self.decrement, value, slope)
        self._remember(there - self.point, gradient - self.gradient, accepted & self.value.isfinite())
        self.inverse[fresh] = 0
        self.point = torch.where(accepted[:, None], there, self.point)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.value = torch.where(accepted, value, self.value)
        before, direction = self.decrement, -self._solve(metric)
        self.direction = torch.where(accepted[:, None], direction, self.direction)
        self.decrement = torch.where(accepted, -(self.gradient * direction).sum(1), before)
        self.length = torch.where(accepted, 1.0, shorter)
        return ~accepted | (self.decrement > SLOW * before)

    def _remember(self, move: Tensor, change: Tensor, moved: Tensor) -> None:
        product = (move * change).sum(1)
        rows = moved & (product > 0)
        for memory, new in ((self.moves, move), (self.changes, change), (self.inverse, 1 / product)):
            memory[rows] = torch.cat([memory[rows][:, 1:], new[rows][:, None]], 1)

    def _solve(self, metric: Callable[[Tensor], Tensor]) -> Tensor:
        """The inverse of the curvature as it is known, times the gradients."""
        result = self.gradient.clone()
        shares = torch.zeros_like(self.inverse)
        for i in range(PAIRS - 1, -1, -1):
            shares[:, i] = self.inverse[:, i] * (self.moves[:, i] * result).sum(1)
            result -= shares[:, i, None] * self.changes[:, i]
        result = metric(result)
        for i in range(PAIRS):
            back = shares[:, i] - self.inverse[:, i] * (self.changes[:, i] * result).sum(1)
            result += back[:, None] * self.moves[:, i]
        return result


def factor(hessian: Tensor) -> Tensor:
    """The Cholesky factor of a Hessian, with a little more on the diagonal where rounding needs it."""
    more = max(1e-12 * float(hessian.diagonal().max()), 1e-300)
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(hessian)
    while int(failed):
        hessian.diagonal().add_(more)
        more *= 10
        lower, failed = torch.linalg.cholesky_ex(hessian)
    return lower


def _shorter(length: Tensor, value: Tensor, slope: Tensor, new_value: Tensor, new_slope: Tensor) -> Tensor:
    """Where the cubic through two values and two slopes is least, between a tenth and a half of the length."""
    a = 3 * (value - new_value) / length + slope + new_slope
    root = (a * a - slope * new_slope).sqrt()
    best = length * (1 - (new_slope + root - a) / (new_slope - slope + 2 * root))
    return torch.minimum(torch.maximum(best.nan_to_num(0), length / 10), length / 2)
