"""Scores against what they should be."""

from __future__ import annotations

import numpy as np

from deepbase.blocks import Bools, Floats
from deepbase.measures.base import AbstractMeasure, Values
from deepbase.testing.data import Data
from deepbase.testing.references import TOLERANCE, Expected, Reference, pair
from deepbase.testing.states import targets_of


def compare(
    measure: AbstractMeasure, values: Values, expected: Expected, reference: Reference, *, approximate: bool = False
) -> None:
    """Compare all scores with what they should be.

    Args:
        measure: whose scores.
        values: the scores.
        expected: what they should be.
        reference: says how far scores with notes may be off.
        approximate: whether scores may have notes: how far they may be off, or that there was too little memory.

    Raises:
        AssertionError: tells the first ten that are wrong, by unit and hypothesis, and what they should be.
    """
    found = np.asarray(values.unit_score, dtype=np.float64)
    said = np.array([*values.notes, None], dtype=object)[np.asarray(values.note, dtype=np.int64)]
    silent = said == None  # noqa: E711
    none = np.isnan(expected.score)
    right = np.isnan(found) & ~silent & ((said == expected.note) | (expected.note == None))  # noqa: E711
    within = silent & (np.abs(found - np.where(none, 0, expected.score)) <= expected.tolerance)
    right = np.where(none, right, within & _in_range(measure, found))
    for h, u in np.argwhere(~right & ~none & ~silent) if approximate or not measure.exact else ():
        x, y = pair(expected.data, list(expected.data.units)[u], expected.hypotheses[h])
        if np.isnan(found[h, u]):
            right[h, u] = approximate and str(said[h, u]).startswith("too little memory")
        else:
            bound = reference.bound(said[h, u], x, y) + expected.tolerance[h, u]
            off = abs(found[h, u] - expected.score[h, u])
            right[h, u] = off <= bound and bool(_in_range(measure, found[h, u]))
    if not right.all():
        units = list(expected.data.units)
        told = [
            f"unit {units[u]!r}"
            + (f", hypothesis {expected.hypotheses[h]!r}" if expected.hypotheses[h] else "")
            + f": {_shown(found[h, u], said[h, u])} instead of {_should(expected, h, u)}"
            for h, u in np.argwhere(~right)
        ]
        more = f"\n  and {len(told) - 10} more" if len(told) > 10 else ""
        raise AssertionError(f"{len(told)} of {right.size} scores are wrong\n  " + "\n  ".join(told[:10]) + more)


def _in_range(measure: AbstractMeasure, found: Floats) -> Bools:
    return np.asarray((found >= measure.range[0]) & (found <= measure.range[1]))


def _shown(score: float, note: str | None) -> str:
    number = "NaN" if np.isnan(score) else repr(float(score))
    return number if note is None else f"{number} ({note})"


def _should(expected: Expected, h: int, u: int) -> str:
    score, note = float(expected.score[h, u]), expected.note[h, u]
    if np.isnan(score):
        return f"NaN ({note or 'with a note'})"
    return f"{score!r} within {expected.tolerance[h, u]:.2g}"


def compare_groups(
    measure: AbstractMeasure, found: Values, expected: Values, data: Data, tolerance: float = TOLERANCE
) -> None:
    """Compare the scores of a group of units with those of one pass.

    Raises:
        AssertionError: tells what is wrong, and the values.
    """
    names = list(targets_of(measure, data))
    for what in ("unit_score", "group_score", "control_score", "shuffled_score"):
        mine, other = getattr(found, what), getattr(expected, what)
        if (mine is None) != (other is None):
            raise AssertionError(f"{what} is {mine} instead of {other}")
        if mine is not None:
            for h, name in enumerate(names):
                near(f"{what} of hypothesis {name!r}", mine[h], other[h], tolerance)
    said = [np.array([*v.notes], dtype=object)[np.asarray(v.note, dtype=np.int64)] for v in (found, expected)]
    for h, u in np.argwhere(said[0] != said[1])[:1]:
        told = f"the note of unit {list(data.units)[u]!r} and hypothesis {names[h]!r}"
        raise AssertionError(f"{told} is {said[0][h, u]!r} instead of {said[1][h, u]!r}")


def near(what: str, found: Floats, expected: Floats, tolerance: float) -> None:
    """Refuse numbers that are not these, up to a tolerance relative to those above 1.

    Raises:
        AssertionError: tells both.
    """
    found, expected = np.atleast_1d(found), np.atleast_1d(expected)
    allowed = tolerance * np.maximum(1, np.abs(expected))
    right = (np.abs(found - expected) <= allowed) | (np.isnan(found) & np.isnan(expected))
    if not right.all():
        raise AssertionError(f"{what} is {found[~right].tolist()} instead of {expected[~right].tolist()}")
