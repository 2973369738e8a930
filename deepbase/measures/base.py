"""What a measure is: a small mergeable state, folded over batches, and a formula that reads it.

The problem. A run compares every unit with every hypothesis over all symbols of a dataset, and nothing may be kept
whose size grows with the number of symbols. So a measure never sees "the data". It declares a *state* of fixed size,
and a state knows three things:

* `update(state, units, labels)` folds one batch in: float32[symbol, unit] against [symbol, column];
* `merge(a, b)` is associative and commutative up to rounding, for any tree of blocks, processes or devices;
* `arrays()` and `from_arrays()` give it a written form, so that a run can be resumed.

A measure is then a pure function `compute(state, targets)`. Measures that declare the same state type share one state:
Pearson and the mean difference both read `PairMoments`, and adding the second costs nothing while the data streams by.

What units are compared with is a *target*: a boolean or a number is one column of labels, a category one column per
value, exactly one of which is true at a symbol. A fact of a unit has a target without columns.

States are values, but big ones. `update` may reuse the storage of the state that it is given, as a donated buffer: the
caller goes on with the returned state and forgets the old one. `merge` leaves both of its arguments untouched.

Memory: a state of the pair kind takes about `8 * units * (columns + 2)` bytes a layer.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepbase.blocks import Floats, Kind, LabelBehavior

ROWS = 512
"""Symbols that are folded at once: few enough for the caches, and for float32 sums."""
RARE = 0.2
"""The share of symbols at which a boolean is true up to which adding up those rows is faster than a matrix product."""


class Portion(NamedTuple):
    """Some symbols of a batch, and which booleans are rarely true there.

    Attributes:
        rows: the symbols.
        sparse: int64[column], the rare ones; None where there are none, and all columns are dense.
        where: int64[true label], the symbols within the portion, column by column.
        offsets: int64[column], where each rare column begins in it.
        dense: int64[column], the other columns.
    """

    rows: slice
    sparse: Tensor | None = None
    where: Tensor = torch.empty(0, dtype=torch.int64)
    offsets: Tensor = torch.empty(0, dtype=torch.int64)
    dense: Tensor = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class BatchLabels:
    """The label side of one batch, on the device of the model; shared by all layers and states.

    Attributes:
        values: float32[symbol, column], less `shift`; 0 where there is no value.
        valid: float32[symbol, null class], 1 where the columns of the class have a value; None where all have.
        null_class: int64[column], the class of each column.
        shift: float64[column], what was subtracted from the values; 0 for booleans.
        record: int64[symbol], the number of each symbol's record in the dataset; the symbols of one record stand
            together.
        kinds: the kind of each column, `boolean` or `number`.
    """

    values: Tensor
    valid: Tensor | None
    null_class: Tensor
    shift: Tensor
    record: Tensor
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, labels: LabelBehavior, first: int, symbols: int, shift: Floats, device: torch.device) -> Self:
        """The rows `first : first + symbols` of a block's labels."""
        rows = slice(first, first + symbols)
        valid = labels.valid[rows]
        classes = labels.null_class
        values = labels.values[rows]
        if shift.any():
            values = values - shift * valid[:, classes]
        whole = valid.shape[1] == 1 and bool(valid.all())
        return cls(
            values=torch.from_numpy(values.astype(np.float32)).to(device),
            valid=None if whole else torch.from_numpy(valid.astype(np.float32)).to(device),
            null_class=torch.from_numpy(classes).to(device),
            shift=torch.from_numpy(shift).to(device),
            record=torch.from_numpy(labels.record[rows]).to(device),
            kinds=labels.kinds,
        )

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """float64[null class], symbols that have a value; float64[column] twice, sums of the values and squares."""
        classes = int(self.null_class.max()) + 1 if len(self.null_class) else 1
        n = torch.full((classes,), float(len(self.values)), dtype=torch.float64, device=self.values.device)
        if self.valid is not None:
            n = self.valid.sum(0, dtype=torch.float64)
        y = self.values.double()
        return n, y.sum(0), y.square().sum(0)

    @property
    def known(self) -> Tensor:
        """bool[symbol, column], where there is a value."""
        if self.valid is None:
            return torch.ones_like(self.values, dtype=torch.bool)
        return self.valid[:, self.null_class] > 0

    @cached_property
    def portions(self) -> tuple[Portion, ...]:
        """The symbols in portions of at most `ROWS`, each with what is rarely true in it."""
        return tuple(self._portion(slice(i, i + ROWS)) for i in range(0, len(self.values), ROWS))

    def _portion(self, rows: slice) -> Portion:
        values = self.values[rows]
        boolean = torch.tensor([k == "boolean" for k in self.kinds], dtype=torch.bool, device=values.device)
        rare = boolean & (values.count_nonzero(0) <= RARE * len(values))
        if values.device.type != "cpu" or not rare.any():
            return Portion(rows)
        columns = rare.nonzero()[:, 0]
        column, where = values[:, columns].T.nonzero(as_tuple=True)
        offsets = torch.searchsorted(column, torch.arange(len(columns)))
        return Portion(rows, columns, where, offsets, (~rare).nonzero()[:, 0])

    def rows(self, rows: slice | Tensor) -> Self:
        """Some of the symbols."""
        valid = None if self.valid is None else self.valid[rows]
        return replace(self, values=self.values[rows], valid=valid, record=self.record[rows])


class AbstractState(abc.ABC):
    """What a measure remembers of the symbols that it has seen: one object for all units of a layer.

    Attributes:
        saved: whether a checkpoint holds the state. A run with one that is not saved begins again when it is resumed.
        quick: whether scores follow from it in no time: they may then be computed while the database file is locked.
        cost: for people, what it takes while the data streams by.
    """

    saved: ClassVar[bool] = True
    quick: ClassVar[bool] = True
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

    @abc.abstractmethod
    def empty_like(self, labels: BatchLabels) -> Self:
        """A state that has seen nothing and suits these labels, with this one's pilot values of the units."""

    def arrays(self) -> dict[str, Tensor]:
        """The state as named arrays, on the CPU; those of a dataclass of tensors are its fields."""
        return {n: value.cpu().clone(memory_format=torch.contiguous_format) for n, value in vars(self).items()}

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


@dataclass(frozen=True)
class Target:
    """What units are compared with.

    Attributes:
        kind: of the hypothesis; None for a fact of a unit, which is compared with nothing.
        columns: of the labels: one, for a category one per value, for nothing none.
    """

    kind: Kind | None
    columns: tuple[int, ...] = ()


NOTES: tuple[str | None, ...] = (
    None,
    "fewer than 2 symbols have a value of the hypothesis",
    "unit has NaN or infinite activations",
    "unit is constant",
    "hypothesis is constant",
    "measure needs another kind of hypothesis",
    "hypothesis has fewer than 2 positives",
    "hypothesis has fewer than 2 negatives",
    "no variation within the classes",
    "fewer than 4 symbols, too few to correct the bias",
    "both means are 0",
    "fewer than 2 symbols",
    "fewer than 2 records, one to learn from and one to be scored on",
    "hypothesis is constant in the records that the probe learns from",
    "hypothesis is constant in the held-out records",
    "measure scores the units together, and gives none of them a share",
)
"""Why a pair has no score; the conventions of all measures, in order of precedence."""

(
    TOO_FEW,
    NOT_FINITE,
    CONSTANT_UNIT,
    CONSTANT_HYPOTHESIS,
    WRONG_KIND,
    FEW_POSITIVES,
    FEW_NEGATIVES,
    NO_VARIATION,
    UNCORRECTABLE,
    MEANS_ARE_ZERO,
    TOO_FEW_SYMBOLS,
    TOO_FEW_RECORDS,
    CONSTANT_TRAINING,
    CONSTANT_HELD_OUT,
    TOGETHER,
) = range(1, len(NOTES))


@dataclass(frozen=True)
class Values:
    """The scores of one measure for one layer, or for one group of units.

    Attributes:
        unit_score: float64[target, unit]; NaN where there is no score.
        note: int[target, unit]; an index into `notes`. A score may have one, too: how exact it is.
        notes: what the notes say; the first one is None.
        group_score: float64[target], what the units of a probe reach together; None for a unit measure.
    """

    unit_score: Floats
    note: npt.NDArray[np.integer[Any]]
    notes: Sequence[str | None] = NOTES
    group_score: Floats | None = None

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
        return replace(self, unit_score=self.unit_score[:, units], note=self.note[:, units])


Option = bool | int | float | str
"""What an option of a measure can be."""


def option_text(value: Option) -> str:
    """An option's value as it is written in a call."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class AbstractMeasure(abc.ABC):
    """A statistic of affinity between units and hypotheses. The class attributes are facts that others read.

    A measure is a frozen dataclass. Its fields are its options: booleans, numbers or texts with defaults, each with a
    `description` in its metadata.

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
        grouped: whether it scores a set of units together: a probe.
        exact: whether it equals its textbook value on the symbols read, wherever a note does not say otherwise.
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

    @property
    def call(self) -> str:
        """The canonical text of the call that makes this measure: its name, with the options that are no defaults."""
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{self.name}({', '.join(f'{n} := {option_text(v)}' for n, v in given)})" if given else self.name

    def each(self) -> Sequence[AbstractMeasure]:
        """The measures that a call stands for: itself, or one for each value of an option that is left open."""
        return (self,)

    @abc.abstractmethod
    def compute(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """The scores.

        Args:
            state: of `state_type`.
            targets: what the units are compared with.
        """
