"""Probes from the means of two classes: the difference of means, and the linear discriminant.

With the class means m1 (where the hypothesis holds) and m0, d = m1 - m0, the shares p1 and p0 of the rows, and W the
covariance within the classes:

* `mass_mean`: w = d, threshold at the midpoint `(m0 + m1) / 2` (Marks and Tegmark 2023, "The Geometry of Truth", the
  section on mass-mean probing);
* `mass_mean_iid`: w = W^-1 d, the same threshold (ibid., the version for inputs that are distributed as those of the
  fit);
* `lda`: w = W^-1 d, and log(p1 / p0) is added to the intercept (Hastie, Tibshirani, Friedman 2009, "The Elements of
  Statistical Learning", section 4.3, eq. 4.9): scikit-learn's `LinearDiscriminantAnalysis` with `solver='lsqr'`. With a
  shrinkage s, W is replaced by `(1 - s) W + s trace(W) / units I`, as there. Its automatic shrinkage (Ledoit and Wolf)
  needs fourth moments and is left out.

One factorization for all hypotheses. Each has a W of its own, but all share the total covariance C, and
`W = C - p0 p1 d d'`. By the formula of Sherman and Morrison, `W^-1 d = k / (1 - p0 p1 d'k)` with `k = C^-1 d`. With a
shrinkage the multiple of the identity differs between hypotheses, which is harmless in the eigenbasis of C.

Singular scatter. Directions in which no unit varies are left out (the pseudo-inverse of C). Where the classes can be
told apart with no variance left within them (`d'k p0 p1 = 1`, always so with fewer rows than units), W^-1 d has no
finite length. It points along k, and that is the direction here, which is also the limit of a vanishing shrinkage; its
length is `|k| / (100 * gram.tolerance)`, which says nothing. Scikit-learn's pseudo-inverse of W drops this direction.

A hypothesis of one class has coefficients 0 and the intercept -inf or inf, so that the probe predicts this class.

Cost: the pass of `gram` (`mass_mean`: of `sums`), then `units**3 / 3` operations, or some `9 * units**3` with a
shrinkage or where C is ill conditioned. Memory: two matrices of the size of `gram.xx`, three of float64[hypothesis,
unit].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepbase.measures.probes.gram import Gram, Sums, solve, spectrum
from deepbase.measures.probes.rows import Weights


@dataclass(frozen=True)
class _Classes:
    """Of each hypothesis: the rows where it holds and where not, the midpoint of the means, and their difference."""

    n1: Tensor
    n0: Tensor
    middle: Tensor
    apart: Tensor

    @classmethod
    def of(cls, sums: Sums) -> _Classes:
        n1, n0 = sums.y, sums.rows - sums.y
        m1 = sums.xy / n1.clamp(min=1)[:, None]
        m0 = (sums.x - sums.xy) / n0.clamp(min=1)[:, None]
        return cls(n1, n0, (m1 + m0) / 2, m1 - m0)

    def probe(self, direction: Tensor, offset: Tensor | float = 0.0) -> Weights:
        """The probe along a direction, with the threshold at the midpoint, less an offset."""
        both = (self.n1 > 0) & (self.n0 > 0)
        only = torch.where(self.n1 > 0, torch.inf, torch.where(self.n0 > 0, -torch.inf, torch.nan)).to(direction.dtype)
        intercept = offset - (direction * self.middle).sum(1)
        coefficients = torch.where(both[:, None], direction, torch.where(only.isnan(), torch.nan, 0.0)[:, None])
        return coefficients, torch.where(both, intercept, only)


def mass_mean(sums: Sums) -> Weights:
    """The difference of the class means, with the threshold at their midpoint.

    Args:
        sums: of the training rows; the hypotheses are boolean.

    Returns:
        The coefficients float64[hypothesis, unit] and the intercepts float64[hypothesis]; NaN if there are no rows.
    """
    classes = _Classes.of(sums)
    return classes.probe(classes.apart)


def mass_mean_iid(gram: Gram, shrinkage: float = 0.0) -> Weights:
    """The difference of the class means by the inverse covariance within them, with the threshold at the midpoint.

    Args:
        gram: of the training rows; the hypotheses are boolean.
        shrinkage: from 0 to 1, as of `lda`.

    Returns:
        The coefficients float64[hypothesis, unit] and the intercepts float64[hypothesis]; NaN if there are no rows.
    """
    classes = _Classes.of(gram.sums)
    return classes.probe(_whitened(gram, classes, shrinkage))


def lda(gram: Gram, shrinkage: float = 0.0) -> Weights:
    """Linear discriminants of two classes.

    Args:
        gram: of the training rows; the hypotheses are boolean.
        shrinkage: from 0, the covariance as it is, to 1, a multiple of the identity.

    Returns:
        The coefficients float64[hypothesis, unit] and the intercepts float64[hypothesis]; NaN if there are no rows.
    """
    classes = _Classes.of(gram.sums)
    return classes.probe(_whitened(gram, classes, shrinkage), (classes.n1 / classes.n0).log())


def _whitened(gram: Gram, classes: _Classes, shrinkage: float) -> Tensor:
    """The inverse (shrunk) covariance within the classes, times the difference of the means."""
    n = max(gram.sums.rows, 1)
    total = gram.scatter()[0] / n
    apart = classes.apart
    share = (classes.n0 / n) * (classes.n1 / n)
    if not shrinkage or not bool(total.isfinite().all()):
        along = solve(total, apart.T, gram.tolerance).T
    else:
        values, vectors = spectrum(total, gram.tolerance)
        level = (total.diagonal().sum() - share * apart.square().sum(1)) / len(total)
        inverse = 1 / ((1 - shrinkage) * values + shrinkage * level[:, None])
        along = ((apart @ vectors) * inverse) @ vectors.T
    within = 1 - (1 - shrinkage) * share * (apart * along).sum(1)
    return along / within.clamp(min=100 * gram.tolerance)[:, None]
