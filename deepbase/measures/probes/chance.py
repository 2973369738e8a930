"""The baselines of probes: what can be had without looking at the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from deepbase.blocks import Kind
from deepbase.measures.probes import baselines
from deepbase.measures.probes.base import AbstractProbe, Fitted
from deepbase.measures.probes.gram import sums
from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.scores import Counts, Spread, confusion, count, errors, f1, macro_f1, r2


@dataclass(frozen=True)
class AbstractBaseline(AbstractProbe):
    """What can be had without looking at the units."""

    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number", "category")
    scored: ClassVar[str] = "F1, R squared of a number"

    def held(self, fold: Fold) -> tuple[Tensor, Counts]:
        """The rate of each hypothesis in the training rows, and the classes of the held-out rows."""
        rate = sums(fold.train).y / fold.train.rows
        return rate, count(fold.test, lambda x: torch.full((len(x), len(rate)), -1.0, device=x.device))

    def table(self, fold: Fold) -> Tensor:
        """A confusion table of the held-out rows, whose rows count."""
        classes = fold.test.hypotheses
        return confusion(fold.test, lambda x: torch.zeros(len(x), classes, device=x.device))


@final
@dataclass(frozen=True)
class Majority(AbstractBaseline):
    """The more frequent class, or the mean."""

    name: ClassVar[str] = "majority"
    description: ClassVar[str] = "a baseline: predict the most frequent class of the training records, or their mean"
    formula: ClassVar[str] = "argmax over classes c of count(c)"
    source: ClassVar[str] = "textbook; scikit-learn DummyClassifier, DummyRegressor"

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Counts in one pass."""
        if kind == "number":
            held = errors(fold.test, lambda x: torch.zeros(len(x), fold.test.hypotheses, device=x.device))
            return Fitted(None, r2(baselines.mean_errors(Spread.of(fold.train), held)).value)
        if kind == "category":
            table = baselines.majority_table(sums(fold.train).y / fold.train.rows, self.table(fold))
            return Fitted(None, macro_f1(table).value)
        rate, held_counts = self.held(fold)
        return Fitted(None, f1(baselines.majority(rate, held_counts)).value)


@final
@dataclass(frozen=True)
class Random(AbstractBaseline):
    """Predictions drawn from the training labels."""

    name: ClassVar[str] = "random"
    description: ClassVar[str] = "a baseline: predictions drawn from the labels of the training records, in expectation"
    formula: ClassVar[str] = "E[score] with P(predict c) = count(c) / n"
    source: ClassVar[str] = "textbook; scikit-learn DummyClassifier(strategy='stratified')"

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Expected values in closed form."""
        if kind == "number":
            held = errors(fold.test, lambda x: torch.zeros(len(x), fold.test.hypotheses, device=x.device))
            return Fitted(None, r2(baselines.random_errors(Spread.of(fold.train), held)).value)
        if kind == "category":
            shares = sums(fold.train).y / fold.train.rows
            return Fitted(None, baselines.random_macro_f1(shares, self.table(fold)).value)
        rate, held_counts = self.held(fold)
        return Fitted(None, baselines.random_f1(rate, held_counts).value)
