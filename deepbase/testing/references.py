"""What every score should be: by the conventions, by a textbook function, or by one pass over the same symbols."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deepbase.blocks import Floats, Kind
from deepbase.measures import notes
from deepbase.measures.base import AbstractMeasure, Values
from deepbase.measures.notes import NOTES, wrong_kind
from deepbase.measures.own import is_own
from deepbase.testing.data import Data
from deepbase.testing.states import targets_of

TOLERANCE = 1e-5
Case = Literal["few symbols", "not finite", "constant unit", "constant hypothesis", "few positives", "few negatives"]
"""Why a pair has no score by the conventions."""
NOTE_OF: dict[Case, int] = {
    "few symbols": notes.TOO_FEW,
    "not finite": notes.NOT_FINITE,
    "constant unit": notes.CONSTANT_UNIT,
    "constant hypothesis": notes.CONSTANT_HYPOTHESIS,
    "few positives": notes.FEW_POSITIVES,
    "few negatives": notes.FEW_NEGATIVES,
}
Score = Callable[..., Any]
"""A textbook function: `score(x, y)`; of a fact of a unit, `score(x)`."""


def said_bound(note: str, x: Floats, y: Floats) -> float:
    """How far a score may be off: 0.01 where its note says `approximate: within 0.01 of the exact value`.

    Without bounds where it says `approximate: ` and something else, and not at all where it says anything else.

    Args:
        note: of the score.
        x: float64[symbol], the unit where the hypothesis has a value.
        y: float64[symbol], the hypothesis there.
    """
    found = re.fullmatch(r"approximate: within (\S+) of the exact value", note)
    if found is not None:
        return float(found[1])
    return math.inf if note.startswith("approximate: ") else 0.0


@dataclass(frozen=True)
class Reference:
    """What the scores of a measure are compared with.

    Attributes:
        score: `score(x, y)`, the textbook value; or one such function for each kind of hypothesis. `x` is float64
            [symbol], a unit where the hypothesis has a value; `y` is the hypothesis there, float64[symbol] of 0 and 1
            for a boolean, float64[symbol] for a number, int64[symbol] of codes for a category. Of a fact of a unit,
            `score(x)`. NaN says that there is no score. Without a function, scores are compared with those of one pass.
            Of a group measure `score(x, y, held_out_x, held_out_y)`: float64[symbol, unit] of the units that are finite
            and not constant, and y as above, of the records that a probe learns from and of those that it is scored on
            (for a group measure with a state of its own: of all symbols, and of none). It gives the group score, or it
            and float64[unit], the scores of the units.
        tolerance: how far a score may be off: a number, or a function of the textbook value, x and y. Without, 1e-5 of
            the greatest magnitude of the measure's range; where it has no bounds, 1e-5 of the largest of the score, 1
            and the standard deviation of x. Of a group measure a number, relative to scores above 1.
        undefined: the note where `score` is NaN; any will do without.
        defined: cases in which the measure has a score although there is none by the conventions.
        bound: how far a score may be off that has a note, by this note, x and y.
    """

    score: Score | Mapping[Kind, Score] | None = None
    tolerance: float | Callable[[float, Floats, Floats], float] | None = None
    undefined: str | None = None
    defined: Sequence[Case] = ()
    bound: Callable[[str, Floats, Floats], float] = said_bound

    def of(self, kind: Kind | None) -> Score | None:
        """The textbook function of a kind of hypothesis."""
        if isinstance(self.score, Mapping):
            return self.score.get(kind) if kind else None
        return self.score

    @property
    def number(self) -> float:
        """The tolerance of group scores, relative to those above 1."""
        return TOLERANCE if self.tolerance is None or callable(self.tolerance) else self.tolerance

    def allowance(self, measure: AbstractMeasure, score: float, x: Floats, y: Floats) -> float:
        """How far a score may be off."""
        if callable(self.tolerance):
            return self.tolerance(score, x, y)
        if self.tolerance is not None:
            return self.tolerance
        greatest = max(map(abs, measure.range))
        return TOLERANCE * (greatest if np.isfinite(greatest) else max(abs(score), 1.0, float(x.std())))


@dataclass(frozen=True, eq=False)
class Expected:
    """What the scores of a measure for some data should be.

    Attributes:
        data: which.
        hypotheses: by name; one without a name for a fact.
        score: float64[target, unit]; NaN where there is none.
        note: of each, the note that has to stand there; None for any.
        tolerance: float64[target, unit].
    """

    data: Data
    hypotheses: tuple[str, ...]
    score: Floats
    note: npt.NDArray[np.object_]
    tolerance: Floats


def pair(data: Data, unit: str, hypothesis: str) -> tuple[Floats, npt.NDArray[Any]]:
    """A unit and a hypothesis where it has a value, as a reference gets them; of a fact, the unit twice."""
    x = data.units[unit].astype(np.float64)
    if not hypothesis:
        return x, x
    y = data.hypotheses[hypothesis]
    known = ~np.isnan(y)
    return x[known], y[known].astype(np.int64) if data.kinds[hypothesis] == "category" else y[known]


def cases_of(data: Data, unit: str, hypothesis: str) -> list[Case]:
    """Why a pair has no score by the conventions, wrong kinds apart: what comes first counts."""
    x, y = pair(data, unit, hypothesis)
    if len(y) < 2:
        return ["few symbols"]
    if not np.isfinite(data.units[unit]).all():
        return ["not finite"]
    if not hypothesis:  # a constant unit has most facts
        return []
    positives = y.sum() if data.kinds[hypothesis] == "boolean" else math.inf
    negatives = len(y) - y.sum() if data.kinds[hypothesis] == "boolean" else math.inf
    cases: dict[Case, bool] = {
        "constant unit": is_constant(x),
        "constant hypothesis": bool((y == y[0]).all()),
        "few positives": positives < 2,
        "few negatives": negatives < 2,
    }
    return [case for case, holds in cases.items() if holds]


def is_constant(x: Floats) -> bool:
    """Whether a unit is constant: exactly, or up to less than a rounding step of a float32 at its mean."""
    return bool((x == x[0]).all() or x.std() <= max(2.0**-23 * abs(x.mean()), 1e-18))


def expected_of(measure: AbstractMeasure, reference: Reference, data: Data, one_pass: Values | None) -> Expected:
    """What the scores should be.

    Args:
        measure: whose.
        reference: its textbook.
        data: the symbols.
        one_pass: its scores in one pass, which count where the reference has no function.
    """
    hypotheses = tuple(targets_of(measure, data))
    shape = (len(hypotheses), len(data.units))
    score, tolerance = np.full(shape, np.nan), np.zeros(shape)
    note = np.full(shape, None, dtype=object)
    for h, hypothesis in enumerate(hypotheses):
        for u, unit in enumerate(data.units):
            said = _no_score(measure, reference, data, unit, hypothesis)
            if said is not None:
                note[h, u] = said or None
                continue
            x, y = pair(data, unit, hypothesis)
            textbook = reference.of(data.kinds.get(hypothesis))
            if textbook is not None:
                score[h, u] = textbook(x, y) if hypothesis else textbook(x)
                note[h, u] = reference.undefined
            elif one_pass is not None:
                score[h, u] = one_pass.unit_score[h, u]
                note[h, u] = one_pass.notes[one_pass.note[h, u]] if np.isnan(score[h, u]) else None
            if np.isfinite(score[h, u]):
                tolerance[h, u] = reference.allowance(measure, score[h, u], x, y)
            else:
                score[h, u] = np.nan
    return Expected(data, hypotheses, score, note, tolerance)


def _no_score(measure: AbstractMeasure, reference: Reference, data: Data, unit: str, hypothesis: str) -> str | None:
    """The note in the place of a score, empty if any will do; None if there should be a score."""
    cases = cases_of(data, unit, hypothesis)
    first = ("few symbols", "not finite", "constant unit", "constant hypothesis")
    wrong = bool(hypothesis) and data.kinds[hypothesis] not in measure.takes
    if wrong and (is_own(type(measure)) or not any(case in first for case in cases)):
        return NOTES[wrong_kind(measure.takes)] or ""
    left = [case for case in cases if case not in reference.defined]
    if not left or is_own(type(measure)):
        return "" if left else None
    return NOTES[notes.TOO_FEW_SYMBOLS if left[0] == "few symbols" and not hypothesis else NOTE_OF[left[0]]]
