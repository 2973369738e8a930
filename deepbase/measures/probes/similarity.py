"""How similar two sets of units are, over the same rows: CCA and CKA.

The second set stands in the place of the hypotheses of a design. With X and Y about their means:

* `cca`: the canonical correlations are the singular values of `(X'X)^-1/2 X'Y (Y'Y)^-1/2` (Hotelling 1936; the same as
  of `Qx' Qy` from QR factorizations, Björck and Golub 1973). There are as many as the smaller rank. Their mean is the
  similarity of Raghu et al. 2017, "SVCCA", who first reduce both sets to the principal components that hold 99 % of the
  variance (`variance=0.99`). Its weighted mean, PWCCA (Morcos et al. 2018, "Insights on representational similarity",
  section 3), weights each by how much of the first set it accounts for, `sum over units j of |h'x_j|` for the variate
  h.
* `cka`: linear centered kernel alignment, `|Y'X|_F^2 / (|X'X|_F |Y'Y|_F)` (Kornblith et al. 2019, "Similarity of Neural
  Network Representations Revisited", section 3). It is biased upwards where there are few rows for the units.
  `cka_debiased` replaces each of the three by the unbiased estimator of HSIC (Song et al. 2012, eq. 5), which in the
  space of the units is, with the rows x_i and y_i,

      |Y'X|_F^2 - n / (n - 2) sum_i |x_i|^2 |y_i|^2 + |X|_F^2 |Y|_F^2 / ((n - 1) (n - 2)).

Both come from the Gram matrices, which merge; the sum over rows of the last takes a second pass, about the means of the
first. The only regularization of CCA is that principal components below rounding (`Gram.tolerance`), and those beyond
`variance`, are left out. With no more rows than units all correlations are 1, of anything.

Cost: the pass of `gram`; for CCA some `9 * units**3` operations for each set, for CKA nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.gram import Gram, spectrum
from deepbase.measures.probes.rows import portions


@final
@dataclass(frozen=True)
class Cca:
    """Canonical correlations.

    Attributes:
        correlations: float64[min(rank of the one, rank of the other)], descending, from 0 to 1.
        weights: float64[the same], how much of the first set each accounts for, with the sum 1.
    """

    correlations: Tensor
    weights: Tensor

    @property
    def mean(self) -> float:
        """The mean correlation; NaN if all units of a set are constant."""
        return float(self.correlations.mean())

    @property
    def weighted_mean(self) -> float:
        """The projection weighted mean; NaN if all units of a set are constant."""
        return float((self.weights * self.correlations).sum()) if len(self.weights) else float("nan")


def cca(gram: Gram, variance: float = 1.0) -> Cca:
    """Canonical correlations between the units and the hypotheses of a design.

    Args:
        gram: of the rows.
        variance: the share of the variance of each set that its principal components have to hold; 1 for all of them.
    """
    xx, yx, yy = gram.scatter()
    if not (bool(xx.isfinite().all()) and bool(yy.isfinite().all())):
        nothing = xx.new_zeros(0)
        return Cca(nothing, nothing)
    (a, units), (b, others) = (_components(s, gram.tolerance, variance) for s in (xx, yy))
    cross = (others / b.sqrt()).T @ yx @ (units / a.sqrt())
    _, correlations, turns = torch.linalg.svd(cross, full_matrices=False)
    shares = ((units * a.sqrt()) @ turns.T).abs().sum(0)
    return Cca(correlations.clamp(max=1), shares / shares.sum())


def _components(scatter: Tensor, tolerance: float, variance: float) -> tuple[Tensor, Tensor]:
    values, vectors = spectrum(scatter, tolerance)
    if variance < 1 and len(values):
        held = values.cumsum(0) / values.sum()
        kept = int((held < variance).sum()) + 1
        values, vectors = values[:kept], vectors[:, :kept]
    return values, vectors


def cka(gram: Gram) -> float:
    """Linear CKA between the units and the hypotheses of a design, from 0 to 1; NaN if all of a set are constant."""
    xx, yx, yy = gram.scatter()
    return _ratio(yx.square().sum(), xx.square().sum(), yy.square().sum())


@final
@dataclass(frozen=True)
class RowNorms:
    """Sums over rows of products of `|x|^2` and `|y|^2`, about means that were known before.

    Attributes:
        xx, xy, yy: float64[].
    """

    xx: Tensor
    xy: Tensor
    yy: Tensor

    def merge(self, other: Self) -> Self:
        """The sums of the rows of both, about the same means."""
        return type(self)(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)


def row_norms(design: Design, gram: Gram) -> RowNorms:
    """The sums over rows that `cka_debiased` needs, in one pass of `3 * rows * (units + hypotheses)` operations.

    Args:
        design: the rows.
        gram: of all rows, for the means.
    """
    n = max(gram.sums.rows, 1)
    a, b = gram.sums.x / n, gram.sums.y / n
    total = RowNorms(*a.new_zeros(3))
    for x, y in portions(design):
        p, q = (x - a).square().sum(1), (y - b).square().sum(1)
        total = total.merge(RowNorms(p @ p, p @ q, q @ q))
    return total


def cka_debiased(gram: Gram, norms: RowNorms) -> float:
    """Debiased linear CKA. At most 1, and about 0, on either side, for sets that have nothing to do with each other.

    Args:
        gram: of the rows.
        norms: of the same rows.

    Returns:
        NaN with fewer than 4 rows, or if all of a set are constant.
    """
    n = gram.sums.rows
    if n < 4:
        return float("nan")
    xx, yx, yy = gram.scatter()
    p, q = xx.diagonal().sum(), yy.diagonal().sum()

    def unbiased(product: Tensor, rows: Tensor, both: Tensor) -> Tensor:
        return product.square().sum() - n / (n - 2) * rows + both / ((n - 1) * (n - 2))

    return _ratio(unbiased(yx, norms.xy, p * q), unbiased(xx, norms.xx, p * p), unbiased(yy, norms.yy, q * q))


def _ratio(cross: Tensor, x: Tensor, y: Tensor) -> float:
    """NaN where a denominator is 0, or below, as an unbiased estimate can be."""
    size = x.clamp(min=0).sqrt() * y.clamp(min=0).sqrt()
    return float(cross / size) if float(size) > 0 else float("nan")
