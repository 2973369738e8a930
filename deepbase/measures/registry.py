"""The measures by name."""

from __future__ import annotations

from collections.abc import Sequence

from deepbase.errors import MeasureError, nearest
from deepbase.measures.base import AbstractMeasure
from deepbase.measures.pairs import CohensD, MeanDifference, Pearson

MEASURES: dict[str, type[AbstractMeasure]] = {m.name: m for m in (Pearson, MeanDifference, CohensD)}


def measures(names: Sequence[str]) -> tuple[AbstractMeasure, ...]:
    """The measures of these names, each once, in order.

    Raises:
        MeasureError: for an unknown name, or none at all.
    """
    if not names:
        raise MeasureError("no measure is asked for", f"{nearest('', MEASURES)}")
    for name in names:
        if name not in MEASURES:
            raise MeasureError(f"unknown measure '{name}'", nearest(name, MEASURES))
    return tuple(MEASURES[name]() for name in dict.fromkeys(names))
