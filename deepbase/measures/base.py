"""What a measure is: a small mergeable state, folded over batches, and a formula that reads it.

The problem. A run compares every unit with every hypothesis over all symbols of a dataset, and nothing may be kept in
memory whose size grows with the number of symbols. So a measure never sees "the data". It declares a *state* whose size
is fixed, or bounded by the memory that it is given, and a state knows three things:

* `update(state, units, labels)` folds one batch in: float32[symbol, unit] against [symbol, column];
* `merge(a, b)` is associative and commutative up to rounding, for any tree of blocks, processes or devices;
* `arrays()` and `from_arrays()` give it a written form, so that a run can be resumed, unless it is not `saved`.

A measure is then a pure function `compute(state, targets)`. Measures that declare the same state type share one state:
Pearson and the mean difference both read `PairMoments`, and adding the second costs nothing while the data streams by.

What units are compared with is a *target*: a boolean or a number is one column of labels, a category one column per
value, exactly one of which is true at a symbol. A fact of a unit has a target without columns.

States are values, but big ones. `update` may reuse the storage of the state that it is given, as a donated buffer: the
caller goes on with the returned state and forgets the old one. `merge` leaves both of its arguments untouched;
`merge_last` may use up the second.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepbase.blocks import Floats, Ints, Kind
from deepbase.measures.batch import BatchLabels
from deepbase.measures.notes import NOTES
from deepbase.measures.spread import Scale, Spread


class AbstractState(abc.ABC):
    """What a measure remembers of the symbols that it has seen: one object for all units of a layer.

    Attributes:
        saved: whether a checkpoint holds the state. A run with one that is not saved begins again when it is resumed.
        quick: whether scores follow from it in no time: they may then be computed while the database file is locked.
        exchanges: whether it has to know the labels of the whole block, whose records exchange them.
        divisible: whether `select` can take some units and columns out of it.
        cost: for people, what it takes while the data streams by.
    """

    saved: ClassVar[bool] = True
    quick: ClassVar[bool] = True
    exchanges: ClassVar[bool] = False
    divisible: ClassVar[bool] = False
    cost: ClassVar[str] = ""

    @abc.abstractmethod
    def update(self, units: Tensor, labels: BatchLabels) -> Self:
        """Fold one batch in.

        Args:
            units: float32[symbol, unit]; nobody writes to it, and a state may keep it.
            labels: the same symbols' labels.

        Returns:
            The new state. It may reuse this one's storage, so forget this one.
        """

    @abc.abstractmethod
    def merge(self, other: Self) -> Self:
        """The state of the symbols of both; neither is changed."""

    def merge_last(self, other: Self) -> Self:
        """As `merge`, where the other state is not needed any more: its storage may be used again."""
        return self.merge(other)

    @abc.abstractmethod
    def empty_like(self, labels: BatchLabels) -> Self:
        """A state that has seen nothing and suits these labels, with this one's pilot values of the units."""

    def select(self, units: Ints | None, columns: Ints | None) -> Self:
        """The state of some units and columns alone, which shares nothing with this one.

        Args:
            units: int64, their places; None for all.
            columns: int64, likewise. Both are None for a state that is not `divisible`.
        """
        if units is not None or columns is not None:
            raise NotImplementedError(f"{type(self).__name__} cannot be divided")
        return self

    def arrays(self) -> dict[str, Tensor]:
        """The state as named arrays, on the CPU; those of a dataclass of tensors are its fields."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {n: value.cpu().clone(memory_format=torch.contiguous_format) for n, value in own.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], device: torch.device) -> Self:
        """The state that `arrays` wrote."""
        return cls(**{name: value.to(device) for name, value in arrays.items()})

    @classmethod
    @abc.abstractmethod
    def first(cls, units: Tensor, labels: BatchLabels, memory: int) -> Self:
        """The state of the very first batch.

        Args:
            units: float32[symbol, unit].
            labels: the same symbols' labels.
            memory: bytes that the state may take, if it can do with more or with less; others ignore it.
        """

    @classmethod
    @abc.abstractmethod
    def memory(cls, units: int, columns: int, symbols: int, limit: int) -> int:
        """Bytes of the state of a layer.

        Args:
            units: of the layer.
            columns: of labels, all of which have a value at the same symbols.
            symbols: how many there are to be.
            limit: what `first` is given as `memory`.
        """

    @classmethod
    def memory_given(cls, units: int, columns: int, symbols: int, limit: int, sets: Sequence[int]) -> int:
        """Bytes of the state of a layer where measures are given confounds.

        Args:
            units, columns, symbols, limit: as for `memory`.
            sets: how many confounds there are in each set.
        """
        return cls.memory(units, columns, symbols, limit)


@dataclass(frozen=True)
class Target:
    """What units are compared with.

    Attributes:
        kind: of the hypothesis; None for a fact of a unit, which is compared with nothing.
        columns: of the labels: one, for a category one per value, for nothing none.
        given: of the confounds, ascending; those of one measure are the same for all of its targets.
    """

    kind: Kind | None
    columns: tuple[int, ...] = ()
    given: tuple[int, ...] = ()


@dataclass(frozen=True)
class Values:
    """The scores of one measure for one layer, or for one group of units.

    Attributes:
        unit_score: float64[target, unit]; NaN where there is no score.
        note: int[target, unit]; an index into `notes`. A score may have one, too: how exact it is.
        notes: what the notes say; the first one is None.
        p_value: float64[target, unit], of no affinity; NaN where there is none, None for a measure without a test.
        q_value: float64[target, unit], the same corrected for the whole run.
        group_score: float64[target], what the units of a probe reach together; None for a unit measure.
        control_score: float64[target], what they reach on a control task; None where none was asked for.
        shuffled_score: float64[target], what they reach on shuffled labels; None where they were not asked for.
        baseline_score: float64[target], what the same units with random weights reach; None where not asked for.
        spread: of the unit scores, or of the group score of a measure of groups, where it comes with the scores.
    """

    unit_score: Floats
    note: npt.NDArray[np.integer[Any]]
    notes: Sequence[str | None] = NOTES
    p_value: Floats | None = None
    q_value: Floats | None = None
    group_score: Floats | None = None
    control_score: Floats | None = None
    shuffled_score: Floats | None = None
    baseline_score: Floats | None = None
    spread: Spread | None = None

    @classmethod
    def of(cls, score: Tensor, missing: str) -> Self:
        """Scores that are missing for one reason only.

        Args:
            score: float[target, unit]; what is not finite is no score.
            missing: the note of those.
        """
        known = score.isfinite().cpu().numpy()
        return cls(np.where(known, score.double().cpu().numpy(), np.nan), (~known).astype(np.uint8), (None, missing))

    def units(self, units: slice) -> Self:
        """The scores of some of the units."""
        several = ("unit_score", "note", "p_value", "q_value")
        spread = self.spread and self.spread.units(units)
        return replace(self, spread=spread, **{n: v[:, units] for n in several if (v := getattr(self, n)) is not None})


Option = bool | int | float | str | tuple[str, ...]
"""What an option of a measure can be."""


def option_text(value: Option | list[Any]) -> str:
    """An option's value as it is written in a call.

    >>> option_text(("length(word)", "position"))
    "['length(word)', 'position']"
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(option_text, value))}]"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class AbstractMeasure(abc.ABC):
    """A statistic of affinity between units and hypotheses. The class attributes are facts that others read.

    A measure is a frozen dataclass. Its fields are its options: booleans, numbers, texts or tuples of texts with
    defaults, each with a `description` in its metadata.

    Attributes:
        name: what queries call it.
        description: one line.
        formula: for people, in plain text.
        source: where it is from; a user's own measure may leave it and the formula out.
        state_type: the state that it reads; measures of one state type share it.
        range: the least and the greatest score.
        signed: whether the sign of a score means a direction, so that strength is its absolute value.
        higher_is_better: whether a greater score means more affinity; bits of a code are better the fewer they are.
        kinds: the kinds of hypotheses that it takes; none for a fact of a unit.
        grouped: whether it scores a set of units together: a probe, or a comparison of groups.
        exact: whether it equals its textbook value on the symbols read, wherever a note does not say otherwise.
        error_scale: on which the errors of its scores are nearly normal, or of its group's scores if it is `grouped`.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    formula: ClassVar[str] = ""
    source: ClassVar[str] = ""
    state_type: ClassVar[type[AbstractState]]
    range: ClassVar[tuple[float, float]]
    signed: ClassVar[bool]
    higher_is_better: ClassVar[bool] = True
    kinds: ClassVar[tuple[Kind, ...]]
    grouped: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    error_scale: ClassVar[Scale] = "plain"

    @property
    def call(self) -> str:
        """The canonical text of the call that makes this measure: its name, with the options that are no defaults."""
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{self.name}({', '.join(f'{n} := {option_text(v)}' for n, v in given)})" if given else self.name

    @property
    def reads(self) -> type[AbstractState]:
        """The state that it reads with its options."""
        return self.state_type

    @property
    def takes(self) -> tuple[Kind, ...]:
        """The kinds of hypotheses that it takes with its options."""
        return self.kinds

    @property
    def confounds(self) -> tuple[str, ...]:
        """The hypotheses that it takes as known, in words: what is left after them is scored."""
        return ()

    @property
    def needs_words(self) -> bool:
        """Whether it has to know the words of symbols."""
        return False

    @property
    def needs_records(self) -> bool:
        """Whether it has to know the records of symbols that are kept."""
        return False

    @property
    def has_interval(self) -> bool:
        """Whether its scores may have intervals."""
        return type(self).spread is not AbstractMeasure.spread or self.grouped

    @property
    def needs_baseline(self) -> bool:
        """Whether it is compared with the same architecture of random weights."""
        return False

    def each(self) -> Sequence[AbstractMeasure]:
        """The measures that a call stands for: itself, or one for each value of an option that is left open."""
        return (self,)

    @abc.abstractmethod
    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """The scores.

        Args:
            state: of the type that it `reads`.
            targets: what the units are compared with.
        """

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """How far scores may be off by the choice of the records that were read; None for a measure that cannot tell.

        Args:
            state: what the scores were computed from.
            targets: what the units are compared with.
            found: the scores.
        """
        return found.spread
