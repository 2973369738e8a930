"""When a pair has no score: decided once, for all measures that compare units with hypotheses.

A state says what it knows of the symbols at which a hypothesis has a value (`Evidence`); `values` puts the note in the
place of each score that cannot be, in the order of precedence of `NOTES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Kind
from deepbase.measures.base import Target, Values
from deepbase.measures.notes import (
    CONSTANT_HYPOTHESIS,
    CONSTANT_UNIT,
    FEW_NEGATIVES,
    FEW_POSITIVES,
    NOT_FINITE,
    NOTES,
    TOO_FEW,
    wrong_kind,
)


@dataclass(frozen=True)
class Evidence:
    """What decides whether a unit and a target can be compared, over the symbols where the target has a value.

    Attributes:
        n: float64[target], symbols.
        positives: float64[target], the true ones; looked at for booleans only.
        constant_target: bool[target].
        constant_unit: bool[target, unit].
        finite: bool[target or 1, unit], whether the unit is finite everywhere.
    """

    n: Tensor
    positives: Tensor
    constant_target: Tensor
    constant_unit: Tensor
    finite: Tensor


def constant(mean: Tensor, variance: Tensor) -> Tensor:
    """Whether units are constant: a standard deviation below one rounding step of a float32 at the mean, or 1e-18.

    The square of a float32 below 1e-18 is no longer a number.
    """
    return variance.sqrt() <= (2.0**-23 * mean.abs()).clamp_min(1e-18)


def first_columns(targets: Sequence[Target]) -> list[int]:
    """The first column of each target; those of a category have a value at the same symbols."""
    return [t.columns[0] for t in targets]


def values(
    score: Tensor,
    targets: Sequence[Target],
    takes: Sequence[Kind],
    evidence: Evidence,
    undefined: int = NOT_FINITE,
    notes: Sequence[str | None] = NOTES,
    reasons: Sequence[tuple[int, Tensor]] = (),
) -> Values:
    """Scores with the conventions applied: a pair without a value is NaN and has a note.

    Args:
        score: float64[target, unit].
        targets: what is asked for.
        takes: the kinds that the measure takes.
        evidence: of the same targets.
        undefined: the note of what is not finite.
        notes: what notes there are.
        reasons: notes of a measure's own, and bool[target, unit] or what broadcasts to it, where they hold; the
            conventions come before them, and the later one before the earlier.
    """
    device = score.device
    boolean = torch.tensor([t.kind == "boolean" for t in targets], device=device)
    foreign = torch.tensor([t.kind not in takes for t in targets], device=device)
    note = torch.where(score.isfinite(), 0, undefined).to(torch.uint8)
    for code, where in (  # the later one wins
        *reasons,
        (FEW_NEGATIVES, (boolean & (evidence.n - evidence.positives < 2))[:, None]),
        (FEW_POSITIVES, (boolean & (evidence.positives < 2))[:, None]),
        (wrong_kind(takes), foreign[:, None]),
        (CONSTANT_HYPOTHESIS, evidence.constant_target[:, None]),
        (CONSTANT_UNIT, evidence.constant_unit),
        (NOT_FINITE, ~evidence.finite),
        (TOO_FEW, evidence.n[:, None] < 2),
    ):
        note = torch.where(where, torch.tensor(code, dtype=torch.uint8, device=device), note)
    score = torch.where(note == 0, score, torch.nan)
    return Values(score.cpu().numpy(), note.cpu().numpy().astype(np.uint8), notes)
