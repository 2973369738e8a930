"""How far scores may be off by the choice of the records that were read: standard errors, intervals, tails.

The problem. A score of some records stands for that of the whole dataset. Symbols of one record are alike, so that what
counts is how many records there are, and how much the score differs between them. A measure says this as a `Spread`: a
standard error, from how random groups of whole records differ, and how many groups it rests on. From it follow an
interval, and the chance that the score of the whole dataset is beyond a bound.

*Scales.* A correlation near 1 cannot go up, but down: its error is far from symmetric. Standard errors are therefore
those of a transformed score, which is nearly normal: Fisher's z for scores in [-1, 1] (Fisher 1921, "On the probable
error of a coefficient of correlation"), the log odds for scores in [0, 1]. A contrast `(a - b) / (|a| + |b|)` has kinks
where a or b is 0, and stays at its ends while their signs differ; its scale is the angle of the point (b, a), of which
it is a function.

*Finite populations.* The interval is about the records of the dataset. Where a share f of them has been read, without
putting any back, the variance is `1 - f` times that of records from an endless source (Cochran 1977, Sampling
Techniques, section 2.6); with all of them it is 0, and the interval is the score itself.

*Small samples.* Quantiles are those of Student's t. Its degrees of freedom are the groups of records that tell of the
hypothesis, less one; with fewer than `LEAST_FREEDOM` there is no interval.

*Never narrow.* Where no error can be told (no two groups differ, the score is at the end of its range, too few records
carry the hypothesis) there is no interval, and a note says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import scipy.special

from deepbase.blocks import Floats

Scale = Literal["plain", "fisher", "logit", "angle"]
"""What transforms a score so that its error is nearly normal."""
LEAST_FREEDOM = 1.0
NO_INTERVAL = "no interval: this measure has none"
THIN = "no interval: too few records tell of the hypothesis"


@dataclass(frozen=True)
class Spread:
    """Standard errors of the scores of one measure, for records from an endless source.

    Attributes:
        error: float64[target, unit], on the measure's scale, or [target, 1] of a score of units together; NaN where it
            cannot be told.
        freedom: float64[target], degrees of freedom.
        bias: float64[target, unit], by how much the score is expected to exceed that of an endless source, on the same
            scale; None for a measure without a bias that matters. The interval is about the score without it.
        centre: float64[target, unit], the transformed score, where the score does not tell it: an angle.
        per: float64[target, unit], what `error` is a share of where a run is asked for a precision: 1 for scores of a
            scale of their own (None), for those in the unit's scale its standard deviation.
        missing: why there is no error, where there is none.
    """

    error: Floats
    freedom: Floats
    bias: Floats | None = None
    centre: Floats | None = None
    per: Floats | None = None
    missing: str = THIN

    def units(self, units: slice) -> Self:
        """That of some of the units."""
        if self.error.shape[1] == 1:
            return self
        several = ("error", "bias", "centre", "per")
        return replace(self, **{n: v[:, units] for n in several if (v := getattr(self, n)) is not None})


def jackknife(score: Floats, without: Floats, freedom: Floats, scale: Scale, present: Floats | None = None) -> Spread:
    """Standard errors and biases from scores without each group of records in turn.

    The delete-a-group jackknife (Wolter 2007, Introduction to Variance Estimation, section 4.2; its bias is that of
    Quenouille 1956, "Notes on bias in estimation").

    Args:
        score: float64[target, unit], of all records.
        without: float64[group, target, unit], of all but a group; groups without a record leave the score as it is.
        freedom: float64[target], the groups that tell of each target, less one.
        scale: of the measure.
        present: float64[group, target], 1 for the groups that have a record, 0 for others; without, as many as tell.
    """
    values = transformed(without, scale)
    w = np.ones(values.shape[:2]) if present is None else present
    groups = (freedom + 1 if present is None else w.sum(0))[:, None]
    values = np.where(w[:, :, None] > 0, values, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = values.sum(0) / w.sum(0)[:, None]
        squares = (w[:, :, None] * np.square(values - centre)).sum(0)
        error = np.sqrt((groups - 1) / groups * squares)
        bias = (groups - 1) * (centre - transformed(score, scale))
    return Spread(np.where(np.isfinite(score), error, np.nan), freedom, np.nan_to_num(bias))


def unknown(score: Floats, missing: str) -> Spread:
    """No errors of scores, float64[target, unit], for a reason."""
    return Spread(np.full(score.shape, np.nan), np.zeros(len(score)), missing=missing)


def random_groups(score: Floats, each: Floats, weight: Floats, freedom: Floats, scale: Scale) -> Spread:
    """Standard errors and biases from the scores of groups of records alone: the cheapest where a score is dear.

    The variance between random groups (Wolter 2007, section 2.2), each weighted by how much it holds; a bias that falls
    as 1 / n is seen in how the groups' scores differ from that of all.

    Args:
        score: float64[target, unit], of all records.
        each: float64[group, target, unit], of each group alone; NaN for a group without a score.
        weight: float64[group, target], how much each group tells.
        freedom: float64[target], the groups that tell of each target, less one.
        scale: of the measure.
    """
    values = transformed(each, scale)
    known = np.isfinite(values)
    w = np.where(known, weight[:, :, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = w / w.sum(0)
        groups = 1 / np.square(w).sum(0)
        centre = (w * np.where(known, values, 0)).sum(0)
        squares = (np.square(w) * np.square(np.where(known, values - centre, 0))).sum(0)
        error = np.sqrt(squares * groups / (groups - 1))
        bias = (centre - transformed(score, scale)) / (groups - 1)
    whole = np.isfinite(score) & (known.sum(0) > freedom[:, None] / 2)
    return Spread(np.where(whole, error, np.nan), freedom, np.nan_to_num(bias))


def transformed(score: Floats, scale: Scale) -> Floats:
    """Scores on a scale; what is at the end of its range is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "fisher":
            return np.arctanh(score)
        if scale == "logit":
            return np.asarray(scipy.special.logit(score))
    return score


def slope(score: Floats, scale: Scale) -> Floats:
    """How much a score grows as its transform does: the factor from errors on a scale to errors of the score."""
    if scale == "fisher":
        return 1 - np.square(score)
    return score * (1 - score) if scale == "logit" else np.ones_like(score)


def _back(value: Floats, scale: Scale) -> Floats:
    if scale == "fisher":
        return np.tanh(value)
    return scipy.special.expit(value) if scale == "logit" else value


def interval(score: Floats, spread: Spread, scale: Scale, level: float, unread: float) -> tuple[Floats, Floats]:
    """An interval of the scores of the whole dataset, float64[target, unit] twice; NaN where there is none.

    Args:
        score: float64[target, unit].
        spread: of the same scores.
        scale: of the measure.
        level: the chance that it misses.
        unread: the share of the records that have not been read.
    """
    if unread <= 0:
        return score, score
    centre, error, freedom = _located(score, spread, scale, unread)
    reach = scipy.special.stdtrit(freedom, 1 - level / 2)[:, None] * error
    if scale == "angle":
        low, high = _contrasts(centre, reach)
    else:
        low, high = _back(centre - reach, scale), _back(centre + reach, scale)
    unknown = np.isnan(reach) | np.isinf(reach)
    return np.where(unknown, np.nan, np.minimum(low, score)), np.where(unknown, np.nan, np.maximum(high, score))


def tail(score: Floats, bound: float | Floats, spread: Spread, scale: Scale, unread: float) -> Floats:
    """The chance that the score of the whole dataset is on the other side of a bound, float64[target, unit].

    It is the one-sided tail of Student's t, 0.5 at the bound itself; NaN where no error can be told.

    Args:
        score, spread, scale, unread: as for `interval`.
        bound: that of each score, or one for all.
    """
    if unread <= 0:
        return np.zeros_like(score)
    centre, error, freedom = _located(score, spread, scale, unread)
    at = np.asarray(bound, dtype=np.float64)
    distance = _to_contrast(centre, at) if scale == "angle" else np.abs(centre - transformed(at, scale))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = distance / error
    return np.asarray(scipy.special.stdtr(freedom[:, None], -statistic))


def _located(score: Floats, spread: Spread, scale: Scale, unread: float) -> tuple[Floats, Floats, Floats]:
    """The middle of the interval and the standard error on the scale, float64[target, unit], and the freedom."""
    centre = transformed(score, scale) if spread.centre is None else spread.centre
    known = np.isfinite(centre) & (spread.error > 0) & (spread.freedom >= LEAST_FREEDOM)[:, None]
    if spread.bias is not None:
        centre = centre - spread.bias * unread
    error = np.where(known, spread.error * np.sqrt(unread), np.nan)
    return centre, error, np.maximum(spread.freedom, LEAST_FREEDOM)


def _contrasts(angle: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest contrast of the angles within reach.

    The contrast is `tan(angle - pi / 4)` in the first quarter, 1 in the second, `-tan(angle - 5 pi / 4)` in the third
    and -1 in the fourth.
    """
    ends = np.stack([_contrast(angle - reach), _contrast(angle + reach)])
    to_first, to_last = (_apart(angle, middle) - np.pi / 4 for middle in (3 * np.pi / 4, 7 * np.pi / 4))
    low = np.where(to_last <= reach, -1.0, ends.min(0))
    high = np.where(to_first <= reach, 1.0, ends.max(0))
    return low, high


def _contrast(angle: Floats) -> Floats:
    a, b = np.sin(angle), np.cos(angle)
    return np.asarray((a - b) / (np.abs(a) + np.abs(b)))


def _to_contrast(angle: Floats, contrast: Floats) -> Floats:
    """How far angles are from the nearest one of a contrast between -1 and 1; infinite for any other."""
    inside = np.abs(contrast) < 1
    places = np.pi / 4 + np.arctan(contrast), 5 * np.pi / 4 - np.arctan(contrast)
    return np.where(inside, np.minimum(_apart(angle, places[0]), _apart(angle, places[1])), np.inf)


def _apart(a: Floats, b: Floats | float) -> Floats:
    """The smaller one of the angles between two directions."""
    return np.abs((a - b + np.pi) % (2 * np.pi) - np.pi)
