"""Measures that compare groups of units with each other: layers, or models, over the same symbols.

They need no hypothesis. Every two groups of a run are compared once, and each is scored against the other: in `scores`,
`model` and `layer` say the one, `hypothesis` names the other. What they keep is what probes keep, the rows, and a run
that has both keeps them once.

Conventions. A unit that is constant, or not finite somewhere, takes no part and says so. Nothing is fitted for CKA, so
it takes all symbols. The directions of CCA are learned from some of the records and tried on the others, which are
those that probes hold out. No measure of this kind has a p-value.

Memory: for CKA one tile of products. For CCA what was learned of each group is kept from pair to pair, up to `KEPT`
bytes of it.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats, Ints, Kind
from deepbase.errors import MeasureError, nearest
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.batch import GROUP_SEED
from deepbase.measures.batch import GROUPS as RANDOM_GROUPS
from deepbase.measures.hashing import hashed
from deepbase.measures.notes import (
    NOTHING_VARIES,
    OTHER_SYMBOLS,
    TOO_FEW_RECORDS,
    TOO_FEW_SYMBOLS,
    TOO_MANY_UNITS,
    UNCORRECTABLE,
    UNIT_HELD_OUT,
)
from deepbase.measures.probes.base import GROUPS, refuse_unless_share
from deepbase.measures.probes.design import Chunk, Design
from deepbase.measures.probes.gram import Gram, gram, sums
from deepbase.measures.probes.group import Scale, Split
from deepbase.measures.probes.matching import MatchedUnits, matched
from deepbase.measures.probes.sampling import LEAST_RECORDS
from deepbase.measures.probes.similarity import Cca as Correlations
from deepbase.measures.probes.similarity import Components, Products, alignment, alignments, beside, explained
from deepbase.measures.rows import Rows
from deepbase.measures.significance import LEAST_GROUPS
from deepbase.measures.spread import THIN, Spread, jackknife
from deepbase.measures.spread import Scale as ErrorScale

MOST_UNITS = 4096
"""Units of a group for which canonical correlations are computed."""
KEPT = 2**29


class Compared(NamedTuple):
    """One group compared with another.

    Attributes:
        score: their similarity; NaN where there is none.
        shares: float64[unit], of the first group; NaN where a unit has none.
        note: int[unit], why it has none.
        spread: of the score; None where nothing can be told.
    """

    score: float
    shares: Floats
    note: Ints
    spread: Spread | None = None


@dataclass(frozen=True)
class AbstractComparison(AbstractMeasure):
    """A measure of the similarity of groups of units."""

    group: str = field(
        default="layer", metadata={"description": "what is compared: each `layer`, or all layers of a `model` together"}
    )

    state_type: ClassVar[type[AbstractState]] = Rows
    kinds: ClassVar[tuple[Kind, ...]] = ()
    grouped: ClassVar[bool] = True
    signed: ClassVar[bool] = False
    scored: ClassVar[str]
    uncertain: ClassVar[str] = THIN
    """Why a score has no interval, where it has none."""

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise MeasureError(f"group of {self.name} cannot be '{self.group}'", nearest(self.group, GROUPS))

    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """A layer compared with itself."""
        assert isinstance(state, Rows)
        units = MatchedUnits((state,), matched([state])[0])
        return next(self.compare([units, units]))[2]

    def compare(self, groups: Sequence[MatchedUnits]) -> Iterator[tuple[int, int, Values]]:
        """Compare every two groups.

        Args:
            groups: the groups.

        Yields:
            The number of a group, that of another, and the scores of the first against it, with one target; each pair
            in both orders.
        """
        scales = [group.scale() for group in groups]
        for i, j, pair in self._pairs(groups, scales):
            for a, b, found in ((i, j, pair[0]), (j, i, pair[1])):
                own = scales[a][1]
                certain = np.isin(found.note, (OTHER_SYMBOLS, TOO_FEW_SYMBOLS))
                note = np.where(own.astype(bool) & ~certain, own, found.note)
                shares = np.where(note == 0, found.shares, np.nan)
                spread = found.spread or _unknown(self.uncertain)
                yield a, b, Values(shares[None], note[None], group_score=np.array([found.score]), spread=spread)

    def _pairs(
        self, groups: Sequence[MatchedUnits], scales: Sequence[tuple[Scale, Ints]]
    ) -> Iterator[tuple[int, int, tuple[Compared, Compared]]]:
        """Each pair of groups with what both are to each other."""
        between = self.comparer(groups, [scale for scale, _ in scales])
        for i, j in combinations(range(len(groups)), 2):
            why = self._why_not(groups[i], groups[j])
            if not why and any(bool(scales[k][1].all()) for k in (i, j)):
                why = NOTHING_VARIES
            yield i, j, (_missing(groups[i], why), _missing(groups[j], why)) if why else between(i, j)

    def _why_not(self, a: MatchedUnits, b: MatchedUnits) -> int:
        """The note of two groups that cannot be compared, whatever their units are; else 0."""
        if a.order.family != b.order.family:
            return OTHER_SYMBOLS
        return TOO_FEW_SYMBOLS if a.symbols < 2 else 0

    @abc.abstractmethod
    def comparer(self, groups: Sequence[MatchedUnits], scales: Sequence[Scale]) -> AbstractComparer:
        """What compares two of some groups.

        Args:
            groups: the groups.
            scales: how the units of each are brought to mean 0.
        """


class AbstractComparer(abc.ABC):
    """Compares two groups by their numbers, and keeps what serves other pairs, too."""

    @abc.abstractmethod
    def __call__(self, i: int, j: int) -> tuple[Compared, Compared]:
        """The first compared with the second, and the second with the first; a unit of each varies."""


def _unknown(missing: str) -> Spread:
    return Spread(np.full((1, 1), np.nan), np.zeros(1), missing=missing)


def _missing(group: MatchedUnits, why: int) -> Compared:
    return Compared(float("nan"), np.full(group.units, np.nan), np.full(group.units, why))


@final
@dataclass(frozen=True)
class Cka(AbstractComparison):
    """Linear centered kernel alignment."""

    unbiased: bool = field(
        default=False,
        metadata={
            "description": "correct the bias of few symbols for many units (Song et al. 2012; Murphy et al. 2024)"
        },
    )

    name: ClassVar[str] = "cka"
    description: ClassVar[str] = "linear CKA of two groups of units; the share of a unit in it"
    formula: ClassVar[str] = "|Y'X|^2 / (|X'X| |Y'Y|); |Y'x|^2 / (|X'X| |Y'Y|)"
    source: ClassVar[str] = "Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, section 3"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    scale: ClassVar[ErrorScale] = "fisher"
    scored: ClassVar[str] = "0 to 1, unbiased -1 to 1"

    def _why_not(self, a: MatchedUnits, b: MatchedUnits) -> int:
        return super()._why_not(a, b) or (UNCORRECTABLE if self.unbiased and a.symbols < 4 else 0)

    def comparer(self, groups: Sequence[MatchedUnits], scales: Sequence[Scale]) -> AbstractComparer:
        """One pass over two groups for each pair, and one over each group."""
        return _Aligned(groups, scales, self.unbiased)


class _Aligned(AbstractComparer):
    """Computes CKA; what groups are with themselves is computed once."""

    def __init__(self, groups: Sequence[MatchedUnits], scales: Sequence[Scale], unbiased: bool) -> None:
        self.groups, self.unbiased = groups, unbiased
        self.reads = [partial(_centered, g, s) for g, s in zip(groups, scales, strict=True)]
        self.own: dict[int, Products] = {}

    def __call__(self, i: int, j: int) -> tuple[Compared, Compared]:
        for k in (i, j):
            if k not in self.own:
                self.own[k] = self._products(k, k)
        both = self._products(i, j)
        score = alignment(both.whole, self.own[i].whole, self.own[j].whole)
        size = score / both.whole if both.whole else 0.0
        found = (np.asarray((x * size).numpy()) for x in (both.first, both.second))
        why = 0 if np.isfinite(score) else NOTHING_VARIES
        spread = self._spread(i, score, alignments(both.without, self.own[i].without, self.own[j].without))
        first, second = (Compared(score, x, np.full(len(x), why), spread) for x in found)
        return first, second

    def _spread(self, i: int, score: float, without: Tensor) -> Spread | None:
        """From the scores without each group of records, float64[group]."""
        symbols = np.bincount(self._group(i).numpy(), minlength=RANDOM_GROUPS)
        groups, records = np.flatnonzero(symbols), len(np.unique(self.groups[i].order.record))
        effective = symbols.sum() ** 2 / np.square(symbols).sum()
        if records < LEAST_RECORDS or effective < LEAST_GROUPS:
            return None
        others = without.numpy()[groups][:, None, None]
        with np.errstate(invalid="ignore"):  # of groups that are the same but for a turn
            found = jackknife(np.array([[score]]), others, np.array([len(groups) - 1.0]), Cka.scale)
        return replace(found, freedom=np.array([effective - 1]))

    def _group(self, i: int) -> Tensor:
        """int64[symbol], its group of records."""
        return torch.from_numpy(
            (hashed(self.groups[i].order.record, GROUP_SEED) % np.uint64(RANDOM_GROUPS)).astype(np.int64)
        )

    def _products(self, i: int, j: int) -> Products:
        units = (self.groups[i].units, self.groups[j].units)
        return Products.of(self.reads[i], self.reads[j], units, self._group(i), unbiased=self.unbiased)


def _centered(group: MatchedUnits, scale: Scale, units: slice) -> Iterator[Tensor]:
    """Units about their means, all divided by the greatest deviation among them."""
    size = (scale.deviation * scale.keep).max()
    mean, keep = scale.mean[units], scale.keep[units]
    for values in group.read(units=units):
        yield torch.where(keep > 0, (values.double() - mean) / size, 0).float()


@final
@dataclass(frozen=True)
class Cca(AbstractComparison):
    """Canonical correlations."""

    held_out: float = field(
        default=0.2,
        metadata={"description": "the share of the records on which the directions are tried; 0 for all, as learned"},
    )
    variance: float = field(
        default=1.0,
        metadata={"description": "the share of the variance that the principal components of each group hold (SVCCA)"},
    )
    weighted: bool = field(
        default=False, metadata={"description": "weight each correlation by what it accounts for (PWCCA)"}
    )

    name: ClassVar[str] = "cca"
    description: ClassVar[str] = "mean canonical correlation of two groups; how well the other predicts a unit"
    formula: ClassVar[str] = "mean over k of corr(X a_k, Y b_k); R squared of x from Y"
    source: ClassVar[str] = "Hotelling 1936; Raghu et al. 2017, SVCCA; Morcos et al. 2018 (PWCCA)"
    range: ClassVar[tuple[float, float]] = (-float("inf"), 1.0)
    scored: ClassVar[str] = "-1 to 1; R squared"
    uncertain: ClassVar[str] = "no interval: directions learned from more records are others, with higher correlations"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_unless_share(self, "variance")
        if not 0 <= self.held_out < 1:
            raise MeasureError(f"held_out of cca cannot be {self.held_out:g}", "Give a share from 0 up and below 1.")
        if not self.variance:
            raise MeasureError("variance of cca cannot be 0", "Give a share above 0.")

    def _why_not(self, a: MatchedUnits, b: MatchedUnits) -> int:
        if why := super()._why_not(a, b):
            return why
        if self.held_out and len(np.unique(a.order.record)) < 2:
            return TOO_FEW_RECORDS
        return TOO_MANY_UNITS if max(a.units, b.units) > MOST_UNITS else 0

    def comparer(self, groups: Sequence[MatchedUnits], scales: Sequence[Scale]) -> AbstractComparer:
        """A pass over two groups for each pair, and one over each group; a factorization of each."""
        return _Correlated(groups, self)


class _Side(NamedTuple):
    """What is known of a group by itself.

    Attributes:
        scale: by the symbols that are learned from; `deviation` is by what the units are divided.
        note: int64[unit], which are left out.
        components: of these symbols.
        others: the sums over the symbols that the directions are tried on.
    """

    scale: Scale
    note: Ints
    components: Components
    others: Gram

    @property
    def bytes(self) -> int:
        return 8 * (2 * self.components.basis.numel() + self.others.xx.numel())


class _Correlated(AbstractComparer):
    """Computes canonical correlations; what was learned of groups is kept while there is room."""

    def __init__(self, groups: Sequence[MatchedUnits], measure: Cca) -> None:
        self.groups, self.measure = groups, measure
        self.kept: dict[int, _Side] = {}
        self.rows: dict[int, tuple[Ints, Ints]] = {}

    def __call__(self, i: int, j: int) -> tuple[Compared, Compared]:
        a, b = self._side(i, keep=(i, j)), self._side(j, keep=(i, j))
        train, test = self._rows(i)
        cross = self._cross(i, j, train)
        others = beside(a.others, b.others, self._cross(i, j, test) if self.measure.held_out else cross)
        if not (a.components.basis.shape[1] and b.components.basis.shape[1]):
            return _missing(self.groups[i], NOTHING_VARIES), _missing(self.groups[j], NOTHING_VARIES)
        found = Correlations.of(a.components, b.components, cross)
        correlations = found.on(others) if self.measure.held_out else found.correlations
        turned = beside(b.others, a.others, others.sums.xy.T)
        shares = explained(b.components, cross, others), explained(a.components, cross.T, turned)
        first, second = (
            _compared(self._mean(found, correlations, side, k), share, side.note)
            for k, (side, share) in enumerate(zip((a, b), shares, strict=True))
        )
        return first, second

    def _mean(self, found: Correlations, correlations: Tensor, side: _Side, group: int) -> float:
        """The mean of the correlations that there are; a variate that is constant on other symbols has none."""
        there = correlations.isfinite()
        weights = torch.ones_like(correlations)
        if self.measure.weighted:
            weights = found.weights(side.components, group, side.scale.deviation)
        return float((weights * correlations)[there].sum() / weights[there].sum())

    def _rows(self, i: int) -> tuple[Ints, Ints]:
        """The symbols to learn from, and to be tried on."""
        order = self.groups[i].order
        if order.family not in self.rows:
            record = torch.from_numpy(order.record)
            held = Split.of(iter([record]), self.measure.held_out, 0).held_out(record).numpy()
            self.rows[order.family] = np.flatnonzero(~held), np.flatnonzero(held if self.measure.held_out else ~held)
        return self.rows[order.family]

    def _side(self, i: int, keep: tuple[int, int]) -> _Side:
        if i in self.kept:
            return self.kept[i]
        group = self.groups[i]
        train, test = self._rows(i)
        scale, note = group.scale(train)
        if self.measure.variance < 1:  # principal components are of the units as they are
            size = (scale.deviation * scale.keep).max().clamp(min=1e-300)
            scale = scale._replace(deviation=torch.full_like(scale.deviation, float(size)))
        learned = gram(_design(group, scale, train))
        components = Components.of(learned.scatter()[0], learned.tolerance, self.measure.variance)
        others = gram(_design(group, scale, test)) if self.measure.held_out else learned
        side = _Side(scale, note, components, others)
        for old in [k for k in self.kept if k not in keep]:
            if sum(s.bytes for s in (*self.kept.values(), side)) > KEPT:
                del self.kept[old]
        self.kept[i] = side
        return side

    def _cross(self, i: int, j: int, rows: Ints) -> Tensor:
        """float64[unit of the second, unit of the first], the sums of products over some symbols."""
        one, two = (_design(self.groups[k], self.kept[k].scale, rows) for k in (i, j))

        def read() -> Iterator[Chunk]:
            for (x, _), (y, _) in zip(one.read(), two.read(), strict=True):
                yield x, y

        return sums(replace(one, read=read, hypotheses=two.units)).xy


def _design(group: MatchedUnits, scale: Scale, rows: Ints) -> Design:
    """The units of a group, scaled, without hypotheses."""

    def read() -> Iterator[Chunk]:
        for values in group.read(rows):
            x = torch.where(scale.keep > 0, (values.double() - scale.mean) / scale.deviation, 0).float()
            yield x, x[:, :0]

    return Design(read, len(rows), group.units, 0)


def _compared(score: float, shares: Tensor, note: Ints) -> Compared:
    found = np.asarray(shares.cpu().numpy())
    return Compared(score, found, np.where(note, note, np.where(np.isnan(found), UNIT_HELD_OUT, 0)))
