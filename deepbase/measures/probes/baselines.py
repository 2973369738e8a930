"""What a probe has to beat: predictions that do not look at the units.

`majority` predicts the class that is more frequent in the training rows (in a tie: no, or the first category), for
numbers their mean. `random` draws each prediction at the rates of the training rows, for numbers one of their values.
The second is not drawn but computed, so its scores are expected values and need no seed.

Counts and squared errors are linear in the predictions, so accuracy and R squared of the expected counts are the
expected scores. F1 is not linear. With P positives among n rows and a positive predicted with probability q, of m
positives predicted m P / n are right on average, so

    E[F1] = sum over m of Binomial(m; n, q) * 2 m (P / n) / (P + m),

which `random_f1` sums over the m within some standard deviations (`REACH`) of the mean, beyond which less than rounding
is left.

Cost: none over the rows; the truth of the held-out rows comes from the counts of a probe on them.
Memory: float64[24 * sqrt(rows)] for one hypothesis at a time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deepbase.measures.probes.scores import NO_POSITIVES, NO_ROWS, Counts, Errors, Scored, Spread

REACH = 12


def majority(rate: Tensor, held: Counts) -> Counts:
    """The counts of predicting the more frequent class.

    Args:
        rate: float64[hypothesis], the share of the training rows where it holds.
        held: counts of any probe on the held-out rows.
    """
    return random((rate > 0.5).double(), held)


def random(rate: Tensor, held: Counts) -> Counts:
    """The expected counts of predictions that are drawn.

    Args:
        rate: float64[hypothesis], the share of the training rows where it holds.
        held: counts of any probe on the held-out rows.
    """
    positive, negative = held.tp + held.fn, held.fp + held.tn
    return Counts(tp=rate * positive, fp=rate * negative, fn=(1 - rate) * positive, tn=(1 - rate) * negative)


def random_f1(rate: Tensor, held: Counts) -> Scored:
    """The expected F1 of predictions that are drawn; without a positive held-out row NaN, as of `f1`.

    Args:
        rate: float64[hypothesis], the share of the training rows where it holds.
        held: counts of any probe on the held-out rows.
    """
    positive, rows = held.tp + held.fn, held.rows
    value = [_expected_f1(*case) for case in zip(rate.tolist(), positive.tolist(), rows.tolist(), strict=True)]
    score = torch.tensor(value, dtype=torch.float64, device=rate.device)
    return Scored.of(score, (NO_POSITIVES, positive == 0), (NO_ROWS, rows == 0))


def _expected_f1(rate: float, positive: float, rows: float) -> float:
    if not positive or not rate > 0:
        return 0.0
    if rate >= 1:
        return 2 * positive / (positive + rows)
    reach = REACH * (rows * rate * (1 - rate)) ** 0.5 + 2 * REACH
    low, high = max(round(rows * rate - reach), 0), min(round(rows * rate + reach), round(rows))
    m = torch.arange(low, high + 1, dtype=torch.float64)
    odds = torch.tensor(rate / (1 - rate), dtype=torch.float64).log()
    chance = (m * odds - torch.lgamma(m + 1) - torch.lgamma(rows - m + 1)).softmax(0)
    return float((chance * 2 * m * (positive / rows) / (positive + m)).sum())


def majority_table(shares: Tensor, held: Tensor) -> Tensor:
    """The confusion table of predicting the most frequent category.

    Args:
        shares: float64[class], of the training rows.
        held: float64[class, predicted class], of any probe on the held-out rows.
    """
    always = torch.zeros_like(shares)
    always[shares.argmax()] = 1
    return random_table(always, held)


def random_table(shares: Tensor, held: Tensor) -> Tensor:
    """The expected confusion table of categories that are drawn.

    Args:
        shares: float64[class], of the training rows.
        held: float64[class, predicted class], of any probe on the held-out rows.
    """
    return torch.outer(held.sum(1), shares)


def random_macro_f1(shares: Tensor, held: Tensor) -> Scored:
    """The expected macro F1 of categories that are drawn. One value.

    Args:
        shares: float64[class], of the training rows.
        held: float64[class, predicted class], of any probe on the held-out rows.
    """
    value = random_f1(shares, Counts.of(held)).value.nanmean()[None]
    return Scored.of(value, (NO_ROWS, held.sum()[None] == 0))


def mean_errors(train: Spread, held: Errors) -> Errors:
    """The squared errors of predicting the mean of the training rows.

    Args:
        train: of the training rows.
        held: of any probe on the held-out rows.
    """
    apart = (held.spread.mean - train.mean).square()
    return replace(held, squares=held.spread.squares + held.spread.rows * apart)


def random_errors(train: Spread, held: Errors) -> Errors:
    """The expected squared errors of predicting a value of the training rows that is drawn.

    Args:
        train: of the training rows.
        held: of any probe on the held-out rows.
    """
    fixed = mean_errors(train, held)
    return replace(fixed, squares=fixed.squares + held.spread.rows * train.deviation.square())
