"""Where the search for logistic probes starts: least squares, brought to the scale of log odds.

Newton's method from 0 spends most of its steps on growing: on a class that can be separated, each step adds about 1 to
the margins, whatever the direction. Linear least squares finds a good direction for all hypotheses from one Gram matrix
(it is also the exact first Newton step from 0). What it lacks is the scale. So one pass takes the Gram matrix, the sums
of each class, and a sample of the rows; then two numbers a probe, a factor for the weights and an intercept, are fitted
on the sample by Newton's method, for all probes at once. Two numbers do not overfit a few thousand rows, where a whole
probe would.

The sample: each k-th row, about `EVERY`, and the first `POSITIVES` positive rows of each hypothesis. A row stands for
as many rows of its class as the sample is short of.

Memory: float64[unit, unit], `EVERY + POSITIVES * hypotheses` rows at most, and six float32[probe, sampled row].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.passes import blocks

EVERY = 4096
POSITIVES = 16
SCALE_STEPS = 25


@dataclass(frozen=True)
class Survey:
    """What one pass learns.

    Attributes:
        gram: float64[unit + 1, unit + 1], the sums of products of units; the last one is a unit that is always 1.
        sums: float64[hypothesis, unit + 1], the sums over the rows where the hypothesis is true.
        units: float32[sampled row, unit].
        labels: float32[sampled row, hypothesis].
        regular: bool[sampled row], whether it is there as a k-th row, and not only as one that is positive.
    """

    gram: Tensor
    sums: Tensor
    units: Tensor
    labels: Tensor
    regular: Tensor

    @property
    def positives(self) -> Tensor:
        """float64[hypothesis], at how many rows each hypothesis is true."""
        return self.sums[:, -1]

    @property
    def varies(self) -> Tensor:
        """bool[hypothesis], whether there is a row where it is true, and one where it is not."""
        return (self.positives > 0) & (self.positives < self.gram[-1, -1])


def survey(design: Design) -> Survey | None:
    """Read the design once; None where it has no row."""
    gram = sums = seen = None
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    step = max(1, design.rows // EVERY)
    first = 0
    for units, labels in blocks(design):
        if gram is None or sums is None or seen is None:
            gram = units.new_zeros(design.units + 1, design.units + 1, dtype=torch.float64)
            sums = units.new_zeros(design.hypotheses, design.units + 1, dtype=torch.float64)
            seen = units.new_zeros(design.hypotheses)
        gram[:-1, :-1] += units.T @ units
        gram[-1, :-1] += units.sum(0, dtype=torch.float64)
        gram[-1, -1] += len(units)
        sums[:, :-1] += labels.T @ units
        sums[:, -1] += labels.sum(0)
        regular = torch.arange(first, first + len(units), device=units.device) % step == 0
        early = (labels > 0) & (seen + labels.cumsum(0) <= POSITIVES)
        rows = (regular | early.any(1)).nonzero()[:, 0]
        kept.append((units[rows], labels[rows], regular[rows]))
        seen += labels.sum(0)
        first += len(units)
    if gram is None or sums is None:
        return None
    gram[:-1, -1] = gram[-1, :-1]
    units, labels, regular = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return Survey(gram, sums, units, labels, regular)


def to_scale(found: Survey, points: Tensor, hypothesis: Tensor, ridge: Tensor, lasso: Tensor) -> tuple[Tensor, Tensor]:
    """Give directions the size of log odds, and their intercepts.

    Args:
        found: the survey.
        points: float64[probe, unit + 1], directions.
        hypothesis: int64[probe].
        ridge: float64[probe], what half the squared norm of the weights is multiplied by.
        lasso: float64[probe], what their absolute sum is multiplied by.

    Returns:
        float64[probe, unit + 1], the points `(a w, b)` with the least penalized loss on the sample, or next to it; and
        float64[probe], the mean variance of their predictions.
    """
    signs = found.labels.T[hypothesis] * 2 - 1
    weight = _sample_weights(found)[hypothesis]
    along = points[:, :-1].float() @ found.units.T
    square, size = ridge * points[:, :-1].square().sum(1), lasso * points[:, :-1].abs().sum(1)

    def at(pair: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        opposite = torch.addcmul(pair[:, 1:].float(), along, pair[:, :1].float()).mul_(signs).neg_()
        value = (functional.softplus(opposite) * weight).sum(1, dtype=torch.float64)
        doubt = opposite.sigmoid_()
        residual, variance = -doubt * signs * weight, doubt * (1 - doubt) * weight
        slope = torch.stack([(residual * along).sum(1), residual.sum(1)], 1).double()
        slope[:, 0] += square * pair[:, 0] + size
        bend = torch.stack([(variance * along * along).sum(1), (variance * along).sum(1), variance.sum(1)], 1).double()
        bend[:, 0] += square
        return value + square * pair[:, 0] ** 2 / 2 + size * pair[:, 0], slope, bend

    pair = torch.stack([torch.ones_like(square), points[:, -1]], 1)
    value, slope, bend = at(pair)
    step, length = _newton(slope, bend), torch.ones_like(value)[:, None]
    for _ in range(SCALE_STEPS):
        there = pair + length * step
        new_value, new_slope, new_bend = at(there)
        better = ((new_value <= value) & (there[:, 0] >= 0))[:, None]
        value = torch.where(better[:, 0], new_value, value)
        pair, slope, bend = (
            torch.where(better, a, b) for a, b in ((there, pair), (new_slope, slope), (new_bend, bend))
        )
        step, length = _newton(slope, bend), torch.where(better, 1.0, length / 2)
        if bool((-(step * slope).sum(1) <= 1e-2 * value).all()):
            break
    return torch.cat([points[:, :-1] * pair[:, :1], pair[:, 1:]], 1), bend[:, 2] / found.gram[-1, -1]


def _newton(slope: Tensor, bend: Tensor) -> Tensor:
    """The step of two unknowns; a gradient step where they cannot be told apart."""
    a, b, c = bend.unbind(1)
    determinant = a * c - b * b
    regular = determinant > 1e-9 * a * c
    safe = torch.where(regular, determinant, 1)
    first = torch.where(regular, (c * slope[:, 0] - b * slope[:, 1]) / safe, 0)
    second = torch.where(regular, (a * slope[:, 1] - b * slope[:, 0]) / safe, slope[:, 1] / c.clamp(min=1e-9))
    return -torch.stack([first, second], 1)


def _sample_weights(found: Survey) -> Tensor:
    """float32[hypothesis, sampled row], for how many rows each row stands."""
    true = found.labels.T > 0
    false = ~true & found.regular
    negatives = found.gram[-1, -1] - found.positives
    stands = (found.positives / true.sum(1).clamp(min=1))[:, None], (negatives / false.sum(1).clamp(min=1))[:, None]
    return (true * stands[0] + false * stands[1]).float()
