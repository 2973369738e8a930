"""What becomes of predictions: held-out scores, and how far they may be off.

One pass over the held-out rows gives the scores and, by group of records, what their errors are made of (`sampling`);
one over as many training rows says what the probe has learned by heart (`learning`). Probes of one path are judged in
the same passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.learning import STRONG, seen_before, with_learning
from deepbase.measures.probes.rows import Predict, Weights, repeated
from deepbase.measures.probes.sampling import (
    LEAST_RECORDS,
    PENALIZED,
    Certainty,
    GroupedCounts,
    Records,
    certainty,
    count_groups,
    error_groups,
)
from deepbase.measures.probes.scores import Counts, confusion, count, errors, f1, macro_f1, r2

ANY_SHARE = 0.29
"""The standard deviation of a number that may be anything from 0 to 1."""


@final
@dataclass(frozen=True)
class Judged:
    """What probes reach on held-out rows.

    Attributes:
        score: float64[hypothesis]; one value of a category.
        certainty: of the scores.
    """

    score: Tensor
    certainty: Certainty


def stacked(several: Sequence[Weights]) -> Weights:
    """Linear probes of several fits, one after the other."""
    return torch.cat([w for w, _ in several]), torch.cat([b for _, b in several])


def judge_booleans(predict: Predict, fold: Fold, retrained: float, penalties: Sequence[float] = (0.0,)) -> list[Judged]:
    """F1 of probes of booleans.

    Args:
        predict: of float32[row, unit], float64[row, probe * hypothesis], one probe after the other; above 0 means yes.
        fold: the rows.
        retrained: of the probe.
        penalties: of each probe; 0 for one without.

    Returns:
        One for each probe.
    """
    times = len(penalties)
    learned = f1(count(repeated(seen_before(fold), times), predict)).value.chunk(times)
    records = Records.of(fold.rows_of_records[1])
    found = count_groups(repeated(fold.test, times), lambda x: predict(x) > 0, records).chunk(times)
    judged = []
    for held, seen, penalty in zip(found, learned, penalties, strict=True):
        score = f1(held.whole).value
        known = certainty(f1(held.without).value, held.varies, held.carrying)
        known = with_learning(known, score, seen, fold.rows_of_records, retrained)
        judged.append(Judged(score, known.without(PENALIZED, penalized(held.whole, fold, penalty))))
    return judged


def penalized(held: Counts, fold: Fold, penalty: float) -> Tensor:
    """bool[hypothesis], whether a penalty is strong for the training rows; see `learning`."""
    share = (held.tp + held.fn) / held.rows
    return penalty > STRONG * fold.train.rows * share * (1 - share)


def judge_category(predict: Predict, fold: Fold, retrained: float, penalty: float = 0.0) -> Judged:
    """Macro F1 of a probe of a category.

    A value that few held-out records carry, or for which the penalty is strong, may have any F1 from 0 to 1: the
    standard deviation of that, for all such values alike, is added to the error.

    Args:
        predict: of float32[row, unit], float64[row, value]; the greatest is meant.
        fold: the rows.
        retrained: of the probe.
        penalty: of the probe.
    """
    values = fold.test.hypotheses

    def decide(x: Tensor) -> Tensor:
        return one_hot(predict(x).argmax(1), values)

    held = count_groups(fold.test, decide, Records.of(fold.rows_of_records[1]))
    seen = confusion(seen_before(fold), predict)
    score = f1(held.whole).value.nanmean()[None]
    known = with_learning(
        of_values(held, f1(held.without).value), score, macro_f1(seen).value, fold.rows_of_records, retrained
    )
    there = (held.carrying > 0) | (seen.sum(1) > 0)
    unknown = there & ((held.carrying < LEAST_RECORDS) | penalized(held.whole, fold, penalty))
    return Judged(score, known.wider(ANY_SHARE * unknown.sum() / there.sum()))


def of_values(held: GroupedCounts, without: Tensor) -> Certainty:
    """The certainty of a mean over the values of a category that there are.

    Args:
        held: their counts.
        without: float64[group, value], the scores of all groups but one.
    """
    records = torch.full_like(held.carrying[:1], held.records)
    return certainty(without.nanmean(1)[:, None], held.varies.sum(1, keepdim=True), records)


def judge_numbers(predict: Predict, fold: Fold, retrained: float, penalties: Sequence[float] = (0.0,)) -> list[Judged]:
    """R squared of probes of numbers, as of `judge_booleans`, with predictions of a regression."""
    times = len(penalties)
    learned = r2(errors(repeated(seen_before(fold), times), predict)).value.chunk(times)
    found = error_groups(repeated(fold.test, times), predict, Records.of(fold.rows_of_records[1])).chunk(times)
    judged = []
    for held, seen, penalty in zip(found, learned, penalties, strict=True):
        score = r2(held.whole).value
        known = certainty(held.without, held.varies, torch.full_like(score, held.records))
        known = with_learning(known, score, seen, fold.rows_of_records, retrained)
        strong = torch.full_like(score, penalty > STRONG * fold.train.rows, dtype=torch.bool)
        judged.append(Judged(score, known.without(PENALIZED, strong)))
    return judged
