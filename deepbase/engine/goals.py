"""What has to be settled before a run may stop, and what a look finds still open.

Three questions, and what settles them:

*How much?* Every score is wanted to within `error`: its interval is at most that wide to either side.

*Beyond a threshold?* Every score is wanted on its side of some bounds. It is settled when the chance that the score of
the whole dataset is on another side is small.

*Which are the best?* The k best of each set are wanted. A bound is laid between the last that is in and the first that
is out; the set is settled when each is on its side of it.

In the last two the chance of a mistake is shared by all pairs as they need it: the tails of all pairs are added up, and
the sum, which by Bonferroni's inequality bounds the chance that any of them is wrong, must not exceed the level of the
look. Pairs that are far from a bound have next to no tail, so that millions of them cost nothing; a bound of level / m
for each of m pairs would have the close ones pay for them. (As a rule for stopping: the probability of correct
selection of Branke, Chick, Schmidt 2007, "Selecting a selection procedure", Management Science 53, section 3.)

*Ties.* Two scores that are next to equal are told apart by the last record only. So a score need not be on its side of
a bound for sure, if it is surely not beyond it by more than a tie: than `ties` for a threshold, and half of that for
the bound between the best and the others, which then may stand for each other if they are closer than `ties`. It is
told as tied.

What cannot be told (no interval yet, a hypothesis that has not occurred) is open; what will never be told (a unit that
is constant, a measure that does not take the hypothesis) is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepbase.blocks import Bools, Floats
from deepbase.engine.results import OPEN, SETTLED, TIED, Scores
from deepbase.measures.base import AbstractMeasure
from deepbase.measures.notes import (
    CONSTANT_HELD_OUT,
    CONSTANT_HYPOTHESIS,
    CONSTANT_TRAINING,
    FEW_NEGATIVES,
    FEW_POSITIVES,
    TOO_FEW,
    TOO_FEW_RECORDS,
    TOO_FEW_SYMBOLS,
)
from deepbase.measures.spread import tail
from deepbase.query.base import InspectSpec

WAITING = (
    *(TOO_FEW, CONSTANT_HYPOTHESIS, FEW_POSITIVES, FEW_NEGATIVES),
    *(TOO_FEW_SYMBOLS, TOO_FEW_RECORDS, CONSTANT_TRAINING, CONSTANT_HELD_OUT),
)
"""The notes of scores that may be there once more records have been read."""

Standings = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """What a look found.

    Attributes:
        standings: for each item that was looked at, uint8[target, unit]: SETTLED, TIED or OPEN.
        pairs: how many pairs there are.
        open: how many of them are open.
        tied: how many are tied.
        widest: half the width of the widest interval; infinite where a pair has none.
        enough: how many records of an endless source are likely to be enough; 0 where that cannot be told.
    """

    standings: tuple[Standings, ...]
    pairs: int
    open: int
    tied: int
    widest: float
    enough: float = 0.0


def look(spec: InspectSpec, items: Sequence[Scores], level: float, seen: int) -> Look:
    """Look at the scores of a run.

    Args:
        spec: what was asked for.
        items: all scores of the run, with their spreads.
        level: the chance of a mistake that this look may spend.
        seen: how many records have been read.
    """
    pairs = [_Pairs.of(item) for item in items]
    asked = [p for p in pairs if (spec.thresholds or spec.top) and p.item.measure.grouped == (spec.of == "group_score")]
    rest = [p for p in pairs if p not in asked]
    for p in rest:
        p.standing = np.where(p.waiting | (p.there & ~(p.half <= spec.error * p.per)), OPEN, SETTLED).astype(np.uint8)
    if asked:
        _against_bounds(asked, spec.thresholds, spec.tied, level) if not spec.top else _best(asked, spec, level)
    standings = tuple(p.standing for p in pairs)
    known = [p.half[p.there & np.isfinite(p.half)] for p in pairs]
    widest = max((float(h.max()) for h in known if h.size), default=math.inf)
    are_open, tied = (sum(int((s == of).sum()) for s in standings) for of in (OPEN, TIED))
    whole = sum(int((p.there | p.waiting).sum()) for p in pairs)
    return Look(standings, whole, are_open, tied, widest, _enough(rest, spec, seen) if not asked else 0)


@dataclass(eq=False)
class _Pairs:
    """The pairs of one item.

    Attributes:
        item: what they are.
        score: float64[target, unit], or [target, 1] of units together.
        there: bool, whether there is a score.
        waiting: bool, whether there may be one later.
        half: float64, half the width of the interval; NaN where there is none.
        low, high: float64, its ends.
        standing: what the look found.
    """

    item: Scores
    score: Floats
    there: Bools
    waiting: Bools
    half: Floats
    low: Floats
    high: Floats
    standing: Standings

    @classmethod
    def of(cls, item: Scores) -> _Pairs:
        score, (low, high) = item.score, item.limits
        there = np.isfinite(score)
        waiting = ~there & np.isin(item.values.note[:, : score.shape[1]], WAITING) & (item.unread > 0)
        half = np.maximum(high - score, score - low)
        if item.unread <= 0:  # nothing is left to be read, whatever the interval is
            half = np.where(there, 0.0, half)
        return cls(item, score, there, waiting, half, low, high, np.zeros(score.shape, np.uint8))

    @property
    def per(self) -> Floats | float:
        """What errors are measured in."""
        spread = self.item.values.spread
        return 1.0 if spread is None or spread.per is None else spread.per

    def beyond(self, bound: float | Floats) -> Floats:
        """The chance that each score is on the other side of a bound; 0.5 where nothing is known."""
        spread = self.item.values.spread
        if self.item.unread <= 0:
            return np.zeros(self.score.shape)
        if spread is None:
            return np.full(self.score.shape, 0.5)
        return np.nan_to_num(tail(self.score, bound, spread, self.item.measure.error_scale, self.item.unread), nan=0.5)


def _against_bounds(asked: Sequence[_Pairs], bounds: Sequence[float], ties: float, level: float) -> None:
    """Settle the pairs that are surely on one side of each bound."""
    nothing = [np.zeros(p.score.shape) for p in asked]
    strict, loose = list(nothing), list(nothing)
    for bound in bounds:
        for i, p in enumerate(asked):
            further = bound - np.where(p.score > bound, ties, -ties)
            strict[i] = strict[i] + _risk(p, np.full(p.score.shape, bound))
            loose[i] = loose[i] + _risk(p, further)
    _settle(asked, strict, loose, level)


def _settle(asked: Sequence[_Pairs], strict: Sequence[Floats], loose: Sequence[Floats], level: float) -> None:
    """Say how pairs stand, from the chance that each is on a wrong side, and on one by more than a tie."""
    for p, sure, enough in zip(asked, _spend(strict, level), _spend(loose, level), strict=True):
        found = np.where(sure, SETTLED, np.where(enough, TIED, OPEN))
        p.standing = np.where(p.waiting, OPEN, np.where(p.there, found, SETTLED)).astype(np.uint8)


def _spend(risks: Sequence[Floats], level: float) -> list[Bools]:
    """Which pairs are settled: those with the least chance to be wrong, as many as the level is enough for."""
    flat = np.concatenate([r.ravel() for r in risks])
    order = np.argsort(flat, kind="stable")
    settled = np.zeros(len(flat), dtype=bool)
    settled[order] = np.cumsum(flat[order]) <= level
    parts = np.split(settled, np.cumsum([r.size for r in risks])[:-1])
    return [part.reshape(r.shape) for part, r in zip(parts, risks, strict=True)]


def _best(asked: Sequence[_Pairs], spec: InspectSpec, level: float) -> None:
    """Settle who is among the best of each set, of those beyond a threshold where there is one."""
    sets: dict[tuple[Any, ...], list[tuple[_Pairs, int]]] = {}
    for p in asked:
        for t in range(len(p.score)):
            sets.setdefault(p.item.key(t, spec.within), []).append((p, t))
    bounds = {id(p): np.full((4, *p.score.shape), np.nan) for p in asked}
    for rows in sets.values():
        ways = [_way(p.item.measure, p.score[t], spec.by) for p, t in rows]
        merits = [p.score[t] * way for (p, t), way in zip(rows, ways, strict=True)]
        for (p, t), way, found in zip(rows, ways, _bounds(merits, spec), strict=True):
            bounds[id(p)][:, t] = way * found
    risks = [[_risk(p, b) for b in bounds[id(p)]] for p in asked]
    _settle(asked, [a + b for a, b, *_ in risks], [a + b for *_, a, b in risks], level)


def _bounds(merits: Sequence[Floats], spec: InspectSpec) -> Iterator[Floats]:
    """Where the scores of one set must not be beyond, by merit; NaN for no bound.

    Args:
        merits: float64[unit] of each row of the set, the greater the better.
        spec: how many are wanted, and beyond what.

    Yields:
        For each row float64[4, unit]: the bounds of the best and of the threshold, then both with room for ties.
    """
    top = spec.top or 0
    every = np.concatenate([m[np.isfinite(m)] for m in merits])
    floor = max((b if spec.by != "least" else -b for b in spec.thresholds), default=-math.inf)
    passing = int((every > floor).sum())
    cut = math.nan
    if len(every) > top and passing >= top:
        inside, outside = -np.partition(-every, [top - 1, top])[[top - 1, top]]
        cut = (inside + outside) / 2
    for m in merits:
        best = m >= cut if math.isfinite(cut) else np.full(m.shape, passing < top)
        of_best = np.where(np.isfinite(m), cut, np.nan)
        counts = np.isfinite(m) & math.isfinite(floor) & (best | (passing < top))
        of_threshold = np.where(counts, floor, np.nan)
        room = [np.where(best, -1, 1) * spec.tied / 2, np.where(m > floor, -1, 1) * spec.tied]
        yield np.stack([of_best, of_threshold, of_best + room[0], of_threshold + room[1]])


def _risk(pairs: _Pairs, bounds: Floats) -> Floats:
    """The chance that scores are beyond their bounds; 0 for those without one."""
    return np.where(np.isfinite(bounds) & pairs.there, pairs.beyond(bounds), 0.0)


def _way(measure: AbstractMeasure, score: Floats, by: str) -> Floats:
    """By what scores are multiplied to be the better the greater they are."""
    if by == "strength":
        if measure.signed:
            return np.where(score < 0, -1.0, 1.0)
        return np.full(score.shape, 1.0 if measure.higher_is_better else -1.0)
    return np.full(score.shape, 1.0 if by == "greatest" else -1.0)


def _enough(pairs: Sequence[_Pairs], spec: InspectSpec, seen: int) -> float:
    """About how many records of an endless source make the widest interval narrow enough; 0 where nobody knows."""
    ratio = unread = 0.0
    for p in pairs:
        if (p.there & ~np.isfinite(p.half)).any() or p.waiting.any():
            return 0.0
        if p.there.any():
            ratio = max(ratio, float((p.half / (spec.error * p.per))[p.there].max()))
            unread = max(unread, p.item.unread)
    return seen / unread * ratio**2 if unread else 0.0
