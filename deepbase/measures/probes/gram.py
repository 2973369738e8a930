"""Sums of products of a design: all that least squares, discriminants, CCA and CKA need of any number of rows.

For units x and hypotheses y over the rows: the count n, the sums of x and of y, and of the products xy, xx and yy. They
come from one pass, and what came from two parts of the rows adds up.

Precision. The factorizations that follow magnify each error of xx by its condition number, and units of one layer are
often nearly collinear. So the products are in float64 by default; of the symmetric ones only a triangle is computed, in
panels, and the pass costs about 1.5 times what the full xx in float32 would. `products=torch.float32` is for devices
without fast float64, and for penalties that make the condition number harmless: xx and yy from products of at most
`PORTION` rows in float32, added up in float64. What remains are errors of some 1e-7 of the largest eigenvalue.

Memory: `8 * (units**2 + hypotheses**2 + units * hypotheses)` bytes, and `16 * PORTION * (units + hypotheses)` for a
portion at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.rows import portions

PANEL = 256
"""Columns of a symmetric product that are computed at once."""


@final
@dataclass(frozen=True)
class Sums:
    """First sums, and those of unit times hypothesis.

    Attributes:
        rows: n.
        x: float64[unit].
        y: float64[hypothesis].
        xy: float64[hypothesis, unit].
    """

    rows: int
    x: Tensor
    y: Tensor
    xy: Tensor

    def merge(self, other: Self) -> Self:
        """The sums of the rows of both."""
        return replace(self, rows=self.rows + other.rows, x=self.x + other.x, y=self.y + other.y, xy=self.xy + other.xy)


@final
@dataclass(frozen=True)
class Gram:
    """All sums of products.

    Attributes:
        sums: the first sums, and those of unit times hypothesis.
        xx: float64[unit, unit].
        yy: float64[hypothesis, hypothesis].
        products: in what the products xx and yy of a portion of rows were computed, torch.float64 or torch.float32.
    """

    sums: Sums
    xx: Tensor
    yy: Tensor
    products: torch.dtype

    def merge(self, other: Self) -> Self:
        """The sums of the rows of both."""
        coarser = self.products if self.products == torch.float32 else other.products
        return replace(
            self,
            sums=self.sums.merge(other.sums),
            xx=self.xx + other.xx,
            yy=self.yy + other.yy,
            products=coarser,
        )

    def scatter(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same sums about the means.

        Returns:
            float64[unit, unit], float64[hypothesis, unit] and float64[hypothesis, hypothesis].
        """
        s, n = self.sums, max(self.sums.rows, 1)
        return (
            self.xx - torch.outer(s.x, s.x / n),
            s.xy - torch.outer(s.y, s.x / n),
            self.yy - torch.outer(s.y, s.y / n),
        )

    @property
    def tolerance(self) -> float:
        """The share of the largest eigenvalue of a scatter below which an eigenvalue is rounding.

        Not less than 1e-12: a unit that is a combination of others is one up to the rounding of its float32 values.
        """
        return 1e-12 if self.products == torch.float64 else 1e-6


def sums(design: Design) -> Sums:
    """The first sums and those of unit times hypothesis, in one pass of `2 * rows * units * hypotheses` operations."""
    total: Sums | None = None
    for x, y in portions(design):
        here = _sums_of(x, y)
        total = here if total is None else total.merge(here)
    return total or _no_sums(design)


def gram(design: Design, products: torch.dtype = torch.float64) -> Gram:
    """All sums of products, in one pass.

    Operations: `rows * ((units + PANEL) * units + (hypotheses + PANEL) * hypotheses + 2 * units * hypotheses)`.

    Args:
        design: any.
        products: in what the products xx and yy of a portion of rows are computed, torch.float64 or torch.float32.
    """
    total: Gram | None = None
    for x, y in portions(design):
        a, b = x.to(products), y.to(products)
        first = _sums_of(x, y)
        if total is None:
            total = Gram(first, _square(x), _square(y), products)
        else:
            total = replace(total, sums=total.sums.merge(first))
        _add_triangle(total.xx, a)
        _add_triangle(total.yy, b)
    if total is None:
        nothing = _no_sums(design)
        return Gram(nothing, _square(nothing.x[None]), _square(nothing.y[None]), products)
    return replace(total, xx=_mirrored(total.xx), yy=_mirrored(total.yy))


def _sums_of(x: Tensor, y: Tensor) -> Sums:
    units, labels = x.double(), y.double()
    return Sums(len(x), units.sum(0), labels.sum(0), labels.T @ units)


def _no_sums(design: Design) -> Sums:
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64)

    return Sums(0, zeros(design.units), zeros(design.hypotheses), zeros(design.hypotheses, design.units))


def _square(x: Tensor) -> Tensor:
    return torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)


def _add_triangle(total: Tensor, x: Tensor) -> None:
    """Add the products of columns to the lower triangle; above the diagonal, some of them."""
    for first in range(0, x.shape[1], PANEL):
        end = first + PANEL
        total[first:end, :end] += x[:, first:end].T @ x[:, :end]


def _mirrored(total: Tensor) -> Tensor:
    return total.tril() + total.tril(-1).T


def solve(matrix: Tensor, right: Tensor, tolerance: float) -> Tensor:
    """The solution of least norm of a positive semidefinite system.

    By a Cholesky factorization where the matrix is well conditioned. Else the inverse is the pseudo-inverse, from the
    eigenvalues above `tolerance` of the largest. Columns that are 0, which are constant units, do not matter to the
    choice, and their unknowns are 0.

    Args:
        matrix: float64[unit, unit], symmetric, no negative eigenvalues.
        right: float64[unit, column].
        tolerance: what is rounding.

    Returns:
        float64[unit, column]; NaN throughout if the matrix is not finite.
    """
    if not bool(matrix.isfinite().all()):
        return torch.full_like(right, torch.nan)
    live = (matrix.diagonal() > 0).nonzero()[:, 0]
    solution = torch.zeros_like(right)
    if not len(live):
        return solution
    matrix = matrix[live][:, live]
    factor, failed = torch.linalg.cholesky_ex(matrix)
    diagonal = factor.diagonal().square()
    if not int(failed) and float(diagonal.min() / matrix.diagonal().max()) > 1e4 * tolerance:
        solution[live] = torch.cholesky_solve(right[live], factor)
    else:
        values, vectors = spectrum(matrix, tolerance)
        solution[live] = vectors @ ((vectors.T @ right[live]) / values[:, None])
    return solution


def spectrum(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The eigenvalues of a positive semidefinite matrix that are no rounding, the largest first, and their vectors.

    Args:
        matrix: float64[unit, unit], finite.
        tolerance: the share of the largest eigenvalue below which one is rounding.

    Returns:
        float64[eigenvalue] and float64[unit, eigenvalue]; none of a matrix of zeros.
    """
    values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values.flip(0), vectors.flip(1)
    kept = int((values > tolerance * values[:1].clamp(min=0)).sum())
    return values[:kept], vectors[:, :kept]
