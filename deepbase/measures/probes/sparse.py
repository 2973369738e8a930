"""Probes on the best k units: how few neurons are enough for a hypothesis?

Gurnee et al. 2023, "Finding Neurons in a Haystack: Case Studies with Sparse Probing": for k = 1, 2, 4, ..., 64, choose
k units for a hypothesis and fit a logistic regression on them. The exact choice is a hard combinatorial problem; two of
the heuristics of the paper's section on sparse feature selection are here:

* the mean difference (the default): the units of which the class means are farthest apart. The units of a design are
  standardized, so they compare. The choices are nested, and all k are fitted in the same passes.
* adaptive thresholding (`adaptive=True`): fit on the largest k, keep the units with the largest coefficients for the
  next smaller k, fit again, and so on. It is better where units are correlated, and costs the passes of each k one
  after the other. It starts from the mean difference, or, with `dense`, from the coefficients of a probe on all units,
  as there.

The first of equal units is taken. The fits are exact (`newton`).

Cost: a pass of `sums`, or the dense fit, and the 6 to 12 passes of `newton`, per k if adaptive. Memory: that of
`newton`, and float64[hypothesis, unit].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.discriminant import mass_mean
from deepbase.measures.probes.gram import sums
from deepbase.measures.probes.newton import logistic_on
from deepbase.measures.probes.rows import Fit, Weights

SIZES = (1, 2, 4, 8, 16, 32, 64)


@final
@dataclass(frozen=True)
class SparseProbe:
    """Probes on k units each.

    Attributes:
        units: int64[hypothesis, k], the chosen ones, the best first.
        coefficients: float64[hypothesis, k], of these units.
        intercept: float64[hypothesis].
    """

    units: Tensor
    coefficients: Tensor
    intercept: Tensor

    def weights(self, units: int) -> Weights:
        """The same probes on all units, with zeros: float64[hypothesis, unit] and float64[hypothesis]."""
        zeros = self.coefficients.new_zeros(len(self.units), units)
        return zeros.scatter(1, self.units, self.coefficients), self.intercept


def sparse(
    design: Design,
    sizes: Sequence[int] = SIZES,
    penalty: float = 1.0,
    adaptive: bool = False,
    dense: Fit | None = None,
) -> dict[int, SparseProbe]:
    """Logistic regressions on the best units of each hypothesis.

    A hypothesis of one class has coefficients 0 and the intercept -inf or inf, on the first units.

    Args:
        design: the training rows; the hypotheses are boolean.
        sizes: the k; those above the number of units mean all units.
        penalty: of scikit-learn's `LogisticRegression(C=1 / penalty)`, above 0.
        adaptive: choose the units of each k by the fit on the next larger one.
        dense: a fit on all units, by the coefficients of which to rank them; without it the class means do.

    Returns:
        The probes by k, ascending.
    """
    sizes = sorted({min(k, design.units) for k in sizes})
    total = sums(design)
    strength = (mass_mean(total) if dense is None else dense(design))[0].abs().nan_to_num(0)
    units = _largest(strength, sizes[-1])
    if not adaptive:
        choices = [units[:, :k] for k in sizes]
        fits = logistic_on(design, choices, total.y, penalty)
        return {k: SparseProbe(c, *fit) for k, c, fit in zip(sizes, choices, fits, strict=True)}
    found = {}
    for k, smaller in zip(reversed(sizes), [*reversed(sizes[:-1]), 0], strict=True):
        (fit,) = logistic_on(design, [units], total.y, penalty)
        found[k] = SparseProbe(units, *fit)
        units = units.gather(1, _largest(fit[0].abs(), smaller))
    return {k: found[k] for k in sizes}


def _largest(strength: Tensor, k: int) -> Tensor:
    """int64[hypothesis, k], where the largest of float64[hypothesis, unit] are, the first of equals first."""
    return torch.sort(strength, dim=1, descending=True, stable=True).indices[:, :k]
