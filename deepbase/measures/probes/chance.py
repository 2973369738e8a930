"""The baselines of probes: what can be had without looking at the units."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from deepbase.blocks import Kind
from deepbase.measures.probes import baselines
from deepbase.measures.probes.base import AbstractProbe, Fitted
from deepbase.measures.probes.gram import sums
from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.judging import of_values
from deepbase.measures.probes.learning import with_learning
from deepbase.measures.probes.sampling import (
    LEAST_RECORDS,
    GroupedCounts,
    GroupedErrors,
    Records,
    certainty,
    count_groups,
    error_groups,
)
from deepbase.measures.probes.scores import Counts, Spread, f1, r2


@dataclass(frozen=True)
class AbstractBaseline(AbstractProbe):
    """What can be had without looking at the units.

    The errors of scores are of the held-out records, with what `retrained` adds for other training records.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number", "category")
    scored: ClassVar[str] = "F1, R squared of a number"

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Counts in one pass."""
        records = Records.of(fold.rows_of_records[1])
        if kind == "number":
            return self.numbers(fold, Spread.of(fold.train), records)
        rate = sums(fold.train).y / fold.train.rows
        never = torch.zeros(1, fold.test.hypotheses)
        held = count_groups(fold.test, lambda x: never.to(x.device).expand(len(x), -1), records)
        if kind == "boolean":
            return self.judged(fold, self.f1(rate, held.whole), self.counts(rate, held.without), held)
        score = self.f1(rate, held.whole, category=True).nanmean()[None]
        return self.judged(fold, score, self.counts(rate, held.without, category=True), held, category=True)

    @abc.abstractmethod
    def counts(self, rate: Tensor, held: Counts, *, category: bool = False) -> Counts:
        """The counts, or the expected ones.

        Args:
            rate: float64[hypothesis], the share of the training rows where it holds.
            held: counts of any probe on held-out rows.
            category: whether the hypotheses are the values of one category.
        """

    @abc.abstractmethod
    def f1(self, rate: Tensor, held: Counts, *, category: bool = False) -> Tensor:
        """F1, or the expected F1, as of `counts`."""

    @abc.abstractmethod
    def numbers(self, fold: Fold, train: Spread, records: Records) -> Fitted:
        """R squared of numbers.

        Args:
            fold: the rows.
            train: of the training rows.
            records: of the held-out rows.
        """

    def judged(
        self, fold: Fold, score: Tensor, without: Counts, held: GroupedCounts, *, category: bool = False
    ) -> Fitted:
        """A score, with its error from those without each group of records."""
        scores, unknown = f1(without).value, torch.zeros(())
        known = of_values(held, scores) if category else certainty(scores, held.varies, held.carrying)
        known = with_learning(known, score, score, fold.rows_of_records, self.retrained)
        if category:  # such a value counts for as much as another, if it occurs at all
            unknown = score * (held.carrying < LEAST_RECORDS).double().mean()
        return Fitted(None, score, known.wider(unknown))

    def judged_numbers(self, fold: Fold, held: GroupedErrors, learned: float) -> Fitted:
        """As `judged`, given R squared on the training rows.

        How far the means of both parts are apart is chance alone; `1 / records` stands for it.
        """
        score = r2(held.whole).value
        known = certainty(held.without, held.varies, torch.full_like(score, held.records))
        seen = torch.full_like(score, learned)
        known = with_learning(known, score, seen, fold.rows_of_records, self.retrained)
        return Fitted(None, score, known.wider(torch.full_like(score, 1 / max(held.records, 1))))


@final
@dataclass(frozen=True)
class Majority(AbstractBaseline):
    """The more frequent class, or the mean."""

    name: ClassVar[str] = "majority"
    description: ClassVar[str] = "a baseline: predict the most frequent class of the training records, or their mean"
    formula: ClassVar[str] = "argmax over classes c of count(c)"
    source: ClassVar[str] = "textbook; scikit-learn DummyClassifier, DummyRegressor"

    def counts(self, rate: Tensor, held: Counts, *, category: bool = False) -> Counts:
        """The counts of the more frequent class."""
        if not category:
            return baselines.majority(rate, held)
        always = torch.zeros_like(rate)
        always[rate.argmax()] = 1
        return baselines.random(always, held)

    def f1(self, rate: Tensor, held: Counts, *, category: bool = False) -> Tensor:
        """From the counts."""
        return f1(self.counts(rate, held, category=category)).value

    def numbers(self, fold: Fold, train: Spread, records: Records) -> Fitted:
        """Of the mean."""
        held = error_groups(fold.test, lambda x: train.mean.expand(len(x), -1), records)
        return self.judged_numbers(fold, held, 0.0)


@final
@dataclass(frozen=True)
class Random(AbstractBaseline):
    """Predictions drawn from the training labels."""

    name: ClassVar[str] = "random"
    description: ClassVar[str] = "a baseline: predictions drawn from the labels of the training records, in expectation"
    formula: ClassVar[str] = "E[score] with P(predict c) = count(c) / n"
    source: ClassVar[str] = "textbook; scikit-learn DummyClassifier(strategy='stratified')"

    def counts(self, rate: Tensor, held: Counts, *, category: bool = False) -> Counts:
        """Expected counts."""
        return baselines.random(rate, held)

    def f1(self, rate: Tensor, held: Counts, *, category: bool = False) -> Tensor:
        """Expected values in closed form."""
        return baselines.random_f1(rate, held).value

    def numbers(self, fold: Fold, train: Spread, records: Records) -> Fitted:
        """The errors of the mean, and the variance of what is drawn."""
        held = error_groups(fold.test, lambda x: train.mean.expand(len(x), -1), records)
        drawn = train.deviation.square()
        sums = torch.cat([held.sums[:3], (held.sums[3] + held.sums[0] * drawn)[None]])
        whole = replace(held.whole, squares=held.whole.squares + held.whole.spread.rows * drawn)
        return self.judged_numbers(fold, replace(held, whole=whole, sums=sums), -1.0)
