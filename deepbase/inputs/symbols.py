"""Records and their encodings to symbols and batches: the block that travels through the pipeline.

A symbol is a token, a word or a record. The table of symbols says what each one is, where it stands, which word it
belongs to and what the dataset's columns say there; the batches say which tokens the model has to read and which
symbol each of them is part of. Both are in the same order, record after record, position after position; no score
depends on that order.

What is lost is counted: `records_empty` have no symbol, `records_cut` and `symbols_cut` are the model's limit,
`symbols_without_word` are tokens that touch no word (left out where words are the symbols), `words_without_symbol` are
words that no token belongs to.

Everything is computed for the whole block with NumPy and Arrow: the texts are laid one after another as code points,
so that spans, words and slices are plain arithmetic. Long values are not copied to every symbol, `text` and text
metadata are Arrow dictionaries. Memory: proportional to the block, about 100 bytes a symbol and 5 a character.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from deepbase.blocks import Block, Bools, Column, Encodings, InputFormat, Ints, Level
from deepbase.errors import DatasetError
from deepbase.inputs import sequences, words
from deepbase.inputs.sequences import Sequences, Tokens

_TEXTS = pa.dictionary(pa.int32(), pa.string())


def symbols_schema(columns: Sequence[Column], level: Level = "token") -> pa.Schema:
    """The Arrow schema of the symbols of a block.

    Lists become their elements, and are absent where records are the symbols. Booleans stay, integers are int64,
    other numbers float64, and anything else is text.

    Args:
        columns: the dataset's columns that go along.
        level: what the symbols are.
    """
    fields = {
        "record": pa.int64(),
        "position": pa.int32(),
        "symbol": pa.string(),
        "token": pa.string(),
        "start": pa.int32(),
        "end": pa.int32(),
        "word": pa.string(),
        "word_index": pa.int32(),
        "text": _TEXTS,
    }
    for column in _used(columns, level):
        fields[column.name] = _arrow_type(column)
    return pa.schema(fields)


def columns_at(columns: Sequence[Column], level: Level) -> list[Column]:
    """The columns of a dataset that have a value at a level."""
    names = symbols_schema(columns, level).names
    return [column for column in columns if column.name in names]


def _used(columns: Sequence[Column], level: Level) -> list[Column]:
    """Annotations, then metadata, without what has no value at this level."""
    lists = [column for column in columns if column.level != "record" and level != "record"]
    return lists + [column for column in columns if column.level == "record"]


def _arrow_type(column: Column) -> Any:
    if column.kind == "boolean":
        return pa.bool_()
    if column.kind == "number":
        return pa.int64() if column.integer else pa.float64()
    return _TEXTS if column.level == "record" else pa.string()


def make_block(
    index: int,
    records: pa.Table,
    encodings: Encodings,
    input_format: InputFormat,
    columns: Sequence[Column],
    *,
    slices: Ints | None = None,
    level: Level = "token",
    batch_size: int = 32,
    batch_tokens: int = 4096,
    window: bool = False,
    wanted: Collection[str] | None = None,
) -> Block:
    """Lay the tokens of some records beside what the dataset says about them.

    Args:
        index: the number of the block.
        records: rows of a dataset's table, with `record`, `text`, the given words if any, and all of `columns`.
        encodings: of their texts, in the same order.
        input_format: how the model wants to be fed.
        columns: the dataset's columns that go along; others are not looked at.
        slices: int64[record], the slice of each record; None where all are of one.
        level: what the symbols are. A word's or a record's tokens are all part of its one symbol; what is said of
            characters or tokens is then taken at the word's first token.
        batch_size: the most records of a batch.
        batch_tokens: the most tokens of a batch, padding included, unless a single record has more.
        window: whether records longer than the context are read in overlapping windows rather than cut.
        wanted: the columns of the symbols that are made, beside `record`; None for all. Where they need no words, the
            words are not looked for, and what was lost is not counted.

    Raises:
        DatasetError: a list with one value per symbol does not have as many as the tokenizer made.
        ModelError: the model's context has no room beside the special tokens.
    """
    tokens = sequences.flatten(encodings)
    characters = _lay_texts(records["text"].to_pylist())
    aligned = wanted is None or needs_words(wanted, columns, level)
    given = _words(records, characters) if aligned else _NO_WORDS
    word = _word_of_token(tokens, characters, given) if aligned else np.full(len(tokens.ids), -1)
    laid = sequences.lay_out(tokens, input_format.context, window=window)
    groups = sequences.groups(laid, input_format, batch_size, batch_tokens)
    if slices is None:
        slices = np.zeros(records.num_rows, dtype=np.int64)
    else:
        laid = sequences.by_slice(laid, groups, slices)
    cells, rows = _rows(laid, word, level)
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    token = laid.token[cells[first]]
    place = _Place(tokens.record[token], token, word[token], level)
    counts = _count(tokens, laid, word, given, place) if aligned else {}
    symbols = _table(records, columns, tokens=tokens, characters=characters, given=given, place=place, wanted=wanted)
    return Block(
        index=index,
        symbols=symbols,
        batches=sequences.batches(laid, tokens, cells, rows, input_format, groups=groups, slices=slices),
        records=records.num_rows,
        counts=counts,
    )


def needs_words(wanted: Collection[str], columns: Sequence[Column], level: Level) -> bool:
    """Whether the words of the records have to be known for some columns of the symbols."""
    of_words = {"word", "word_index", *(column.name for column in columns if column.level == "word")}
    return level == "word" or not of_words.isdisjoint(wanted)


@dataclass(frozen=True)
class _Characters:
    """The texts of a block, one after another, each followed by a space.

    Attributes:
        codes: uint32[character], code points.
        first: int64[record + 1], where each text begins, and the end.
        utf8: bytes of the same.
        byte: int64[character + 1], where each character begins in them.
    """

    codes: npt.NDArray[np.uint32]
    first: Ints
    utf8: npt.NDArray[np.uint8]
    byte: Ints

    def slices(self, start: Ints, end: Ints) -> pa.Array:
        """The pieces of text `[start, end)`, as Arrow strings."""
        begin, length = self.byte[start], self.byte[end] - self.byte[start]
        offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
        content = self.utf8[sequences.ranges(begin, length)]
        return pa.StringArray.from_buffers(len(start), pa.py_buffer(offsets), pa.py_buffer(content))


def _lay_texts(texts: Sequence[str]) -> _Characters:
    joined = "".join(text + " " for text in texts)
    codes = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
    width = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return _Characters(
        codes=codes,
        first=np.cumsum([0, *(len(text) + 1 for text in texts)]),
        utf8=np.frombuffer(joined.encode(), dtype=np.uint8),
        byte=np.concatenate([[0], np.cumsum(width)]),
    )


@dataclass(frozen=True)
class _Words:
    """The words of a block.

    Attributes:
        form: string[word].
        start: int64[word], first character among the characters of the block.
        end: int64[word].
        first: int64[record + 1], the first word of each record, and the end.
    """

    form: pa.Array
    start: Ints
    end: Ints
    first: Ints


_NOTHING = np.empty(0, dtype=np.int64)
_NO_WORDS = _Words(pa.array([], pa.string()), _NOTHING, _NOTHING, _NOTHING)


def _words(records: pa.Table, characters: _Characters) -> _Words:
    if "word" in records.column_names:
        form, lengths = _flat(records["word"])
        base = np.repeat(characters.first[:-1], lengths)
        start, end = (_flat(records[name])[0].to_numpy() + base for name in ("word_start", "word_end"))
        return _Words(form, start, end, np.concatenate([[0], np.cumsum(lengths)]))
    start, end = words.runs(characters.codes)
    return _Words(characters.slices(start, end), start, end, np.searchsorted(start, characters.first))


def _flat(lists: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """The elements of all lists, and the lengths of the lists; NULL has none."""
    array = lists.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return array.flatten(), lengths.astype(np.int64)


def _word_of_token(tokens: Tokens, characters: _Characters, given: _Words) -> Ints:
    """int64[token], -1 for special tokens and those that touch no word."""
    base = characters.first[tokens.record]
    word = np.full(len(tokens.ids), -1, dtype=np.int64)
    part = ~tokens.special
    word[part] = words.align((tokens.start + base)[part], (tokens.end + base)[part], given.start, given.end)
    return word


def _rows(laid: Sequences, word: Ints, level: Level) -> tuple[Ints, Ints]:
    """The cells that are part of symbols, and the row of the symbol of each, both ascending by row."""
    cells = np.flatnonzero(laid.taken)
    if level == "token":
        return cells, np.arange(len(cells))
    if level == "record":
        record = np.repeat(laid.record, laid.length)[cells]
        return cells, np.cumsum(np.diff(record, prepend=record[:1]) != 0)
    cells = cells[word[laid.token[cells]] >= 0]
    order = np.cumsum(np.diff(laid.record, prepend=laid.record[:1]) != 0)  # of the records, not their numbers
    rank = np.repeat(order, laid.length)[cells]
    key = word[laid.token[cells]]
    by_word = np.lexsort((key, rank))
    key = key[by_word]
    return cells[by_word], np.cumsum(np.diff(key, prepend=key[:1]) != 0)


@dataclass(frozen=True)
class _Place:
    """Where the rows of the table of symbols stand; all int64[symbol].

    Attributes:
        record: the record.
        token: its first token.
        word: the word of that token; -1 without.
        level: what the symbols are.
    """

    record: Ints
    token: Ints
    word: Ints
    level: Level


def _count(tokens: Tokens, laid: Sequences, word: Ints, given: _Words, place: _Place) -> dict[str, int]:
    part = ~tokens.special
    taken = laid.token[laid.taken]
    covered = len(np.unique(word[word >= 0]))  # by all tokens, cut or not
    counts = {
        "records_cut": laid.cut,
        "records_empty": len(tokens.first) - 1 - len(np.unique(laid.record)),
        "symbols_cut": 0,
        "symbols_without_word": 0,
        "words_without_symbol": 0,
    }
    if place.level == "token":
        counts["symbols_cut"] = int(np.count_nonzero(part)) - len(taken)
    elif place.level == "word":
        counts["symbols_cut"] = covered - len(place.record)
        counts["words_without_symbol"] = len(given.start) - covered
    if place.level != "record":
        counts["symbols_without_word"] = int(np.count_nonzero(word[taken] < 0))
    return counts


def _table(
    records: pa.Table,
    columns: Sequence[Column],
    *,
    tokens: Tokens,
    characters: _Characters,
    given: _Words,
    place: _Place,
    wanted: Collection[str] | None,
) -> pa.Table:
    """The symbols, one a row; of their columns those that are wanted."""
    base = characters.first[place.record]
    if place.level == "token":
        start, end = base + tokens.start[place.token], base + tokens.end[place.token]
    elif place.level == "word":
        start, end = given.start[place.word], given.end[place.word]
    else:
        start, end = base, characters.first[place.record + 1] - 1
    has_word = place.word >= 0 if place.level != "record" else np.zeros(len(base), dtype=bool)
    word = pa.array(place.word, mask=~has_word)

    def position() -> Any:
        begins = np.flatnonzero(np.diff(place.record, prepend=-1))
        return (np.arange(len(base)) - np.repeat(begins, np.diff(begins, append=len(base)))).astype(np.int32)

    @cache
    def symbol() -> Any:
        return given.form.take(word) if place.level == "word" else characters.slices(start, end)

    def word_index() -> Any:
        return pa.array((place.word - given.first[place.record]).astype(np.int32), mask=~has_word)

    schema = symbols_schema(columns, place.level)

    def own(column: Column) -> Any:
        kind = schema.field(column.name).type
        if column.level == "record":
            return _broadcast(records[column.name], place.record, kind)
        return _annotate(records, column, tokens=tokens, given=given, place=place, has_word=has_word, kind=kind)

    makers: dict[str, Callable[[], Any]] = {
        "record": lambda: records["record"].take(pa.array(place.record)),
        "position": position,
        "symbol": symbol,
        "token": symbol,
        "start": lambda: (start - base).astype(np.int32),
        "end": lambda: (end - base).astype(np.int32),
        "word": lambda: given.form.take(word),
        "word_index": word_index,
        "text": lambda: _broadcast(records["text"], place.record, _TEXTS),
        **{column.name: partial(own, column) for column in _used(columns, place.level)},
    }
    chosen = [name for name in schema.names if wanted is None or name in wanted or name == "record"]
    return pa.table({n: makers[n]() for n in chosen}, schema=pa.schema([schema.field(n) for n in chosen]))


def _broadcast(values: pa.ChunkedArray, record: Ints, kind: Any) -> pa.Array:
    array = values.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.cast(pa.string()).dictionary_encode() if kind == _TEXTS else array.cast(kind)
    return array.take(pa.array(record))


def _annotate(
    records: pa.Table,
    column: Column,
    *,
    tokens: Tokens,
    given: _Words,
    place: _Place,
    has_word: Bools,
    kind: Any,
) -> pa.Array:
    """What a list column says at each symbol."""
    values, lengths = _flat(records[column.name])
    if column.level == "word":
        item, valid = place.word - given.first[place.record], has_word
    elif column.level == "character":
        item, valid = tokens.start[place.token], np.ones(len(place.token), dtype=bool)
    else:
        before = np.concatenate([[0], np.cumsum(~tokens.special)])
        _check_symbols(records, column, lengths, np.diff(before[tokens.first]))
        item, valid = before[place.token] - before[tokens.first[place.record]], np.ones(len(place.token), dtype=bool)
    first = np.cumsum(lengths) - lengths
    valid = valid & (item < lengths[place.record])  # a NULL list has no items
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(kind).take(pa.array(first[place.record] + item, mask=~valid))


def _check_symbols(records: pa.Table, column: Column, lengths: Ints, symbols: Ints) -> None:
    wrong = np.flatnonzero((lengths != symbols) & records[column.name].is_valid().to_numpy())
    if len(wrong):
        record = int(wrong[0])
        raise DatasetError(
            f"record {records['record'][record].as_py()}: column {column.name!r} has {lengths[record]} values "
            f"for {symbols[record]} symbols of this model's tokenizer",
            "A list with one value per symbol fits one tokenizer only; correct it, or leave the column out.",
        )
