"""Confounds beside the units and hypotheses of the harness, and what is left after them in float64."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from deepbase.blocks import ConfoundBehavior, Floats, Ints, Kind
from deepbase.measures.base import AbstractMeasure, AbstractState, Target
from deepbase.measures.batch import BatchLabels
from deepbase.testing import CPU, PLENTY, Data, label_behavior, label_shift

FEW = "fewer than 2 symbols have a value of the hypothesis"
NOT_FINITE = "unit has NaN or infinite activations"
CONSTANT_UNIT = "unit is constant"
CONSTANT_HYPOTHESIS = "hypothesis is constant"
NEEDS = "measure needs a {} hypothesis"
FEW_POSITIVES = "hypothesis has fewer than 2 positives"
FEW_NEGATIVES = "hypothesis has fewer than 2 negatives"
TOO_FEW = "too few symbols have a value of all that is given"
UNIT = "unit is determined by what is given"
HYPOTHESIS = "hypothesis is determined by what is given"


@dataclass(frozen=True)
class Given:
    """Symbols with confounds.

    Attributes:
        data: the symbols.
        values: float64[symbol, confound], NaN for NULL.
        kinds: of the confounds.
        sets: what measures are given together.
    """

    data: Data
    values: Floats
    kinds: tuple[Kind, ...]
    sets: tuple[tuple[int, ...], ...]

    def rows(self, first: int, end: int) -> Given:
        return replace(self, data=self.data.rows(first, end), values=self.values[first:end])

    def targets(self, measure: AbstractMeasure, columns: tuple[int, ...]) -> dict[str, Target]:
        """What a measure is tried on, by name: categories only where it takes them."""
        named = self.data.targets.items()
        return {n: replace(t, given=columns) for n, t in named if t.kind != "category" or "category" in measure.kinds}


SETS = ((0,), (1, 3), (0, 4, 5, 6), (2, 3), (7,), (8,), (1, 9))
"""A number; a number far from 0 and a boolean; a number and a category; and so on."""


def with_confounds(data: Data, seed: int = 0) -> Given:
    """Numbers, of which some follow the units, booleans, a category, NULLs, and one that is NULL at the beginning."""
    rng = np.random.default_rng(seed + 1000)
    n = data.symbols
    plain = data.units["plain"].astype(float) if n else np.zeros(0)
    number = plain + rng.normal(size=n)
    third = np.digitize(number + rng.normal(size=n), [-1, 1])
    columns = [
        number,
        1.7e9 + 1e3 * rng.normal(size=n),
        np.where(rng.random(n) < 0.2, np.nan, number**2),
        (rng.random(n) < 0.3).astype(float),
        *(third == np.arange(3)[:, None]).astype(float),
        np.where(np.arange(n) < n // 3, np.nan, 1e5 + number),
        rng.standard_cauchy(n),
        np.full(n, 7.0),
    ]
    kinds: tuple[Kind, ...] = ("number", "number", "number", *["boolean"] * 4, "number", "number", "number")
    return Given(data, np.stack(columns, axis=1), kinds, SETS)


def batches(
    block: Given, cuts: Sequence[int], shift: Floats, rng: np.random.Generator | None = None
) -> list[tuple[torch.Tensor, BatchLabels]]:
    """The units and labels of the batches of a block."""
    confounds = ConfoundBehavior(block.values, block.kinds, block.sets, block.sets)
    word = block.data.record % 17
    labels = replace(label_behavior(block.data, rng), confounds=confounds, word=word)
    bounds = sorted({0, block.data.symbols, *(min(c, block.data.symbols) for c in cuts)})
    units = torch.from_numpy(block.data.x)
    pairs = list(zip(bounds[:-1] or [0], bounds[1:] or [0], strict=True))
    return [(units[a:b], BatchLabels.of(labels, a, b - a, shift, CPU)) for a, b in pairs]


def state_of(
    kind: type[AbstractState],
    block: Given,
    cuts: Sequence[int] = (),
    rng: np.random.Generator | None = None,
    memory: int = PLENTY,
    shift: Floats | None = None,
) -> AbstractState:
    """The state of a block of some batches; `shift` are the pilot values of the hypotheses, if not its own."""
    state: AbstractState | None = None
    shift = label_shift(block.data, rng) if shift is None else shift
    for units, labels in batches(block, cuts, shift, rng):
        state = kind.first(units, labels, memory) if state is None else state.update(units, labels)
    assert state is not None
    return state


def in_blocks(
    kind: type[AbstractState],
    whole: Given,
    cuts: Sequence[int],
    rng: np.random.Generator | None = None,
    memory: int = PLENTY,
    shift: Floats | None = None,
) -> list[AbstractState]:
    """The states of the blocks between some symbols, with null classes of their own, and pilots without `shift`."""
    bounds = sorted({0, whole.data.symbols, *cuts})
    return [state_of(kind, whole.rows(a, b), [(b - a) // 3], rng, memory, shift) for a, b in itertools.pairwise(bounds)]


def standard(z: Floats) -> Floats:
    """Columns about their means, of standard deviation 1; without those that are constant."""
    z = z - z.mean(0)
    return z[:, z.std(0) > 0] / z.std(0)[z.std(0) > 0]


def residual(values: Floats, z: Floats) -> Floats:
    """What NumPy's least squares leaves of some values, with an intercept."""
    design = np.column_stack([np.ones(len(z)), standard(z)])
    about = values - values.mean(0)
    left: Floats = about - design @ np.linalg.lstsq(design, about, rcond=1e-8)[0]
    return left


def rank(z: Floats) -> int:
    return int(np.linalg.matrix_rank(standard(z), rtol=1e-8)) if standard(z).size else 0


def quantile_strata(z: Floats) -> Ints:
    """int64[symbol]: strata by value, or by tenths where a column has more than 10 values."""
    columns = []
    for column in z.T:
        values = np.unique(column)
        if len(values) <= 10:
            columns.append(np.searchsorted(values, column))
        else:
            columns.append(np.array([(column < v).sum() for v in column]) * 10 // len(column))
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def usual_note(measure: AbstractMeasure, kind: Kind, every: Floats, x: Floats, y: Floats) -> str | None:
    """Why a pair has no score, given or not.

    Args:
        measure: that is asked for.
        kind: of the hypothesis.
        every: the unit at all symbols.
        x, y: the unit and the hypothesis where they are compared.
    """
    if len(y) < 2:
        return FEW
    if not np.isfinite(every).all():
        return NOT_FINITE
    if (x == x[0]).all() or x.std() <= max(2.0**-23 * abs(x.mean()), 1e-18):
        return CONSTANT_UNIT
    if (y == y[0]).all():
        return CONSTANT_HYPOTHESIS
    if kind not in measure.kinds:
        return NEEDS.format("boolean")
    if kind == "boolean" and min(y.sum(), len(y) - y.sum()) < 2:
        return FEW_POSITIVES if y.sum() < 2 else FEW_NEGATIVES
    return None
