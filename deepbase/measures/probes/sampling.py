"""Sums over rows by group of records, and the standard errors of held-out scores that are made of them.

The problem. Rows of one record are alike, so that what counts for the error of a held-out score is how many records
there are, and how much they differ.

The idea. Held-out records are dealt to at most `GROUPS` random groups. What a score is made of (true positives, squared
errors and so on) is summed by group in the pass that scores the probe, and a score without each group in turn is had by
subtraction. How these scores differ is the error: the delete-a-group jackknife (Wolter 2007, Introduction to Variance
Estimation, section 4.2). Its scale is that of the score itself: on annotated text, log odds and Fisher's z did not
cover better, and leave out more hypotheses, of which a group holds the last error.

*Freedom.* The effective number of groups that tell of a hypothesis, `(sum v)^2 / sum v^2` with v the sum of squares of
the hypothesis about its mean in each group, less one (as in `significance`).

*Thin data.* With fewer than `LEAST_RECORDS` held-out records that carry a boolean hypothesis, or that there are at all,
nothing can be told.

What this error is about: the records that a given probe is scored on. What another training split does, and more
training records, is added in `learning`.

Memory: a few float64[group, hypothesis], and float32[row, 3 * hypothesis] for a portion of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Ints
from deepbase.measures.hashing import hashed
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.rows import Predict, portions
from deepbase.measures.probes.scores import Counts, Errors, Spread
from deepbase.measures.significance import LEAST_GROUPS

GROUPS = 128
"""Random groups of held-out records; with no more records, each is one."""
LEAST_RECORDS = 10
SEED = 1_000_003


@final
@dataclass(frozen=True)
class Records:
    """Which rows are of one record, and which records of one group.

    Attributes:
        record: int64[row], ascending.
        group: int64[record].
        groups: how many.
    """

    record: Tensor
    group: Tensor
    groups: int

    @classmethod
    def of(cls, rows_of_records: Ints) -> Self:
        """Random groups of about as many records each.

        Args:
            rows_of_records: int64[record], how many rows each record has, in the order of the rows.
        """
        number = np.arange(len(rows_of_records))
        groups = min(len(number), GROUPS)
        group = np.empty(len(number), dtype=np.int64)
        group[np.argsort(hashed(number, SEED), kind="stable")] = number % max(groups, 1)
        return cls(torch.from_numpy(np.repeat(number, rows_of_records)), torch.from_numpy(group), groups)


class _Summed:
    """Sums by group of records, while rows are read in their order."""

    def __init__(self, records: Records) -> None:
        self.records, self.row = records, 0
        self.sums: Tensor | None = None
        self.last: tuple[int, Tensor] = (-1, torch.zeros(()))
        self.carrying: Tensor | None = None

    def add(self, values: Tensor, carried: Tensor) -> None:
        """Add some rows.

        Args:
            values: float[row, value], what is summed.
            carried: float[row, hypothesis], above 0 where a row carries a hypothesis.
        """
        records = self.records.record[self.row : self.row + len(values)]
        self.row += len(values)
        first, count = int(records[0]), int(records[-1] - records[0]) + 1
        index = (records - first).to(values.device)
        each = values.new_zeros(count, values.shape[1]).index_add_(0, index, values).double()
        held = carried.new_zeros(count, carried.shape[1]).index_add_(0, index, carried) > 0
        if self.sums is None or self.carrying is None:
            self.sums = each.new_zeros(self.records.groups, values.shape[1])
            self.carrying = each.new_zeros(carried.shape[1])
        self.sums.index_add_(0, self.records.group[first : first + count].to(each.device), each)
        self.carrying += held.sum(0)
        if self.last[0] == first:
            self.carrying -= (held[0] & self.last[1]).double()
            if count == 1:
                held[0] |= self.last[1]
        self.last = first + count - 1, held[-1]


@final
@dataclass(frozen=True)
class GroupedCounts:
    """Predictions against the truth by group of records, for yes and no.

    Attributes:
        counts: float64[group, hypothesis] each.
        carrying: float64[hypothesis], the records that carry each.
        records: how many there are.
    """

    counts: Counts
    carrying: Tensor
    records: int

    @property
    def whole(self) -> Counts:
        """Of all groups."""
        c = self.counts
        return Counts(*(v.sum(0) for v in (c.tp, c.fp, c.fn, c.tn)))

    @property
    def without(self) -> Counts:
        """Of all groups but one, for each, float64[group, hypothesis]."""
        c = self.counts
        return Counts(*(v.sum(0) - v for v in (c.tp, c.fp, c.fn, c.tn)))

    @property
    def varies(self) -> Tensor:
        """float64[group, hypothesis], the sum of squares of each hypothesis about its mean."""
        positive, rows = self.counts.tp + self.counts.fn, self.counts.rows
        mean = positive.sum(0) / rows.sum(0)
        return positive * (1 - mean).square() + (rows - positive) * mean.square()

    def chunk(self, parts: int) -> list[GroupedCounts]:
        """Those of several times the same hypotheses, apart."""
        c = self.counts
        several = zip(*(v.chunk(parts, 1) for v in (c.tp, c.fp, c.fn, c.tn)), self.carrying.chunk(parts), strict=True)
        return [GroupedCounts(Counts(*counts), carrying, self.records) for *counts, carrying in several]


def count_groups(design: Design, decide: Predict, records: Records) -> GroupedCounts:
    """Count predictions against the truth by group of records, in one pass.

    Args:
        design: rows; the hypotheses are boolean, or the values of a category.
        decide: of float32[row, unit], bool[row, hypothesis], the predictions.
        records: of the rows.
    """
    summed = _Summed(records)
    rows = torch.bincount(records.group[records.record], minlength=records.groups).double()[:, None]
    for x, y in portions(design):
        if len(y):
            yes = decide(x).to(y.dtype)
            summed.add(torch.cat([yes * y, yes, y], 1), y)
    if summed.sums is None or summed.carrying is None:
        nothing = torch.zeros(0, design.hypotheses, dtype=torch.float64)
        return GroupedCounts(Counts(nothing, nothing, nothing, nothing), nothing.sum(0), 0)
    tp, predicted, positive = summed.sums.chunk(3, 1)
    true_negatives = rows.to(tp.device) - predicted - positive + tp
    return GroupedCounts(Counts(tp, predicted - tp, positive - tp, true_negatives), summed.carrying, len(records.group))


@final
@dataclass(frozen=True)
class GroupedErrors:
    """Predictions of numbers against the truth by group of records.

    Attributes:
        whole: of all groups.
        sums: float64[4, group, hypothesis]: rows, values about a pilot, their squares, squared errors.
        records: how many there are.
    """

    whole: Errors
    sums: Tensor
    records: int

    @property
    def without(self) -> Tensor:
        """float64[group, hypothesis], R squared of all groups but one, for each."""
        n, y, yy, wrong = (self.sums.sum(1, keepdim=True) - self.sums).unbind()
        return 1 - wrong / (yy - y.square() / n)

    @property
    def varies(self) -> Tensor:
        """float64[group, hypothesis], the sum of squares of each hypothesis about its mean."""
        n, y, yy, _ = self.sums.unbind()
        mean = y.sum(0) / n.sum(0)
        return (yy - 2 * mean * y + n * mean.square()).clamp_min(0)

    def chunk(self, parts: int) -> list[GroupedErrors]:
        """Those of several times the same hypotheses, apart."""
        spread = self.whole.spread
        means, squares, wrong = (v.chunk(parts) for v in (spread.mean, spread.squares, self.whole.squares))
        several = zip(means, squares, wrong, self.sums.chunk(parts, 2), strict=True)
        return [GroupedErrors(Errors(Spread(spread.rows, m, s), w), of, self.records) for m, s, w, of in several]


def error_groups(design: Design, predict: Predict, records: Records) -> GroupedErrors:
    """The squared errors of predicted numbers by group of records, in one pass.

    Args:
        design: rows; the hypotheses are numbers.
        predict: the probes.
        records: of the rows.
    """
    summed = _Summed(records)
    whole = Errors(Spread.none(design.hypotheses), torch.zeros(design.hypotheses, dtype=torch.float64))
    pilot: Tensor | None = None
    for x, y in portions(design):
        if len(y):
            wrong = (predict(x) - y).square()
            here = Errors(Spread.of_rows(y), wrong.sum(0))
            whole = here if pilot is None else whole.merge(here)
            pilot = here.spread.mean if pilot is None else pilot
            about = y.double() - pilot
            summed.add(torch.cat([torch.ones_like(about), about, about.square(), wrong], 1), about[:, :0])
    if summed.sums is None:
        return GroupedErrors(whole, torch.zeros(4, 0, design.hypotheses, dtype=torch.float64), 0)
    return GroupedErrors(whole, torch.stack(summed.sums.chunk(4, 1)), len(records.group))


@final
@dataclass(frozen=True)
class Certainty:
    """What is known of the error of scores.

    Attributes:
        error: float64[hypothesis], a standard error; NaN where none can be told.
        freedom: float64[hypothesis], its degrees of freedom.
        bias: float64[hypothesis], by how much a score is expected to exceed that of an endless source.
        why: int64[hypothesis], an index into `WHY`, 0 where there is an error.
    """

    error: Tensor
    freedom: Tensor
    bias: Tensor
    why: Tensor

    def without(self, why: int, where: Tensor) -> Self:
        """The same without an error where something forbids it."""
        where = where.to(self.error.device)
        return type(self)(
            torch.where(where, torch.nan, self.error), self.freedom, self.bias, torch.where(where, why, self.why)
        )

    def wider(self, more: Tensor) -> Self:
        """The same with another standard error, float64[hypothesis], added."""
        return replace(self, error=(self.error.square() + more.square()).sqrt())


WHY = (
    "",
    f"fewer than {LEAST_RECORDS} held-out records carry the hypothesis",
    "the groups of held-out records do not differ",
    "the fit has not converged",
    "the penalty is strong for so few rows, and with more the probe is another one",
)
"""Why there is no error."""
FEW_RECORDS, NO_DIFFERENCE, NOT_CONVERGED, PENALIZED = range(1, len(WHY))


def certainty(without: Tensor, varies: Tensor, carrying: Tensor) -> Certainty:
    """The error of scores by the delete-a-group jackknife.

    Args:
        without: float64[group, hypothesis], the scores of all groups but one.
        varies: float64[group, hypothesis], the sum of squares of each hypothesis about its mean.
        carrying: float64[hypothesis], the records that tell.
    """
    groups = len(without)
    error = ((groups - 1) / max(groups, 1) * (without - without.mean(0)).square().sum(0)).sqrt()
    effective = (varies.sum(0).square() / varies.square().sum(0)).nan_to_num(0)
    freedom = (effective - 1).clamp(0, max(groups - 1, 0))
    few = (carrying < LEAST_RECORDS) | (effective < LEAST_GROUPS)
    why = torch.where(few, FEW_RECORDS, torch.where(error > 0, 0, NO_DIFFERENCE))
    return Certainty(torch.where(why == 0, error, torch.nan), freedom, torch.zeros_like(error), why)
