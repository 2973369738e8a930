"""Why a pair has no score: the conventions of all measures, in words."""

from __future__ import annotations

from collections.abc import Sequence

from deepbase.blocks import Kind

NOTES: tuple[str | None, ...] = (
    None,
    "fewer than 2 symbols have a value of the hypothesis",
    "unit has NaN or infinite activations",
    "unit is constant",
    "hypothesis is constant",
    "measure needs a boolean hypothesis",
    "measure needs a number hypothesis",
    "measure needs a category hypothesis",
    "measure needs another kind of hypothesis",
    "hypothesis has fewer than 2 positives",
    "hypothesis has fewer than 2 negatives",
    "no variation within the classes",
    "fewer than 4 symbols, too few to correct the bias",
    "both means are 0",
    "fewer than 2 symbols",
    "fewer than 2 records, one to learn from and one to be scored on",
    "hypothesis is constant in the records that the probe learns from",
    "hypothesis is constant in the held-out records",
    "measure scores the units together, and gives none of them a share",
    "too few symbols have a value of all that is given",
    "unit is determined by what is given",
    "hypothesis is determined by what is given",
    "models have different symbols: compare them at words (at word)",
    "no unit of one of the two groups varies",
    "unit is constant in the held-out records",
    "more than 4,096 units, too many for canonical correlations",
)
"""Why a pair has no score; the conventions of all measures, in order of precedence."""

(
    TOO_FEW,
    NOT_FINITE,
    CONSTANT_UNIT,
    CONSTANT_HYPOTHESIS,
    NOT_BOOLEAN,
    NOT_NUMBER,
    NOT_CATEGORY,
    WRONG_KIND,
    FEW_POSITIVES,
    FEW_NEGATIVES,
    NO_VARIATION,
    UNCORRECTABLE,
    MEANS_ARE_ZERO,
    TOO_FEW_SYMBOLS,
    TOO_FEW_RECORDS,
    CONSTANT_TRAINING,
    CONSTANT_HELD_OUT,
    TOGETHER,
    TOO_FEW_GIVEN,
    UNIT_GIVEN,
    HYPOTHESIS_GIVEN,
    OTHER_SYMBOLS,
    NOTHING_VARIES,
    UNIT_HELD_OUT,
    TOO_MANY_UNITS,
) = range(1, len(NOTES))


def wrong_kind(takes: Sequence[Kind]) -> int:
    """The note of a hypothesis that is of none of the kinds that a measure takes."""
    alone = {"boolean": NOT_BOOLEAN, "number": NOT_NUMBER, "category": NOT_CATEGORY}
    return alone[takes[0]] if len(takes) == 1 else WRONG_KIND
