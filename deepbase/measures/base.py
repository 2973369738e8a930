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
from deepbase.measures.hashing import hashed

GROUP_SEED = 2
ROWS = 512
"""Symbols that are folded at once: few enough for the caches, and for float32 sums."""
GROUPS = 16
"""Random groups of records, whose differences tell how far a score may be off."""


class Bags(NamedTuple):
    """Rows that are added up together, bag after bag.

    Attributes:
        places: int64[bag], where each bag belongs: `group * columns + column`.
        rows: int64[row in a bag], the symbols within the portion.
        offsets: int64[bag], where each bag begins in `rows`.
        weights: float32[row in a bag], by what each is multiplied; None where all are taken as they are.
    """

    places: Tensor
    rows: Tensor
    offsets: Tensor
    weights: Tensor | None


class Portion(NamedTuple):
    """Some symbols of a batch, by group of records.

    Attributes:
        rows: the symbols.
        present: those at which a null class has values.
        true: those at which a column is not 0.
    """

    rows: slice
    present: Bags
    true: Bags


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
        word: int64[symbol], a hash of each symbol's word; None where no measure needs it.
    """

    values: Tensor
    valid: Tensor | None
    null_class: Tensor
    shift: Tensor
    record: Tensor
    kinds: tuple[Kind, ...]
    word: Tensor | None = None

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
            word=None if labels.word is None else torch.from_numpy(labels.word[rows]).to(device),
        )

    @cached_property
    def group(self) -> Tensor:
        """int64[symbol], the random group of each symbol's record, by a hash of its number."""
        groups = hashed(self.record.cpu().numpy(), GROUP_SEED) % np.uint64(GROUPS)
        return torch.from_numpy(groups.astype(np.int64)).to(self.record.device)

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """By group, float64[group, null class], symbols with a value; float64[group, column], values and squares."""
        classes = int(self.null_class.max()) + 1 if len(self.null_class) else 1
        valid = self.values.new_ones(len(self.values), classes) if self.valid is None else self.valid
        y = self.values.double()
        several = (valid.double(), y, y.square())
        n, sums, squares = (v.new_zeros(GROUPS, v.shape[1]).index_add_(0, self.group, v) for v in several)
        return n, sums, squares

    @property
    def known(self) -> Tensor:
        """bool[symbol, column], where there is a value."""
        if self.valid is None:
            return torch.ones_like(self.values, dtype=torch.bool)
        return self.valid[:, self.null_class] > 0

    @cached_property
    def portions(self) -> tuple[Portion, ...]:
        """The symbols in portions of at most `ROWS`."""
        return tuple(self._portion(slice(i, i + ROWS)) for i in range(0, len(self.values), ROWS))

    def _portion(self, rows: slice) -> Portion:
        values, group = self.values[rows], self.group[rows]
        valid = values.new_ones(len(values), 1) if self.valid is None else self.valid[rows]
        weighted = "number" in self.kinds
        return Portion(rows, _bags(valid, group, weighted=False), _bags(values, group, weighted=weighted))

    def rows(self, rows: slice | Tensor) -> Self:
        """Some of the symbols."""
        valid = None if self.valid is None else self.valid[rows]
        word = None if self.word is None else self.word[rows]
        return replace(self, values=self.values[rows], valid=valid, record=self.record[rows], word=word)

    @cached_property
    def kept(self) -> KeptLabels:
        """The same labels in the least room: made once a batch, and shared by all layers that keep rows."""
        boolean = torch.tensor([k == "boolean" for k in self.kinds], dtype=torch.bool, device=self.values.device)
        valid = self.values.new_ones(len(self.values), 1) if self.valid is None else self.valid
        shift = self.shift[~boolean]
        known = (valid[:, self.null_class[~boolean]] > 0).any(0)
        return KeptLabels(
            truth=self.values[:, boolean].byte(),
            numbers=self.values[:, ~boolean].double() + shift,
            valid=valid.byte(),
            null_class=self.null_class,
            shifts=torch.stack([torch.where(known, shift, torch.inf), torch.where(known, shift, -torch.inf)]),
            boolean=boolean,
        )


@dataclass(frozen=True, eq=False)
class KeptLabels:
    """Labels in the form in which a state may keep them.

    Attributes:
        truth: uint8[symbol, boolean column].
        numbers: float64[symbol, number column], the values themselves, up to the rounding of `BatchLabels.values`;
            the shift where there is no value.
        valid: uint8[symbol, null class].
        null_class: int64[column].
        shifts: float64[2, number column], the least and the greatest shift that the numbers were rounded about;
            infinite where none has a value.
        boolean: bool[column], which columns are booleans; the others are numbers.
    """

    truth: Tensor
    numbers: Tensor
    valid: Tensor
    null_class: Tensor
    shifts: Tensor
    boolean: Tensor


def _bags(values: Tensor, group: Tensor, *, weighted: bool) -> Bags:
    """The rows at which each column is not 0, by group."""
    row, column = values.nonzero(as_tuple=True)
    place = group[row] * values.shape[1] + column
    order = place.argsort(stable=True)
    row, column = row[order], column[order]
    places, counts = torch.unique_consecutive(place[order], return_counts=True)
    return Bags(places, row, counts.cumsum(0) - counts, values[row, column] if weighted else None)


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
    "measure needs a boolean hypothesis",
    "measure needs a number hypothesis",
    "measure needs a category hypothesis",
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
    NOT_BOOLEAN,
    NOT_NUMBER,
    NOT_CATEGORY,
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


def wrong_kind(takes: Sequence[Kind]) -> int:
    """The note of a hypothesis that is of none of the kinds that a measure takes."""
    alone = {"boolean": NOT_BOOLEAN, "number": NOT_NUMBER, "category": NOT_CATEGORY}
    return alone[takes[0]] if len(takes) == 1 else WRONG_KIND


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
        return replace(self, **{n: v[:, units] for n in several if (v := getattr(self, n)) is not None})


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
        exactness: for people, how exact it is.
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
    exactness: ClassVar[str] = "exact"

    @property
    def call(self) -> str:
        """The canonical text of the call that makes this measure: its name, with the options that are no defaults."""
        given = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{self.name}({', '.join(f'{n} := {option_text(v)}' for n, v in given)})" if given else self.name

    @property
    def takes(self) -> tuple[Kind, ...]:
        """The kinds of hypotheses that it takes with its options."""
        return self.kinds

    @property
    def needs_words(self) -> bool:
        """Whether it has to know the words of symbols."""
        return False

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
            state: of `state_type`.
            targets: what the units are compared with.
        """
