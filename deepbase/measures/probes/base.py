"""What all probes share: options, which rows, which conventions, and what becomes of weights and held-out scores.

A probe is a group measure. It is fitted on the training records for all hypotheses of one kind at once, and scored on
the held-out ones. `group_score` is what it reaches there; `unit_score` is the weight of each unit, which is
standardized already, since the units are. A subclass only fits.

The interval of `group_score` is about the score that a run of all records would find: of a probe that has learned from
all training records, on all held-out ones (`sampling`, `learning`). A fit that has not converged has none.

Probes of one run that differ in one option only, such as the strength of a penalty, are of one *family*. They are
fitted together (`fit_path`): what they share, such as passes over the rows and factorizations, is done once.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats, Ints, Kind
from deepbase.errors import MeasureError, nearest
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.confounds import AbstractGiven
from deepbase.measures.notes import (
    CONSTANT_HELD_OUT,
    CONSTANT_HYPOTHESIS,
    CONSTANT_TRAINING,
    FEW_NEGATIVES,
    FEW_POSITIVES,
    TOGETHER,
    TOO_FEW,
    TOO_FEW_RECORDS,
    wrong_kind,
)
from deepbase.measures.probes.controls import labels_of
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.group import Fold, UnitGroup
from deepbase.measures.probes.judging import Judged, judge_booleans, judge_category, stacked
from deepbase.measures.probes.learning import RETRAINED
from deepbase.measures.probes.rows import Weights, linear_predictor
from deepbase.measures.probes.sampling import NOT_CONVERGED, WHY, Certainty
from deepbase.measures.rows import Rows
from deepbase.measures.spread import THIN, Spread

GROUPS = ("layer", "model")
BASELINES = ("none", "random")
ERRORS = ("error", "freedom", "bias", "why")


@dataclass(frozen=True)
class Fitted:
    """What a probe found for the hypotheses of a fold; for a category, one row.

    Attributes:
        weights: float64[hypothesis, unit], the standardized weights; None for a baseline, which weighs nothing.
        score: float64[hypothesis], on the held-out rows; NaN where there is none.
        certainty: of the scores; None where nothing can be told.
    """

    weights: Tensor | None
    score: Tensor
    certainty: Certainty | None = None

    @classmethod
    def of(cls, weights: Tensor | None, judged: Judged) -> Self:
        """What was found, and what came of it."""
        return cls(weights, judged.score, judged.certainty)

    def where_converged(self, converged: Tensor) -> Fitted:
        """The same, where a fit that has not converged, bool[hypothesis], is not settled, so that it has no error."""
        assert self.certainty is not None
        return replace(self, certainty=self.certainty.without(NOT_CONVERGED, ~converged))


@dataclass(frozen=True)
class AbstractProbe(AbstractMeasure):
    """A measure that scores a set of units together, and gives each unit its share."""

    group: str = field(
        default="layer",
        metadata={
            "description": "the units that are scored together: those of a `layer`, or of all layers of a `model`"
        },
    )
    held_out: float = field(
        default=0.2, metadata={"description": "the share of the records that the probe is scored on, and does not see"}
    )
    control: bool = field(
        default=False,
        metadata={"description": "fit random labels by word type and shuffled labels, too (`control_score`)"},
    )
    baseline: str = field(
        default="none",
        metadata={"description": "`random`: fit the same architecture with random weights, too (`baseline_score`)"},
    )

    state_type: ClassVar[type[AbstractState]] = Rows
    grouped: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    scored: ClassVar[str] = "F1"
    """What `group_score` is."""
    path: ClassVar[str] = ""
    """The option along which one computation fits several probes, a regularization path; empty where there is none."""
    retrained: ClassVar[float] = RETRAINED
    """How much the score varies between probes that learn from other records; see `learning`."""
    uncertain: ClassVar[str] = ""
    """Why no score has an interval, of a probe whose scores never have one."""

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise MeasureError(f"group of {self.name} cannot be '{self.group}'", nearest(self.group, GROUPS))
        if self.baseline not in BASELINES:
            raise MeasureError(
                f"baseline of {self.name} cannot be '{self.baseline}'", nearest(self.baseline, BASELINES)
            )
        if not 0 < self.held_out < 1:
            raise MeasureError(f"held_out of {self.name} cannot be {self.held_out:g}", "Give a share between 0 and 1.")

    @abc.abstractmethod
    def fit(self, fold: Fold, kind: Kind) -> Fitted:
        """Fit the hypotheses of a fold and score them.

        Args:
            fold: the rows; its columns are hypotheses, or the values of one category.
            kind: of the hypotheses.
        """

    def fit_path(self, fold: Fold, kind: Kind, probes: Sequence[Self]) -> Sequence[Fitted]:
        """Fit several probes of this one's family, each to its own optimum.

        Args:
            fold: as of `fit`.
            kind: as of `fit`.
            probes: which.
        """
        return [probe.fit(fold, kind) for probe in probes]

    @property
    def family(self) -> Self:
        """What probes have in common that are fitted together: all but the option of the path."""
        default: dict[str, Any] = {f.name: f.default for f in fields(self) if f.name == self.path}
        return replace(self, **default)

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """The scores of one layer's units as a group."""
        assert isinstance(state, Rows)
        return self.compute_group(UnitGroup([state]), targets)

    def compute_group(self, group: UnitGroup, targets: Sequence[Target]) -> Values:
        """The scores of a group of units, as of `compute_path`."""
        return self.compute_path(group, targets, [self])[0]

    def compute_path(self, group: UnitGroup, targets: Sequence[Target], probes: Sequence[Self]) -> list[Values]:
        """The scores of a group of units by several probes of this one's family.

        Args:
            group: the units and their rows.
            targets: the hypotheses.
            probes: which.

        Returns:
            The scores by each probe; the units are those of all layers of the group, one layer after the other.
        """
        shape = (len(probes), len(targets), group.units)
        weights, note = np.full(shape, np.nan), np.full(shape, wrong_kind(self.takes))
        scores = np.full((len(probes), 3, len(targets)), np.nan)
        errors = np.full((len(probes), len(ERRORS), len(targets)), np.nan)
        for batch in self._batches(targets):
            asked = [c for i in batch for c in targets[i].columns]
            for fold in group.folds(asked, self.rests, 0, targets[batch[0]].given):
                within = [i for i in batch if set(targets[i].columns) <= set(fold.columns)]
                found = self._fitted(fold, [targets[i] for i in within], probes)
                weights[:, within], scores[:, :, within], errors[:, :, within], note[:, within] = found
        return [self._values(*several) for several in zip(weights, scores, errors, note, strict=True)]

    def _values(self, weights: Floats, scores: Floats, errors: Floats, note: Ints) -> Values:
        found = Values(weights, note, group_score=scores[0], spread=self._spread(errors))
        return replace(found, control_score=scores[1], shuffled_score=scores[2]) if self.control else found

    def _spread(self, errors: Floats) -> Spread:
        """The spread of the group scores, from float64[of `ERRORS`, target]."""
        error, freedom, bias, why = errors
        reasons = [WHY[int(code)] for code in np.unique(why[why > 0])]
        missing = f"no interval: {self.uncertain or ', or '.join(reasons)}" if self.uncertain or reasons else THIN
        return Spread(error[:, None], np.nan_to_num(freedom), np.nan_to_num(bias)[:, None], missing=missing)

    @property
    def needs_words(self) -> bool:
        """For a control task."""
        return self.control

    @property
    def rests(self) -> float:
        """The share of the records that is held out."""
        return self.held_out

    @property
    def needs_baseline(self) -> bool:
        """If it was asked for."""
        return self.baseline == "random"

    def _batches(self, targets: Sequence[Target]) -> Iterable[list[int]]:
        """Targets that are fitted together: all booleans, all numbers, each category."""
        for kind in ("boolean", "number"):
            if kind in self.takes and (batch := [i for i, t in enumerate(targets) if t.kind == kind]):
                yield batch
        yield from ([i] for i, t in enumerate(targets) if t.kind == "category" and "category" in self.takes)

    def _fitted(
        self, fold: Fold, targets: Sequence[Target], probes: Sequence[Self]
    ) -> tuple[Floats, Floats, Floats, Ints]:
        """Weights, scores (of labels, a control task, shuffled labels), errors and notes of targets that share rows.

        Each has a first dimension for the probes.
        """
        kind = targets[0].kind
        assert kind is not None
        train, test = _Labels.of(fold.train), _Labels.of(fold.test)
        why = _why_not(train, test, fold, kind, with_test=bool(self.rests))
        fits = np.flatnonzero(why == 0)
        weights = np.full((len(probes), len(why), fold.train.units), np.nan)
        scores = np.full((len(probes), 3, len(why)), np.nan)
        errors = np.full((len(probes), len(ERRORS), len(why)), np.nan)
        note = np.broadcast_to(why[:, None], weights.shape).copy()
        if len(fits):
            some = fold if len(fits) == len(why) else fold.only(fits)
            fit = self._fit_with_controls if self.control else self.fit_path
            for i, found in enumerate(fit(some, kind, probes)):
                if found.weights is not None:
                    weights[i, fits] = found.weights[: len(fits)].cpu().numpy()
                for k, several in enumerate(found.score.reshape(-1, len(fits)).cpu().numpy()):
                    scores[i, k, fits] = several
                if found.certainty is not None:
                    for k, name in enumerate(ERRORS):
                        errors[i, k, fits] = getattr(found.certainty, name)[: len(fits)].cpu().numpy()
                share = 0 if found.weights is not None else TOGETHER
                unscored = np.isnan(scores[i, 0, fits])[:, None]
                note[i, fits] = np.where(fold.unit_note, fold.unit_note, np.where(unscored, CONSTANT_HELD_OUT, share))
            weights[:, fits] = np.where(fold.unit_note, np.nan, weights[:, fits])
        order = [fold.columns.index(t.columns[0]) for t in targets] if kind != "category" else [0]
        return weights[:, order], scores[:, :, order], errors[:, :, order], note[:, order]

    def _fit_with_controls(self, fold: Fold, kind: Kind, probes: Sequence[Self]) -> Sequence[Fitted]:
        """The hypotheses and their controls in one fit; of a category, three."""
        task, shuffle = fold.controls(kind)
        if kind == "category":
            folds = (fold, fold.with_labels(*task), fold.with_labels(*shuffle))
            several = zip(*(self.fit_path(f, kind, probes) for f in folds), strict=True)
            return [replace(found[0], score=torch.cat([f.score for f in found])) for found in several]
        train, test = (
            torch.cat([labels_of(d), t, s], 1) for d, t, s in zip((fold.train, fold.test), task, shuffle, strict=True)
        )
        return self.fit_path(fold.with_labels(train, test), kind, probes)


@dataclass(frozen=True)
class AbstractUnitProbe(AbstractProbe, AbstractGiven):
    """A probe that looks at the units: given confounds, at the residuals of these after a regression on them.

    The regression is fitted on the records that the probe learns from, and taken off all. Controls and baselines are
    fitted on residuals, too.
    """


@dataclass(frozen=True)
class _Labels:
    """Sums of the labels of a design."""

    rows: int
    sums: Floats
    least: Floats
    greatest: Floats

    @classmethod
    def of(cls, design: Design) -> _Labels:
        sums = torch.zeros(design.hypotheses, dtype=torch.float64)
        least, greatest = torch.full_like(sums, torch.inf), torch.full_like(sums, -torch.inf)
        for _, y in design.read():
            if len(y):
                sums += y.sum(0, dtype=torch.float64).cpu()
                least, greatest = torch.minimum(least, y.amin(0).cpu()), torch.maximum(greatest, y.amax(0).cpu())
        return cls(design.rows, sums.numpy(), least.numpy(), greatest.numpy())


def _why_not(train: _Labels, test: _Labels, fold: Fold, kind: Kind, *, with_test: bool) -> Ints:
    """int64[hypothesis]: the note of each hypothesis that cannot be fitted, else 0; of a category, one."""
    rows, sums = train.rows + test.rows, train.sums + test.sums
    if kind == "category":
        constant, still = np.array([(sums > 0).sum() < 2]), np.array([(train.sums > 0).sum() < 2])
    else:
        constant = np.minimum(train.least, test.least) == np.maximum(train.greatest, test.greatest)
        still = train.least == train.greatest
    boolean = kind == "boolean"
    records = [len(r) for r in fold.rows_of_records]
    note = fold.given_note.copy() if kind != "category" else fold.given_note.min(keepdims=True)
    for code, where in (  # the later one wins
        (CONSTANT_TRAINING, still),
        (TOO_FEW_RECORDS, np.full(len(note), not records[0] or (with_test and not records[1]))),
        (FEW_NEGATIVES, boolean & (rows - sums[: len(note)] < 2)),
        (FEW_POSITIVES, boolean & (sums[: len(note)] < 2)),
        (CONSTANT_HYPOTHESIS, constant),
        (TOO_FEW, np.full(len(note), rows < 2)),
    ):
        note[where] = code
    return note


def refuse_unless_positive(measure: AbstractMeasure, *names: str) -> None:
    """Refuse options that are not above 0."""
    for name in names:
        if not getattr(measure, name) > 0:
            raise MeasureError(
                f"{name} of {measure.name} cannot be {getattr(measure, name):g}", "Give a number above 0."
            )


def refuse_unless_share(measure: AbstractMeasure, name: str) -> None:
    """Refuse an option that is not from 0 to 1."""
    if not 0 <= getattr(measure, name) <= 1:
        raise MeasureError(
            f"{name} of {measure.name} cannot be {getattr(measure, name):g}", "Give a number from 0 to 1."
        )


def classified(weights: Weights, fold: Fold, kind: Kind, penalty: float = 0.0) -> Fitted:
    """The held-out F1 of linear probes; of a category the macro F1, and the norm of each unit's weights."""
    if kind == "category":
        judged = judge_category(linear_predictor(weights), fold, RETRAINED, penalty)
        return Fitted.of(weights[0].norm(dim=0)[None], judged)
    return classified_path([weights], fold, [penalty])[0]


def classified_path(
    several: Sequence[Weights], fold: Fold, penalties: Sequence[float], retrained: float = RETRAINED
) -> list[Fitted]:
    """The held-out F1 of linear probes of booleans, for several fits, in the same passes; see `judge_booleans`."""
    found = judge_booleans(linear_predictor(stacked(several)), fold, retrained, penalties)
    return [Fitted.of(weights[0], judged) for weights, judged in zip(several, found, strict=True)]
