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
from deepbase.measures.probes.learning import regressed, rescaled, seen_before, with_learning
from deepbase.measures.probes.rows import Predict, Weights, repeated
from deepbase.measures.probes.sampling import (
    Certainty,
    GroupedCounts,
    GroupedErrors,
    Records,
    certainty,
    count_groups,
    error_groups,
)
from deepbase.measures.probes.scores import confusion, count, errors, f1, macro_f1, r2


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


def judge_booleans(
    predict: Predict, fold: Fold, retrained: float, *, times: int = 1, penalty: bool = False
) -> list[Judged]:
    """F1 of probes of booleans.

    Args:
        predict: of float32[row, unit], float64[row, times * hypothesis]; above 0 means yes.
        fold: the rows.
        retrained: of the probe.
        times: how many probes of each hypothesis there are, one after the other.
        penalty: whether they are logistic probes with a penalty.

    Returns:
        One for each of the `times`.
    """
    seen = repeated(seen_before(fold), times)
    learned = f1(count(seen, predict)).value.chunk(times)
    records = Records.of(fold.rows_of_records[1])
    if not penalty:
        found = count_groups(repeated(fold.test, times), lambda x: predict(x) > 0, records).chunk(times)
        return [_of_counts(c, fold, retrained, s, None) for c, s in zip(found, learned, strict=True)]
    factor, offset = rescaled(predict, seen)

    def both(x: Tensor) -> Tensor:
        z = predict(x)
        return torch.cat([z > 0, z * factor + offset > 0], 1)

    found = count_groups(repeated(fold.test, 2 * times), both, records).chunk(2 * times)
    relaxed = [f1(c.whole).value for c in found[times:]]
    several = zip(found[:times], learned, relaxed, strict=True)
    return [_of_counts(c, fold, retrained, s, r) for c, s, r in several]


def _of_counts(found: GroupedCounts, fold: Fold, retrained: float, learned: Tensor, relaxed: Tensor | None) -> Judged:
    score = f1(found.whole).value
    known = certainty(f1(found.without).value, found.varies, found.carrying)
    return Judged(score, with_learning(known, score, learned, relaxed, fold.rows_of_records, retrained))


def judge_category(predict: Predict, fold: Fold, retrained: float) -> Judged:
    """Macro F1 of a probe of a category.

    Args:
        predict: of float32[row, unit], float64[row, value]; the greatest is meant.
        fold: the rows.
        retrained: of the probe.
    """
    values = fold.test.hypotheses

    def decide(x: Tensor) -> Tensor:
        return one_hot(predict(x).argmax(1), values)

    found = count_groups(fold.test, decide, Records.of(fold.rows_of_records[1]))
    seen = macro_f1(confusion(seen_before(fold), predict)).value
    score = f1(found.whole).value.nanmean()[None]
    varies, records = found.varies.sum(1, keepdim=True), torch.full_like(score, len(fold.rows_of_records[1]))
    known = certainty(f1(found.without).value.nanmean(1)[:, None], varies, records)
    return Judged(score, with_learning(known, score, seen, None, fold.rows_of_records, retrained))


def judge_numbers(
    predict: Predict, fold: Fold, retrained: float, *, times: int = 1, penalty: bool = False
) -> list[Judged]:
    """R squared of probes of numbers, as of `judge_booleans`, with predictions of a regression."""
    seen = repeated(seen_before(fold), times)
    learned = r2(errors(seen, predict)).value.chunk(times)
    records = Records.of(fold.rows_of_records[1])
    found = error_groups(repeated(fold.test, times), predict, records).chunk(times)
    relaxed: list[Tensor | None] = [None] * times
    if penalty:
        factor, offset = regressed(predict, seen)
        freed = errors(repeated(fold.test, times), lambda x: predict(x) * factor + offset)
        relaxed = list(r2(freed).value.chunk(times))
    return [_of_errors(c, fold, retrained, s, r) for c, s, r in zip(found, learned, relaxed, strict=True)]


def _of_errors(found: GroupedErrors, fold: Fold, retrained: float, learned: Tensor, relaxed: Tensor | None) -> Judged:
    score = r2(found.whole).value
    known = certainty(found.without, found.varies, torch.full_like(score, found.records))
    return Judged(score, with_learning(known, score, learned, relaxed, fold.rows_of_records, retrained))
