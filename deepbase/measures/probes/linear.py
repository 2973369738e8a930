"""Ridge regression for all hypotheses of a design, from its Gram matrix.

For a hypothesis y it finds the coefficients w and the intercept b that minimize `sum((y - x w - b)**2) + alpha *
|w|**2` (Hoerl and Kennard 1970, "Ridge Regression", eq. 2.1), as scikit-learn's `Ridge` does: the intercept has no
penalty. With X and Y about their means, `w = (X'X + alpha I)^-1 X'Y` and `b = mean(y) - w mean(x)`. The matrix is the
same for all hypotheses, so one factorization serves them all. Several alphas share the matrix, and each has its own
factorization: an eigendecomposition, which would serve them all, costs as much as 27.

Cost: the pass of `gram`, then `units**3 / 3` operations for each alpha.
Memory: two matrices of the size of `gram.xx`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepbase.measures.probes.gram import Gram, solve
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


def _with_intercept(gram: Gram, coefficients: Tensor) -> Weights:
    s = gram.sums
    if not s.rows:
        coefficients = torch.full_like(coefficients, torch.nan)
    return coefficients, s.y / max(s.rows, 1) - coefficients @ (s.x / max(s.rows, 1))
