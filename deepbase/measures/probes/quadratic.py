"""Quadratic models with an L1 penalty, of many probes at once.

For each probe: the v with the least `g'(v - w) + (v - w)'B(v - w) / 2 + lasso * sum_j |v_j|`, where the last
coordinate, the intercept, is not penalized. Two methods take turns on the coordinates that are not 0, or that would not
stay so:

* coordinate descent (Friedman, Hastie and Tibshirani, 2010, Journal of Statistical Software 33, section 2), which finds
  the signs, but creeps where units are correlated. A step is one coordinate of all probes;
* with the signs as they are, the exact minimum by one Cholesky factorization (the feature-sign step of Lee, Battle,
  Raina and Ng, 2007, NIPS 19, section 3, on the whole set). Where signs change on the way, the better of two: as far as
  the first change, or to the minimum with 0 in place of the weights that changed.

Both only descend. Everything is float64.

Memory: a second copy of the rows and columns of B that take part.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOGETHER = 8
"""Probes that are solved together: those with about as many weights."""
SWEEPS = 2
ROUNDS = 12
TOLERANCE = 1e-2
"""Rounds end when one lowers no model by more than this share of what all of them did."""


def minimize(curvature: Tensor, gradient: Tensor, point: Tensor, lasso: Tensor) -> tuple[Tensor, Tensor]:
    """Minimize the models.

    Args:
        curvature: float64[probe, unit + 1, unit + 1], B.
        gradient: float64[probe, unit + 1], g, of the smooth part at the point.
        point: float64[probe, unit + 1], w.
        lasso: float64[probe].

    Returns:
        float64[probe, unit + 1], v with zeros that are exact; and float64[probe], by how much the models are lower
        there.
    """
    penalty = lasso[:, None].expand_as(point).clone()
    penalty[:, -1] = 0
    parts = ((point != 0) | (gradient.abs() > penalty)).sum(1)
    target, lowered = torch.empty_like(point), torch.empty_like(lasso)
    order = parts.argsort()
    for rows in (order[i : i + TOGETHER] for i in range(0, len(order), TOGETHER)):
        target[rows], lowered[rows] = _minimize(*(x[rows] for x in (curvature, gradient, point, penalty)))
    return target, lowered


def _minimize(curvature: Tensor, gradient: Tensor, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    here, slope = point.clone(), gradient.clone()
    lowered = torch.zeros_like(point[:, 0])
    for _ in range(ROUNDS):
        part = (here != 0) | (slope.abs() > penalty)
        part[:, -1] = True
        count = int(part.sum(1).max())
        index = part.to(torch.int8).topk(count, dim=1).indices
        small = _Small(curvature, slope, here, penalty, index)
        small.sweep(SWEEPS)
        small.jump()
        here.scatter_(1, index, small.point)
        slope = gradient + (curvature @ (here - point)[:, :, None])[:, :, 0]
        total = _lowered(gradient, slope, point, here, penalty)
        gained, lowered = total - lowered, total
        if bool((gained <= TOLERANCE * lowered).all()):
            break
    return here, lowered


def _lowered(gradient: Tensor, slope: Tensor, point: Tensor, here: Tensor, penalty: Tensor) -> Tensor:
    model = ((gradient + slope) * (here - point)).sum(1) / 2
    return -(model + (penalty * (here.abs() - point.abs())).sum(1))


class _Small:
    """The models of the coordinates that take part: as many for each probe, some of which stay 0."""

    def __init__(self, curvature: Tensor, slope: Tensor, point: Tensor, penalty: Tensor, index: Tensor) -> None:
        probes = torch.arange(len(index), device=index.device)[:, None, None]
        self.curvature = curvature[probes, index[:, :, None], index[:, None, :]]
        self.slope, self.point, self.penalty = (x.gather(1, index) for x in (slope, point, penalty))
        self.diagonal = self.curvature.diagonal(dim1=1, dim2=2).clamp(min=1e-300)

    def sweep(self, times: int) -> None:
        limit = self.penalty / self.diagonal
        for _ in range(times):
            for j in range(self.point.shape[1]):
                old = self.point[:, j]
                new = old - self.slope[:, j] / self.diagonal[:, j]
                new = new.sign() * (new.abs() - limit[:, j]).clamp_(min=0)
                self.slope.addcmul_((new - old)[:, None], self.curvature[:, j])
                self.point[:, j] = new

    def jump(self) -> None:
        """To the exact minimum with the signs as they are; where signs change, to the first 0 or with zeros instead."""
        moving = (self.point != 0) | (self.penalty == 0)
        both = moving[:, :, None] & moving[:, None, :]
        matrix = torch.where(both, self.curvature, 0)
        matrix.diagonal(dim1=1, dim2=2).add_(torch.where(moving, 1e-12 * self.diagonal, 1))
        factor, failed = torch.linalg.cholesky_ex(matrix)
        wrong = torch.where(moving, self.slope + self.penalty * self.point.sign(), 0)
        factor[failed > 0] = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
        step = -torch.cholesky_solve(wrong[:, :, None], factor)[:, :, 0]
        step[failed > 0] = 0
        whole = self.point + step
        crossing = moving & (self.penalty > 0) & (self.point * whole < 0)
        share = torch.where(crossing, -self.point / step, 1)
        length, first = share.min(1)
        until = self.point + length[:, None] * step
        probes = torch.arange(len(first), device=first.device)
        until[probes, first] = torch.where(length < 1, 0, until[probes, first])
        beyond = torch.where(crossing, 0, whole)
        self.point = torch.where((self._change(beyond) < self._change(until))[:, None], beyond, until)

    def _change(self, to: Tensor) -> Tensor:
        """How the models change from here to there."""
        move = to - self.point
        bent = (self.curvature @ move[:, :, None])[:, :, 0]
        return (move * (self.slope + bent / 2) + self.penalty * (to.abs() - self.point.abs())).sum(1)
