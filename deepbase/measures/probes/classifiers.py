"""Probes that are logistic regressions: a probe of its own, and what codes labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch

from deepbase.blocks import Kind
from deepbase.errors import MeasureError, nearest
from deepbase.measures.probes.base import (
    AbstractUnitProbe,
    Fitted,
    classified,
    classified_path,
    refuse_unless_positive,
    refuse_unless_share,
)
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.elastic import fit_elastic
from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.logistic import fit_logistic
from deepbase.measures.probes.mdl import online_code
from deepbase.measures.probes.rows import Weights
from deepbase.measures.probes.softmax import SoftmaxFit, fit_softmax

PENALTIES = ("l2", "l1", "elasticnet")


@final
@dataclass(frozen=True)
class Logistic(AbstractUnitProbe):
    """Logistic regression; softmax for a category."""

    penalty: str = field(default="l2", metadata={"description": "`l2`, `l1` or `elasticnet`; l2 for categories"})
    c: float = field(default=1.0, metadata={"description": "inverse strength of the penalty, as C in scikit-learn"})
    l1_ratio: float = field(default=0.5, metadata={"description": "share of the L1 penalty in `elasticnet`"})

    name: ClassVar[str] = "logistic"
    description: ClassVar[str] = "logistic regression on all units; softmax for a category"
    formula: ClassVar[str] = "min over w, b of c sum log(1 + exp(-y (w x + b))) + penalty(w)"
    source: ClassVar[str] = "Hastie et al. 2009, The Elements of Statistical Learning, 4.4; LogisticRegression"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "category")
    path: ClassVar[str] = "c"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty not in PENALTIES:
            raise MeasureError(f"penalty of logistic cannot be '{self.penalty}'", nearest(self.penalty, PENALTIES))
        refuse_unless_positive(self, "c")
        refuse_unless_share(self, "l1_ratio")

    @property
    def takes(self) -> tuple[Kind, ...]:
        """Whole categories with the penalty l2 only."""
        return self.kinds if self.penalty == "l2" else ("boolean",)

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """One fit for all hypotheses."""
        return self.fit_path(fold, kind, [self])[0]

    def fit_path(self, fold: Fold, kind: Kind, probes: Sequence[Logistic]) -> Sequence[Fitted]:
        """One fit for all hypotheses and strengths; of a category, one for each strength."""
        if kind == "category":
            return [_judged(fit_softmax(fold.train, probe.c), fold, 1 / probe.c) for probe in probes]
        l1_ratio = {"l2": 0.0, "l1": 1.0, "elasticnet": self.l1_ratio}[self.penalty]
        found = fit_elastic(fold.train, [probe.c for probe in probes], l1_ratio)
        weights = [(x.coefficients, x.intercept) for x in found]
        several = classified_path(weights, fold, [1 / probe.c for probe in probes])
        return [judged.where_converged(x.converged) for judged, x in zip(several, found, strict=True)]


@final
@dataclass(frozen=True)
class Mdl(AbstractUnitProbe):
    """Online code length: how many bits the labels cost with the units known."""

    c: float = field(default=1.0, metadata={"description": "inverse strength of the L2 penalty of the logistic probe"})

    name: ClassVar[str] = "mdl"
    description: ClassVar[str] = "online code length of the labels, in bits, with logistic probes; less is better"
    formula: ClassVar[str] = "n1 log2(K) - sum over parts of log2 p(y of the part | x, probe of all parts before)"
    source: ClassVar[str] = "Voita and Titov 2020, Information-Theoretic Probing with MDL, section 3.2"
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "category")
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    signed: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False
    scored: ClassVar[str] = "bits"
    uncertain: ClassVar[str] = "a code of more records is longer, by how much only they tell"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unless_positive(self, "c")

    @property
    def rests(self) -> float:
        """Nothing is held out: each part is coded before it is learned."""
        return 0.0

    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Eleven fits for all hypotheses."""
        blocks = fold.rows_of_records[0].tolist()
        solve = _softmax if kind == "category" else _l2
        length = online_code(fold.train, blocks, lambda design: solve(design, self.c), categories=kind == "category")
        return Fitted(None, length.bits)


def _judged(found: SoftmaxFit, fold: Fold, penalty: float) -> Fitted:
    return classified(_with_none(found), fold, "category", penalty).where_converged(torch.tensor([found.converged]))


def _l2(design: Design, c: float) -> Weights:
    (found,) = fit_logistic(design, [c])
    return found.coefficients, found.intercept


def _softmax(design: Design, c: float) -> Weights:
    return _with_none(fit_softmax(design, c))


def _with_none(found: SoftmaxFit) -> Weights:
    """A class without a row is never predicted."""
    return found.coefficients.nan_to_num(0), torch.where(found.intercept.isnan(), -torch.inf, found.intercept)
