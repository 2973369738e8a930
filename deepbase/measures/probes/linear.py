"""Ridge regression for all hypotheses of a design, from its Gram matrix.

For a hypothesis y it finds the coefficients w and the intercept b that minimize `sum((y - x w - b)**2) + alpha *
|w|**2` (Hoerl and Kennard 1970, "Ridge Regression", eq. 2.1), as scikit-learn's `Ridge` does: the intercept has no
penalty. With X and Y about their means, `w = (X'X + alpha I)^-1 X'Y` and `b = mean(y) - w mean(x)`. The matrix is the
same for all hypotheses, so one factorization serves them all.

Cost: the pass of `gram`, then `units**3 / 3` operations; for several alphas, some `9 * units**3` once.
Memory: two matrices of the size of `gram.xx`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deepbase.measures.probes.gram import Gram, solve, spectrum
from deepbase.measures.probes.rows import Weights


def ridge(gram: Gram, alpha: float = 1.0) -> Weights:
    """Ridge regression.

    Where the solution is not unique (`alpha=0` and collinear units or fewer rows than units) it is the one of least
    norm. Constant units have coefficient 0, and a constant hypothesis has all coefficients 0 and itself as intercept.

    Args:
        gram: of the training rows.
        alpha: the penalty, not negative.

    Returns:
        The coefficients float64[hypothesis, unit] and the intercepts float64[hypothesis]; NaN if there are no rows.
    """
    xx, xy, _ = gram.scatter()
    penalty = alpha * torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
    coefficients = solve(xx + penalty, xy.T, gram.tolerance).T
    return _with_intercept(gram, coefficients)


def ridge_path(gram: Gram, alphas: Sequence[float]) -> Weights:
    """Ridge regression for several alphas, from one eigendecomposition.

    Args:
        gram: of the training rows.
        alphas: the penalties, none negative.

    Returns:
        The coefficients float64[alpha, hypothesis, unit] and the intercepts float64[alpha, hypothesis], as of `ridge`.
    """
    xx, xy, _ = gram.scatter()
    if not bool(xx.isfinite().all()):
        return _with_intercept(gram, xy.new_full((len(alphas), *xy.shape), torch.nan))
    values, vectors = spectrum(xx, gram.tolerance)
    turned = xy @ vectors
    coefficients = [(turned / (values + alpha)) @ vectors.T for alpha in alphas]
    return _with_intercept(gram, torch.stack(coefficients))


def _with_intercept(gram: Gram, coefficients: Tensor) -> Weights:
    s = gram.sums
    if not s.rows:
        coefficients = torch.full_like(coefficients, torch.nan)
    return coefficients, s.y / max(s.rows, 1) - coefficients @ (s.x / max(s.rows, 1))
