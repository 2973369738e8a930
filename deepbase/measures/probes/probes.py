"""Probes that take a pass or a few over their rows: least squares, discriminants, sparse ones, a perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch

from deepbase.blocks import Kind
from deepbase.errors import MeasureError
from deepbase.measures.base import AbstractMeasure
from deepbase.measures.probes.base import (
    AbstractUnitProbe,
    Fitted,
    classified,
    classified_path,
    refuse_unless_positive,
    refuse_unless_share,
)
from deepbase.measures.probes.discriminant import lda, mass_mean, mass_mean_iid
from deepbase.measures.probes.gram import gram, sums
from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.judging import judge_booleans, judge_numbers, stacked
from deepbase.measures.probes.linear import ridge
from deepbase.measures.probes.mlp import Training, mlp
from deepbase.measures.probes.rows import linear_predictor
from deepbase.measures.probes.scores import Spread
from deepbase.measures.probes.sparse import SIZES, sparse


@final
@dataclass(frozen=True)
class Linear(AbstractUnitProbe):
    """Ridge regression."""

    alpha: float = field(default=1.0, metadata={"description": "strength of the penalty, as alpha in scikit-learn"})

    name: ClassVar[str] = "linear"
    description: ClassVar[str] = "ridge regression of a number on all units"
    formula: ClassVar[str] = "min over w, b of sum (y - w x - b)^2 + alpha |w|^2"
    source: ClassVar[str] = "Hoerl and Kennard 1970; scikit-learn Ridge"
    kinds: ClassVar[tuple[Kind, ...]] = ("number",)
    scored: ClassVar[str] = "R squared"
    path: ClassVar[str] = "alpha"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0:
            raise MeasureError(f"alpha of linear cannot be {self.alpha:g}", "Give a number from 0 up.")

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """One factorization for all hypotheses."""
        return self.fit_path(fold, kind, [self])[0]

    def fit_path(self, fold: Fold, kind: Kind, probes: Sequence[Linear]) -> Sequence[Fitted]:
        """One Gram matrix for all, and a factorization for each strength."""
        products = gram(fold.train)
        several = [ridge(products, probe.alpha) for probe in probes]
        predict = linear_predictor(stacked(several))
        found = judge_numbers(predict, fold, self.retrained, [probe.alpha for probe in probes])
        size = Spread.of(fold.train).deviation[:, None]
        return [Fitted.of(weights / size, judged) for (weights, _), judged in zip(several, found, strict=True)]


@final
@dataclass(frozen=True)
class Lda(AbstractUnitProbe):
    """Linear discriminant analysis of two classes."""

    shrinkage: float = field(
        default=0.0, metadata={"description": "from 0, the covariance as it is, to 1, a multiple of the identity"}
    )

    name: ClassVar[str] = "lda"
    description: ClassVar[str] = "linear discriminant analysis on all units"
    formula: ClassVar[str] = "w = inverse(within-class covariance) (mean(x | y) - mean(x | not y))"
    source: ClassVar[str] = "Fisher 1936; scikit-learn LinearDiscriminantAnalysis"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unless_share(self, "shrinkage")

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """One factorization for all hypotheses."""
        return classified(lda(gram(fold.train), self.shrinkage), fold, kind)


@final
@dataclass(frozen=True)
class MassMean(AbstractUnitProbe):
    """The difference of the class means as a direction."""

    whitened: bool = field(
        default=False, metadata={"description": "multiply by the inverse covariance within the classes"}
    )

    name: ClassVar[str] = "mass_mean"
    description: ClassVar[str] = "the difference of the class means as a direction, the threshold at their midpoint"
    formula: ClassVar[str] = "w = mean(x | y) - mean(x | not y)"
    source: ClassVar[str] = "Marks and Tegmark 2023, The Geometry of Truth, section 5"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Means in one pass."""
        weights = mass_mean_iid(gram(fold.train)) if self.whitened else mass_mean(sums(fold.train))
        return classified(weights, fold, kind)


@final
@dataclass(frozen=True)
class Sparse(AbstractUnitProbe):
    """Logistic regression on the best k units of each hypothesis."""

    k: int = field(default=0, metadata={"description": "how many units; 0 for 1, 2, 4, ... 64, each a measure"})
    c: float = field(default=1.0, metadata={"description": "inverse strength of the L2 penalty, as C in scikit-learn"})

    name: ClassVar[str] = "sparse"
    description: ClassVar[str] = "logistic regression on the k units whose class means differ most; the others weigh 0"
    formula: ClassVar[str] = "logistic on the k units of largest |mean(x | y) - mean(x | not y)| / sd(x)"
    source: ClassVar[str] = "Gurnee et al. 2023, Finding Neurons in a Haystack, section 3"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean",)
    path: ClassVar[str] = "k"
    retrained: ClassVar[float] = 8.0  # other records choose other units

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unless_positive(self, "c")
        if self.k < 0:
            raise MeasureError(f"k of sparse cannot be {self.k}", "Give a number of units, or 0 for 1, 2, 4, ... 64.")

    def each(self) -> tuple[AbstractMeasure, ...]:
        """One measure for each number of units."""
        if self.k:
            return (self,)
        return tuple(replace(self, k=k) for k in SIZES)

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Small fits, batched over the hypotheses."""
        return self.fit_path(fold, kind, [self])[0]

    def fit_path(self, fold: Fold, kind: Kind, probes: Sequence[Sparse]) -> Sequence[Fitted]:
        """The same for all numbers of units, in the same passes."""
        units = fold.train.units
        found = sparse(fold.train, [probe.k for probe in probes], 1 / self.c)
        several = [found[min(probe.k, units)].weights(units) for probe in probes]
        return classified_path(several, fold, [1 / probe.c for probe in probes], self.retrained)


@final
@dataclass(frozen=True)
class Mlp(AbstractUnitProbe):
    """A perceptron with one hidden layer."""

    width: int = field(default=64, metadata={"description": "hidden units"})
    seed: int = field(default=0, metadata={"description": "of the first weights"})

    name: ClassVar[str] = "mlp"
    description: ClassVar[str] = "a perceptron with one hidden layer; units have no weights of their own in it"
    formula: ClassVar[str] = "sigmoid(v relu(W x + a) + b), by Adam, stopped early on a tenth of the training records"
    source: ClassVar[str] = "Hewitt and Liang 2019, section 3.2 (MLP-1)"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number")
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unless_positive(self, "width")

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """All hypotheses in one training."""
        ends = torch.from_numpy(fold.rows_of_records[0]).cumsum(0)
        bound = int(ends[max(len(ends) // 10 - 1, 0)]) if len(ends) > 1 else 0
        predict = mlp(
            fold.train,
            lambda first, end: torch.arange(first, end) < bound,
            Training(width=self.width, seed=self.seed),
            numbers=kind == "number",
        )
        judge = judge_numbers if kind == "number" else judge_booleans
        (judged,) = judge(predict, fold, self.retrained)
        return Fitted.of(None, judged).where_converged(predict.converged)
