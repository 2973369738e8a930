"""One pass over a design: the losses, gradients and curvatures of many logistic probes at once.

A logistic probe of hypothesis y has, at the weights w and the intercept b, the loss `sum_i log(1 + exp(-m_i))` with the
margins `m_i = (2 y_i - 1)(x_i.w + b)`. With `q = sigmoid(-m)` its gradient is `-X'((2y - 1) q)` and its Hessian
`X' diag(q (1 - q)) X`. For all probes together the margins are one matrix product a block and the gradients another.

Hessians have no such product: each probe has its own, and summing it over all rows costs as much as reading the layer
for as many probes as it has units. But most rows say nothing about it: `q (1 - q)` is next to 0 wherever a probe is
sure. So a Hessian is estimated from a sample of the rows, drawn in proportion to `q (1 - q)`, the rows above a
threshold with certainty (systematic sampling with unequal probabilities: Madow, 1949, Annals of Mathematical Statistics
20, 333-354). The estimate is unbiased but for where the sampling starts, and no random numbers are drawn: a fit is the
same each time. Newton's method with sampled Hessians: Roosta-Khorasani and Mahoney, 2019, Mathematical Programming 174;
sampling in proportion to the weights: Xu, Yang, Roosta-Khorasani, Re and Mahoney, 2016, NeurIPS 29, section 3.

Precision: blocks are float32, and so are products inside a block; values and gradients are summed across blocks in
float64. `sigmoid(-m)` keeps its relative precision where a probe is sure of a row, while `p - y` would lose it.

Memory: a block of `BLOCK` rows, six float32[probe, row] of it, and float32[unit, unit] for each Hessian asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepbase.measures.probes.design import Chunk, Design, joined

BLOCK = 8192
"""Rows that are worked on at a time. Small chunks are put together; one that is larger is cut."""

STRIPES = 4
"""Parts of a Hessian's rows, each only as long as the diagonal, since the other half is the same."""


def blocks(design: Design) -> Iterator[Chunk]:
    """The rows of the design in blocks of a useful size."""
    waiting: list[Chunk] = []
    rows = 0
    for chunk in design.read():
        for first in range(0, len(chunk[0]), BLOCK):
            part = chunk[0][first : first + BLOCK], chunk[1][first : first + BLOCK]
            if waiting and rows + len(part[0]) > BLOCK:
                yield joined(waiting)
                waiting, rows = [], 0
            waiting.append(part)
            rows += len(part[0])
    if waiting:
        yield joined(waiting)


@dataclass(frozen=True)
class Evaluation:
    """Probes at a point each, without their penalties.

    Attributes:
        value: float64[probe], the sum of the losses.
        gradient: float64[probe, unit + 1], the intercept last.
        curvature: for each probe float64[unit + 1, unit + 1], or None where it was not asked for.
    """

    value: Tensor
    gradient: Tensor
    curvature: list[Tensor | None]


def evaluate(design: Design, points: Tensor, hypothesis: Tensor, sample: Sequence[int]) -> Evaluation:
    """Read the design once.

    Args:
        design: where the rows are.
        points: float64[probe, unit + 1], weights and, last, intercepts.
        hypothesis: int64[probe], the column of labels of each probe.
        sample: for each probe, from about how many rows its Hessian shall be estimated; 0 for none.
    """
    weights, intercept = points[:, :-1].float(), points[:, -1:].float()
    value = torch.zeros_like(points[:, 0])
    gradient = torch.zeros_like(points)
    hessians = {i: Hessian(design, rows, points) for i, rows in enumerate(sample) if rows}
    curved = torch.tensor(list(hessians), dtype=torch.long, device=points.device)
    for units, labels in blocks(design):
        signs = labels.T[hypothesis].mul_(2).sub_(1)
        opposite = torch.addmm(intercept, weights, units.T).mul_(signs).neg_()
        value += functional.softplus(opposite).sum(1, dtype=torch.float64)
        doubt = opposite.sigmoid_()
        if hessians:
            variance = doubt[curved]
            variance.mul_(1 - variance)
            sum_hessians(list(hessians.values()), units, variance, design.rows)
        residual = signs.mul_(doubt).neg_()
        gradient[:, :-1] += residual @ units
        gradient[:, -1] += residual.sum(1, dtype=torch.float64)
    return Evaluation(value, gradient, [hessians[i].whole() if i in hessians else None for i in range(len(points))])


class Hessian:
    """One probe's Hessian while it is summed, from about `sample` rows."""

    def __init__(self, design: Design, sample: int, like: Tensor) -> None:
        self.sample = sample
        self.stripe = max(64, -(-design.units // STRIPES))
        self.units = torch.zeros(design.units, design.units, dtype=torch.float32, device=like.device)
        self.edge = torch.zeros(design.units + 1, dtype=torch.float64, device=like.device)

    def add(self, units: Tensor, weight: Tensor) -> None:
        """Add some rows with their weights."""
        weighted = units * weight[:, None]
        for first in range(0, self.units.shape[1], self.stripe):
            last = first + self.stripe
            self.units[first:last, :last].addmm_(weighted[:, first:last].T, units[:, :last])
        self.edge[:-1] += weighted.sum(0)
        self.edge[-1] += weight.sum()

    def whole(self) -> Tensor:
        """float64[unit + 1, unit + 1]."""
        hessian = torch.empty(len(self.edge), len(self.edge), dtype=torch.float64, device=self.edge.device)
        below = self.units.tril(-1)
        hessian[:-1, :-1] = below + below.T + self.units.diagonal().diag()
        hessian[-1] = self.edge
        hessian[:, -1] = self.edge
        return hessian


def sum_hessians(hessians: Sequence[Hessian], units: Tensor, variance: Tensor, rows: int) -> None:
    """Add a sample of the rows of a block, each with the inverse of its probability.

    Args:
        hessians: to which to add.
        units: float32[row, unit], a block.
        variance: float32[hessian, row], the weights of the rows; overwritten.
        rows: how many rows the design has.
    """
    share = torch.tensor([rows / hessian.sample for hessian in hessians], device=units.device)[:, None]
    threshold = (variance.mean(1, keepdim=True) * share).clamp_(min=1e-30)
    drawn = (variance / threshold).clamp_(max=1).cumsum_(1).floor_()
    chosen = torch.diff(drawn, dim=1, prepend=torch.zeros_like(drawn[:, :1])) > 0
    torch.maximum(variance, threshold, out=variance)
    for i, hessian in enumerate(hessians):
        index = chosen[i].nonzero()[:, 0]
        if len(index):
            hessian.add(units[index], variance[i, index])
