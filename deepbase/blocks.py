"""The nouns that cross stages.

A stage hands the next one a value of this module and nothing else, so that `inputs`, `models`, `labels` and `measures`
need not know each other. All values are frozen. The arrays inside are shared, never copied, and nobody writes to one
that was handed over.

Shapes use four letters throughout: `symbol` (rows of a block), `token` (what the model reads; one symbol is made of
one token or, at the level of words and records, of several), `unit` and `hypothesis`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    import torch

Padding = Literal["right", "left", "none"]
Level = Literal["token", "word", "record"]
Kind = Literal["boolean", "number", "category"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """A module of a model whose output has a value per symbol: a row of `layers`.

    Attributes:
        layer: the torch module path, as `named_modules` spells it.
        layer_index: its place in the order in which the modules finish during a forward.
        width: how many units it has.
        kind: `block output`, `MLP neurons`, `attention output`, `embedding` or `other`.
    """

    layer: str
    layer_index: int
    width: int
    kind: str


ColumnLevel = Literal["record", "word", "character", "symbol"]


@dataclass(frozen=True)
class Column:
    """A column of a dataset that hypotheses can be made of.

    Attributes:
        name: as in the source.
        level: `record` is metadata, one value a record; the others are lists, one value per word, per character of the
            text, or per symbol of whichever model reads it.
        kind: `boolean`, `number` or `category`.
        values: the distinct values of a category, the most frequent first; None if there are more than 1,000.
        multiple: whether a value holds several, joined by `|` (the features of CoNLL-U); `values` are the single ones.
        integer: whether the numbers have no fractions, and fit 64 bits.
    """

    name: str
    level: ColumnLevel
    kind: Kind
    values: tuple[str, ...] | None = None
    multiple: bool = False
    integer: bool = False


@dataclass(frozen=True)
class InputFormat:
    """How a model wants to be fed.

    Attributes:
        context: the most tokens that one sequence may have, special tokens included; None without a limit.
        padding: the side on which shorter sequences are filled, or `none`: only equal lengths run together.
        pad_id: the token id that fills them.
    """

    context: int | None
    padding: Padding
    pad_id: int


@dataclass(frozen=True)
class Encodings:
    """What a tokenizer made of some texts; one list item a text.

    Attributes:
        ids: int64[token].
        spans: int64[token, 2], the characters `[start, end)` of the text that the token stands for.
        special: bool[token], tokens that stand for no part of the text (`[CLS]`, `</s>`).
    """

    ids: Sequence[Ints]
    spans: Sequence[Ints]
    special: Sequence[Bools]


class SliceRows(NamedTuple):
    """Rows of a block's symbols whose records are of one slice: its number within the block, and the rows."""

    slice: int
    first: int
    symbols: int


@dataclass(frozen=True)
class Batch:
    """Sequences that go through the model in one forward, and where their symbols are.

    Attributes:
        ids: int64[sequence, position], padded.
        mask: bool[sequence, position], False on padding.
        take: int64[token], positions in the flattened `ids` of the tokens that are part of a symbol, in the order of
            the symbols.
        symbol: int64[token], the symbol that each of them is part of, as an offset from `first`; ascending.
        first: the row of the block's symbols at which this batch begins.
        symbols: how many symbols it has; they are the rows `first : first + symbols`.
        slices: which of these rows are of which slice of the records; they follow one another without a gap.
    """

    ids: Ints
    mask: Bools
    take: Ints
    symbol: Ints
    first: int
    symbols: int
    slices: tuple[SliceRows, ...]


@dataclass(frozen=True)
class Block:
    """The records that travel through the pipeline together.

    Attributes:
        index: its number in the run's random order.
        symbols: an Arrow table with one row a symbol, ordered by record and position: record, position, symbol, token,
            start, end, word, word_index, text, the annotation and the metadata columns.
        batches: the forwards that its symbols need.
        records: how many records it has.
        counts: what was lost on the way, by name (`records_cut`, `symbols_cut`, `symbols_without_word`, ...).
    """

    index: int
    symbols: pa.Table
    batches: Sequence[Batch]
    records: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class ConfoundBehavior:
    """The behaviours of what measures are given beside the hypotheses, over the symbols of a block.

    Attributes:
        values: float64[symbol, confound]; NaN where there is no value. A category is one column per value.
        kinds: the kind of each confound, `boolean` or `number`.
        sets: the columns of the confounds that measures are given together, ascending, each set once.
        summed: those of the sets for which sums are kept.
    """

    values: Floats
    kinds: tuple[Kind, ...]
    sets: tuple[tuple[int, ...], ...]
    summed: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class LabelBehavior:
    """The behaviours of hypotheses over the symbols of a block.

    Hypotheses whose NULLs fall on the same symbols belong to one *null class*, and share what is summed over units.

    Attributes:
        values: float64[symbol, hypothesis]; 0 where there is no value.
        valid: bool[symbol, null class], False where the hypotheses of the class have no value.
        null_class: int64[hypothesis], the class of each hypothesis.
        record: int64[symbol], the number of each symbol's record in the dataset.
        kinds: the kind of each hypothesis, `boolean` or `number`; a category is several booleans.
        word: int64[symbol], a hash of each symbol's word, or of the symbol where it is in none; None if not asked for.
        confounds: what measures are given besides; None if nothing.
        place: int32[symbol, 3], each symbol's place in its record and the characters `[start, end)` of the text that it
            stands for; None if not asked for.
    """

    values: Floats
    valid: Bools
    null_class: Ints
    record: Ints
    kinds: tuple[Kind, ...]
    word: Ints | None = None
    confounds: ConfoundBehavior | None = None
    place: npt.NDArray[np.int32] | None = None


Tokenize = Callable[[Sequence[str]], Encodings]
"""Texts in, their encodings out."""

Visit = Callable[[str, "torch.Tensor"], None]
"""What a model calls for every layer that was asked for: its path and its values, float32[token, unit]."""

SCORES_COLUMNS = (
    *("run", "model", "layer", "unit", "hypothesis", "measure", "slice"),
    *("unit_score", "group_score", "control_score", "shuffled_score", "baseline_score", "selectivity"),
    *("low", "high", "p_value", "q_value", "symbols", "records", "open", "note"),
)
"""The columns of `scores`."""

SCORE_LISTS_SCHEMA = pa.schema(
    [
        ("run", pa.int64()),
        ("model", pa.string()),
        ("layer", pa.string()),
        ("hypothesis", pa.string()),
        ("measure", pa.string()),
        ("slice", pa.string()),
        ("unit", pa.list_(pa.int32())),
        ("unit_score", pa.list_(pa.float64())),
        ("group_score", pa.float64()),
        ("control_score", pa.float64()),
        ("shuffled_score", pa.float64()),
        ("baseline_score", pa.float64()),
        ("low", pa.list_(pa.float64())),
        ("high", pa.list_(pa.float64())),
        ("whole", pa.bool_()),
        ("open", pa.list_(pa.bool_())),
        ("p_value", pa.list_(pa.float64())),
        ("q_value", pa.list_(pa.float64())),
        ("symbols", pa.int64()),
        ("records", pa.int64()),
        ("note", pa.list_(pa.int32())),
        ("notes", pa.list_(pa.string())),
    ]
)
"""The columns of `score_lists`, the table under `scores`."""
