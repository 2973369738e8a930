"""How good predictions are on held-out rows: counts that add up, and F1, accuracy and R squared from them.

One pass over a design of held-out rows gives counts of a fixed size, which merge over parts of the rows. The scores are
pure functions of the counts, so a baseline is scored as a probe is.

Conventions. A score that would be 0 / 0 is NaN, with a note that says why, and never 0 by accident: F1 without a
positive row, R squared of a constant hypothesis, anything without rows. F1 is `2 tp / (2 tp + fp + fn)`: a probe that
predicts no positive, where there are some, has F1 0, which is its value and not a convention.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.rows import Predict, portions

NOTES: tuple[str | None, ...] = (
    None,
    "no held-out rows",
    "hypothesis holds at no held-out row",
    "hypothesis is constant on the held-out rows",
)
"""Why there is no score."""

NO_ROWS, NO_POSITIVES, CONSTANT = range(1, len(NOTES))


@final
@dataclass(frozen=True)
class Scored:
    """Scores and why some are missing.

    Attributes:
        value: float64[hypothesis]; NaN where there is no score.
        note: uint8[hypothesis], an index into `NOTES`, 0 where there is a score.
    """

    value: Tensor
    note: Tensor

    @classmethod
    def of(cls, value: Tensor, *missing: tuple[int, Tensor]) -> Self:
        """Scores with the conventions applied; of several notes the later one stands."""
        note = torch.zeros(value.shape, dtype=torch.uint8, device=value.device)
        for code, where in missing:
            note[where] = code
        return cls(torch.where(note == 0, value, torch.nan), note)


@final
@dataclass(frozen=True)
class Counts:
    """Predictions against the truth, for yes and no: all float64[hypothesis]; expected values may be no whole numbers.

    Attributes:
        tp, fp, fn, tn: true positives, false positives, false negatives, true negatives.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    def merge(self, other: Self) -> Self:
        """The counts of the rows of both."""
        return type(self)(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @classmethod
    def of(cls, table: Tensor) -> Self:
        """Each class against all others, from a confusion table float64[class, predicted class]."""
        tp = table.diagonal()
        fn, fp = table.sum(1) - tp, table.sum(0) - tp
        return cls(tp, fp, fn, table.sum() - tp - fp - fn)

    @property
    def rows(self) -> Tensor:
        """float64[hypothesis]."""
        return self.tp + self.fp + self.fn + self.tn


def count(design: Design, predict: Predict) -> Counts:
    """Count predictions above 0 against the truth, in one pass. Memory: that of the predictions of a portion.

    Args:
        design: held-out rows; the hypotheses are boolean.
        predict: the probes.
    """
    table = torch.zeros(4, design.hypotheses, dtype=torch.float64)
    for x, y in portions(design):
        yes, true = (predict(x) > 0).double(), y.double()
        tp, predicted, positive = (yes * true).sum(0), yes.sum(0), true.sum(0)
        here = torch.stack([tp, predicted - tp, positive - tp, len(y) - predicted - positive + tp])
        table = table.to(here.device) + here
    return Counts(*table)


def confusion(design: Design, predict: Predict) -> Tensor:
    """A confusion table of the categories of one hypothesis, in one pass. The category with the largest value is meant.

    Args:
        design: held-out rows; its columns are the categories, 1 in one of them at each row.
        predict: the probes, one a category.

    Returns:
        float64[class, predicted class], counts of rows.
    """
    k = design.hypotheses
    table = torch.zeros(k * k, dtype=torch.float64)
    for x, y in portions(design):
        cells = y.argmax(1) * k + predict(x).argmax(1)
        here = torch.bincount(cells, minlength=k * k)
        table = table.to(here.device) + here
    return table.reshape(k, k)


def f1(counts: Counts) -> Scored:
    """F1 of the positive class, `2 tp / (2 tp + fp + fn)`, from 0 to 1."""
    value = 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn)
    return Scored.of(value, (NO_POSITIVES, counts.tp + counts.fn == 0), (NO_ROWS, counts.rows == 0))


def accuracy(counts: Counts) -> Scored:
    """The share of the rows that are predicted right, from 0 to 1."""
    return Scored.of((counts.tp + counts.tn) / counts.rows, (NO_ROWS, counts.rows == 0))


def macro_f1(table: Tensor) -> Scored:
    """The mean F1 of the categories that occur in the held-out rows. One value.

    A category that occurs nowhere has no F1 and is left out of the mean; predicting it costs the F1 of the others.

    Args:
        table: float64[class, predicted class], as of `confusion`.
    """
    return Scored.of(f1(Counts.of(table)).value.nanmean()[None], (NO_ROWS, table.sum()[None] == 0))


def category_accuracy(table: Tensor) -> Scored:
    """The share of the rows that are predicted right. One value.

    Args:
        table: float64[class, predicted class], as of `confusion`.
    """
    return Scored.of((table.diagonal().sum() / table.sum())[None], (NO_ROWS, table.sum()[None] == 0))


@final
@dataclass(frozen=True)
class Spread:
    """The mean and the variation of numbers, merged without loss of digits.

    Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1.

    Attributes:
        rows: how many.
        mean: float64[hypothesis].
        squares: float64[hypothesis], the sum of squares about the mean.
    """

    rows: int
    mean: Tensor
    squares: Tensor

    def merge(self, other: Self) -> Self:
        """The spread of the rows of both."""
        rows = self.rows + other.rows
        apart, share = other.mean - self.mean, other.rows / max(rows, 1)
        squares = self.squares + other.squares + apart.square() * (self.rows * share)
        return replace(self, rows=rows, mean=self.mean + apart * share, squares=squares)

    @classmethod
    def of_rows(cls, y: Tensor) -> Self:
        """The spread of float[row, hypothesis], of at least one row."""
        y = y.double()
        mean = y.mean(0)
        return cls(len(y), mean, (y - mean).square().sum(0))

    @classmethod
    def none(cls, hypotheses: int) -> Self:
        """The spread of no rows."""
        zeros = torch.zeros(hypotheses, dtype=torch.float64)
        return cls(0, zeros, zeros)

    @classmethod
    def of(cls, design: Design) -> Self:
        """The spread of the hypotheses of a design, in one pass."""
        total = None
        for _, y in portions(design):
            if len(y):
                here = cls.of_rows(y)
                total = here if total is None else total.merge(here)
        return total or cls.none(design.hypotheses)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation, float64[hypothesis]."""
        return (self.squares / max(self.rows, 1)).sqrt()

    @property
    def constant(self) -> Tensor:
        """bool[hypothesis]: all values are equal, up to the rounding of their mean."""
        return self.squares <= self.rows * (1e-14 * self.mean).square()

    def some(self, which: Tensor) -> Self:
        """The spread of some hypotheses, int64[hypothesis]."""
        which = which.to(self.mean.device)
        return replace(self, mean=self.mean[which], squares=self.squares[which])


@final
@dataclass(frozen=True)
class Errors:
    """Predictions of numbers against the truth.

    Attributes:
        spread: of the true values.
        squares: float64[hypothesis], the sum of squared errors; expected values for a random prediction.
    """

    spread: Spread
    squares: Tensor

    def merge(self, other: Self) -> Self:
        """The errors of the rows of both."""
        return replace(self, spread=self.spread.merge(other.spread), squares=self.squares + other.squares)


def errors(design: Design, predict: Predict) -> Errors:
    """The squared errors of predicted numbers, in one pass.

    Args:
        design: held-out rows; the hypotheses are numbers.
        predict: the probes.
    """
    total: Errors | None = None
    for x, y in portions(design):
        if len(y):
            here = Errors(Spread.of_rows(y), (predict(x) - y).square().sum(0))
            total = here if total is None else total.merge(here)
    return total or Errors(Spread.none(design.hypotheses), torch.zeros(design.hypotheses, dtype=torch.float64))


def r2(errors: Errors) -> Scored:
    """The coefficient of determination, `1 - sum of squared errors / sum of squares about the mean`; at most 1."""
    spread = errors.spread
    nothing = torch.full_like(spread.mean, spread.rows == 0, dtype=torch.bool)
    return Scored.of(1 - errors.squares / spread.squares, (CONSTANT, spread.constant), (NO_ROWS, nothing))
