"""What is left after confounds: what a measure is given, and the least squares by which it is taken off.

The problem. A unit that follows the length of a word correlates with every hypothesis that long words have in common.
`given := ['length(word)']` asks for the score of what is left: with both sides as they are after the confounds have
explained what they can, or among symbols alike in the confounds.

The idea. Take off a variable what a linear regression with an intercept on the confounds predicts, and its residual is
uncorrelated with them. Everything that follows is made of residual products, and these need no second pass: for
sums of products S about the means,

    residual xy = Sxy - Sxz Szz^-1 Szy

(Yule 1907, "On the theory of correlation for any number of variables, treated by a new system of notation"; Frisch and
Waugh 1933, "Partial time regressions as compared with individual trends", theorem on the residuals).

*Collinear confounds.* A category is one column per value, and those sum to 1: Szz has no inverse. The confounds are
brought to standard deviation 1, and the principal components with an eigenvalue below `COLLINEAR` are left out. What
is left is an independent set that spans the same, and the prediction is that of the pseudo-inverse.

*Missing values.* A pair is compared on the symbols where the hypothesis and all confounds of the call have a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from deepbase.measures.base import AbstractMeasure

COLLINEAR = 1e-10
"""The least variance of a principal component of standardized confounds that is not the rounding of another."""
STILL = 1e-12
"""The least share of the mean square of a confound about its pilot that is variance."""
DETERMINED = 1e-6
"""The least standard deviation of a residual, per standard deviation of what it is the residual of: below is rounding.
Hypotheses and units come in float32, whose rounding steps are up to 1.2e-7."""


@dataclass(frozen=True)
class AbstractGiven(AbstractMeasure):
    """A measure that can score what is left after confounds."""

    given: tuple[str, ...] = field(
        default=(),
        metadata={"description": "hypotheses whose share is taken off first: [confounds](confounds.md)"},
    )

    @property
    def confounds(self) -> tuple[str, ...]:
        """Those of the option."""
        return self.given


def pilot_of(values: Tensor) -> Tensor:
    """float64[confound]: pilot values of some confounds, float64[symbol, confound]: their medians."""
    return values.sort(0).values[len(values) // 2]


class Basis(NamedTuple):
    """Independent directions of some confounds: about their means, each of variance `1 / n`, uncorrelated.

    Attributes:
        mean: float64[confound], about the pilots.
        turn: float64[confound, direction].
    """

    mean: Tensor
    turn: Tensor

    @property
    def rank(self) -> int:
        """How many there are."""
        return self.turn.shape[1]

    def products(self, with_one: Tensor) -> Tensor:
        """The products of the directions with other variables.

        Args:
            with_one: float64[1 + confound, variable], the sums of the products of the variables with 1 and with the
                confounds.

        Returns:
            float64[direction, variable]; the squares of a column sum up to what the confounds explain of a variable's
            sum of squares about its mean.
        """
        return self.turn.T @ (with_one[1:] - self.mean[:, None] * with_one[0])

    def coefficients(self, with_one: Tensor, n: Tensor) -> Tensor:
        """float64[1 + confound, variable]: the regressions of variables on 1 and the confounds, of least norm.

        Args:
            with_one: as for `products`.
            n: float64[], the symbols.
        """
        slope = self.turn @ self.products(with_one)
        return torch.cat([(with_one[0] / n - self.mean @ slope)[None], slope])


def basis(squares: Tensor) -> Basis:
    """The directions of confounds.

    Args:
        squares: float64[1 + confound, 1 + confound], the sums of the products of 1 and the confounds. Where they
            overflow (a confound of 1e200), everything that follows is NaN.
    """
    n = squares[0, 0].clamp_min(1)
    mean = squares[0, 1:] / n
    about = squares[1:, 1:] - n * mean[:, None] * mean
    if not about.isfinite().all():
        return Basis(mean, torch.full_like(squares[1:, :1], torch.nan))
    size = about.diagonal().clamp_min(0)
    size = torch.where(size > STILL * squares.diagonal()[1:], size, torch.inf).sqrt()  # what is constant is left out
    values, vectors = torch.linalg.eigh(about / size[:, None] / size)
    kept = values > COLLINEAR
    return Basis(mean, vectors[:, kept] / values[kept].sqrt() / size[:, None])
