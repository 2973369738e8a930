"""What confounds leave of units: the rows of a probe that is given something.

A regression of each unit on the confounds is fitted on the rows that a probe learns from, and what it predicts is taken
off all rows, the held-out ones too. They are nobody's training rows in either fit, so a score on them is honest. How a
regression goes about collinear confounds is in `confounds`.

A unit that the confounds determine is left out. A hypothesis that they determine has nothing left to learn: a linear
function of them is uncorrelated with any residual.

Cost: one pass over the training rows. Memory: `8 * (1 + confounds) * (units + confounds + hypotheses)` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Ints
from deepbase.measures.batch import BatchLabels
from deepbase.measures.confounds import DETERMINED, Basis, basis, pilot_of
from deepbase.measures.conventions import constant
from deepbase.measures.moments import pilot
from deepbase.measures.notes import CONSTANT_UNIT, HYPOTHESIS_GIVEN, NOT_FINITE, TOO_FEW_GIVEN, UNIT_GIVEN
from deepbase.measures.rows import Piece


@dataclass(frozen=True)
class Regression:
    """Units as functions of confounds.

    Attributes:
        given: the columns of the confounds.
        shift: float64[confound], their pilot values.
        unit_shift: float32[unit], those of the units.
        coefficients: float64[1 + confound, unit], of 1 and the confounds about their pilots.
        deviation: float64[unit], the standard deviation of the residuals in the training rows.
        unit_note: int64[unit], why there is nothing left of a unit; 0 where there is.
        label_note: int64[hypothesis], why there is nothing left to learn; 0 where there is.
    """

    given: tuple[int, ...]
    shift: Tensor
    unit_shift: Tensor
    coefficients: Tensor
    deviation: Tensor
    unit_note: Tensor
    label_note: Ints

    def predicted(self, labels: BatchLabels, mask: Tensor) -> Tensor:
        """float64[symbol, unit]: what the confounds say of the units at some symbols."""
        return _with_one(labels, mask, self.given, self.shift) @ self.coefficients + self.unit_shift


def regression(
    rows: Iterator[tuple[Piece, Tensor]], given: tuple[int, ...], columns: Sequence[int], label_shift: Tensor
) -> Regression:
    """The regressions of units on confounds.

    Args:
        rows: the training rows, pieces and which of their symbols count.
        given: the columns of the confounds.
        columns: those of the labels that are to be learned.
        label_shift: float64[column], pilot values of all labels.
    """
    sums: _Sums | None = None
    about = label_shift[list(columns)]
    for piece, mask in rows:
        if sums is None:
            unit_shift = pilot(piece.units)
            sums = _Sums.of(piece.units, len(given), len(columns))
            shift = sums.xx.new_zeros(len(given))
        if not mask.any():
            continue
        if not sums.ww.any():
            assert piece.labels.confounds is not None
            shift = pilot_of(piece.labels.confounds.values[mask][:, list(given)])
        w = _with_one(piece.labels, mask, given, shift)
        x = piece.units[mask].double() - unit_shift
        sums.add(w, x, labels_about(piece.labels, mask, list(columns), about).double())
    assert sums is not None
    of, n = basis(sums.ww), sums.ww[0, 0].clamp_min(1)
    rest_x, spread_x = _deviations(sums.wx, sums.xx, of, n)
    rest_y, spread_y = _deviations(sums.wy, sums.yy, of, n)
    mean = sums.wx[0] / n + unit_shift
    determined = (rest_x <= DETERMINED * spread_x) | constant(mean, rest_x.square())
    unit_note = torch.where(determined, UNIT_GIVEN, torch.where(rest_x.isfinite(), 0, NOT_FINITE))
    unit_note = torch.where(constant(mean, spread_x.square()), CONSTANT_UNIT, unit_note)
    label_note = torch.where(rest_y <= DETERMINED * spread_y, HYPOTHESIS_GIVEN, 0).cpu().numpy()
    if sums.ww[0, 0] <= of.rank + 2:
        label_note = np.full_like(label_note, TOO_FEW_GIVEN)
    coefficients = of.coefficients(torch.where(unit_note == 0, sums.wx, 0), n)
    return Regression(given, shift, unit_shift, coefficients, rest_x, unit_note, label_note)


def labels_about(labels: BatchLabels, mask: Tensor, columns: list[int], shift: Tensor) -> Tensor:
    """float32[symbol, column]: labels at some symbols; numbers less one pilot value, which no probe notices.

    Args:
        labels: of a piece.
        mask: bool[symbol].
        columns: which of the labels.
        shift: float64[column], the pilot values that they are to have.
    """
    values, own = labels.values[mask][:, columns], labels.shift[columns]
    return values if torch.equal(own, shift) else (values + (own - shift)).float()


@dataclass
class _Sums:
    """Sums of products of 1 and the confounds (w), units (x) and labels (y)."""

    ww: Tensor
    wx: Tensor
    wy: Tensor
    xx: Tensor
    yy: Tensor

    @classmethod
    def of(cls, units: Tensor, given: int, labels: int) -> _Sums:
        wide = 1 + given
        shapes = ((wide, wide), (wide, units.shape[1]), (wide, labels), (units.shape[1],), (labels,))
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=units.device) for shape in shapes))

    def add(self, w: Tensor, x: Tensor, y: Tensor) -> None:
        self.ww += w.T @ w
        self.wx += w.T @ x
        self.wy += w.T @ y
        self.xx += x.square().sum(0)
        self.yy += y.square().sum(0)


def _deviations(with_one: Tensor, squares: Tensor, of: Basis, n: Tensor) -> tuple[Tensor, Tensor]:
    """float64[variable] twice: the standard deviations of the residuals, and of the variables themselves."""
    total = (squares - with_one[0].square() / n).clamp_min(0)
    rest = (total - of.products(with_one).square().sum(0)).clamp_min(0)
    return (rest / n).sqrt(), (total / n).sqrt()


def _with_one(labels: BatchLabels, mask: Tensor, given: tuple[int, ...], shift: Tensor) -> Tensor:
    """float64[symbol, 1 + confound]: 1 and the confounds about their pilots."""
    assert labels.confounds is not None
    z = labels.confounds.values[mask][:, list(given)] - shift
    return torch.cat([torch.ones_like(z[:, :1]), z], 1)
