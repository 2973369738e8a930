"""Blocks: every symbol once, in its place, beside what the dataset says about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.blocks import Batch, Block, Column, Encodings, InputFormat, Level, Padding
from deepbase.errors import DatasetError, ModelError
from deepbase.inputs.symbols import make_block, symbols_schema
from deepbase.inputs.tokenization import encode

ANY = InputFormat(None, "right", 0)


def records(texts: Sequence[str], **columns: list[Any]) -> pa.Table:
    return pa.table(
        {"record": pa.array(range(len(texts)), pa.int64()), "text": pa.array(texts, pa.string()), **columns}
    )


def pieces(size: int, *, special: bool = False) -> Any:
    """A tokenizer of words into pieces of some characters, with special tokens on both sides if asked for."""

    def tokenize(text: str) -> list[tuple[int, int, int]]:
        found = []
        start = 0
        for word in text.split(" "):
            found += [(ord(word[i]), start + i, start + min(i + size, len(word))) for i in range(0, len(word), size)]
            start += len(word) + 1
        return [(1, 0, 0), *found, (2, 0, 0)] if special else found

    return tokenize


def block(texts: Sequence[str], tokenize: Any, form: InputFormat = ANY, **options: Any) -> Block:
    columns = options.pop("columns", [])
    table = records(texts, **options.pop("data", {}))
    return make_block(7, table, encode(tokenize, texts), form, columns, **options)


def rows(found: Block, *names: str) -> list[tuple[Any, ...]]:
    table = found.symbols.select(list(names)) if names else found.symbols
    return [tuple(row.values()) for row in table.to_pylist()]


def tokens_of(found: Block) -> list[list[int]]:
    """The ids that each row of the symbols is made of."""
    ids: list[list[int]] = [[] for _ in range(found.symbols.num_rows)]
    for batch in found.batches:
        for place, symbol in zip(batch.take, batch.symbol, strict=True):
            assert batch.mask.reshape(-1)[place]
            ids[batch.first + symbol].append(int(batch.ids.reshape(-1)[place]))
    return ids


def test_a_symbol_a_token() -> None:
    found = block(["unhappy cat", "é"], pieces(4, special=True))
    assert found.index == 7
    assert found.records == 2
    assert rows(found) == [
        (1, 0, "é", "é", 0, 1, "é", 0, "é"),
        (0, 0, "unha", "unha", 0, 4, "unhappy", 0, "unhappy cat"),
        (0, 1, "ppy", "ppy", 4, 7, "unhappy", 0, "unhappy cat"),
        (0, 2, "cat", "cat", 8, 11, "cat", 1, "unhappy cat"),
    ]
    (batch,) = found.batches
    assert batch.ids.tolist() == [[1, 233, 2, 0, 0], [1, 117, 112, 99, 2]]
    assert batch.mask.tolist() == [[True, True, True, False, False], [True] * 5]
    assert batch.take.tolist() == [1, 6, 7, 8]
    assert batch.symbol.tolist() == [0, 1, 2, 3]
    assert (batch.first, batch.symbols) == (0, 4)
    assert set(found.counts.values()) == {0}


def test_left_padding_moves_what_is_taken() -> None:
    (batch,) = block(["ab", "a"], pieces(1), InputFormat(None, "left", 9)).batches
    assert batch.ids.tolist() == [[9, 97], [97, 98]]
    assert batch.mask.tolist() == [[False, True], [True, True]]
    assert batch.take.tolist() == [1, 2, 3]


def test_without_padding_only_equal_lengths_run_together() -> None:
    found = block(["ab", "a", "cd", "efg", ""], pieces(1), InputFormat(None, "none", 0))
    assert [batch.ids.shape for batch in found.batches] == [(1, 1), (2, 2), (1, 3)]
    assert all(batch.mask.all() for batch in found.batches)
    assert found.counts["records_empty"] == 1


def test_positions_are_characters_in_odd_text() -> None:
    texts = ["🤦🏼‍♂️ naïve e\u0301 שלום\u00a0עולם", "a\u3000b"]
    found = block(texts, lambda text: [(ord(c), i, i + 1) for i, c in enumerate(text)])
    for record, symbol, start, end, word, text in rows(found, "record", "symbol", "start", "end", "word", "text"):
        assert text == texts[record]
        assert symbol == text[start:end]
        assert (word is None) == symbol.isspace()
        assert word is None or word in text.split()
    assert found.counts["symbols_without_word"] == 5


def test_given_words_with_shared_characters() -> None:
    data = {
        "word": [["de", "el", "mar"]],
        "word_start": [[0, 2, 4]],
        "word_end": [[2, 3, 7]],
        "upos": [["A", "D", "N"]],
    }
    columns = [Column("upos", "word", "category")]
    tokenize = lambda text: [(0, 0, 3), (0, 3, 5), (0, 5, 7)]  # noqa: E731
    found = block(["del mar"], tokenize, data=data, columns=columns)
    assert rows(found, "symbol", "word", "word_index", "upos") == [
        ("del", "de", 0, "A"),
        (" m", "mar", 2, "N"),
        ("ar", "mar", 2, "N"),
    ]
    found = block(["del mar"], tokenize, data=data, columns=columns, level="word")
    assert rows(found, "position", "symbol", "start", "end", "word_index", "upos") == [
        (0, "de", 0, 2, 0, "A"),
        (1, "mar", 4, 7, 2, "N"),
    ]
    assert found.counts["words_without_symbol"] == 1


DATA = {
    "pos": pa.array([["X", "Y"], None, ["Z"]]),
    "char": pa.array([[0, 1, 2, 3, 4], [7], None], pa.list_(pa.int16())),
    "tok": pa.array([[True, False, True], [False], None]),
    "genre": ["web", None, "web"],
    "year": pa.array([1, 2, None], pa.int8()),
    "mean": pa.array([1, 2, None], pa.decimal128(5, 1)),
}
COLUMNS = [
    Column("genre", "record", "category", ("web",)),
    Column("pos", "word", "category", ("X", "Y", "Z")),
    Column("char", "character", "number", integer=True),
    Column("tok", "symbol", "boolean"),
    Column("year", "record", "number", integer=True),
    Column("mean", "record", "number"),
]
TEXTS = ["abc d", "e", "f"]


def test_columns_of_every_level_at_every_level() -> None:
    names = ("symbol", "pos", "char", "tok", "genre", "year", "mean")
    found = block(TEXTS, pieces(2, special=True), data=DATA, columns=COLUMNS)
    assert rows(found, *names) == [
        ("e", None, 7, False, None, 2, 2.0),
        ("f", "Z", None, None, "web", None, None),
        ("ab", "X", 0, True, "web", 1, 1.0),
        ("c", "X", 2, False, "web", 1, 1.0),
        ("d", "Y", 4, True, "web", 1, 1.0),
    ]
    found = block(TEXTS, pieces(2, special=True), data=DATA, columns=COLUMNS, level="word")
    assert rows(found, *names)[2:] == [("abc", "X", 0, True, "web", 1, 1.0), ("d", "Y", 4, True, "web", 1, 1.0)]
    assert tokens_of(found) == [[101], [102], [97, 99], [100]]
    found = block(TEXTS, pieces(2, special=True), data=DATA, columns=COLUMNS, level="record")
    assert rows(found, "symbol", "start", "end", "word", "word_index", "genre") == [
        ("e", 0, 1, None, None, None),
        ("f", 0, 1, None, None, "web"),
        ("abc d", 0, 5, None, None, "web"),
    ]
    assert tokens_of(found) == [[101], [102], [97, 99, 100]]
    assert found.symbols.column_names[9:] == ["genre", "year", "mean"]


@pytest.mark.parametrize("level", ["token", "word", "record"])
def test_schema_is_known_beforehand_and_duckdb_reads_it(level: Level) -> None:
    schema = symbols_schema(COLUMNS, level)
    symbols = block(TEXTS, pieces(2), data=DATA, columns=COLUMNS, level=level).symbols
    assert symbols.schema == schema
    with duckdb.connect() as con:
        con.register("empty", schema.empty_table())
        con.register("symbols", symbols)
        described = con.execute("DESCRIBE symbols").fetchall()
        assert con.execute("DESCRIBE empty").fetchall() == described
        query = "SELECT text, genre, count(*) FROM symbols GROUP BY ALL ORDER BY ALL"
        assert [row[0] for row in con.execute(query).fetchall()] == sorted(TEXTS)
    assert block([], pieces(2)).symbols.num_rows == 0


def test_list_of_another_length_than_the_tokenizer_makes() -> None:
    data = {"tok": [[1, 2, 3], [1]]}
    with pytest.raises(DatasetError) as caught:
        block(["abc d", "ef g"], pieces(2), data=data, columns=[Column("tok", "symbol", "number")])
    assert str(caught.value) == (
        "record 1: column 'tok' has 1 values for 2 symbols of this model's tokenizer. A list with one value per symbol "
        "fits one tokenizer only; correct it, or leave the column out."
    )


def test_long_record_is_cut_and_counted() -> None:
    found = block(["abcdefgh ij", "k"], pieces(1, special=True), InputFormat(6, "right", 0))
    (batch,) = found.batches
    assert batch.ids.tolist() == [[1, 107, 2, 0, 0, 0], [1, 97, 98, 99, 100, 2]]
    assert found.counts == {
        "records_cut": 1,
        "records_empty": 0,
        "symbols_cut": 6,
        "symbols_without_word": 0,
        "words_without_symbol": 0,
    }
    found = block(["abcdefgh ij", "k"], pieces(1, special=True), InputFormat(6, "right", 0), level="word")
    assert rows(found, "symbol") == [("k",), ("abcdefgh",)]
    assert (found.counts["symbols_cut"], found.counts["words_without_symbol"]) == (1, 0)


def test_long_record_in_windows() -> None:
    text = "abcdefghijk"
    found = block([text, "z"], pieces(1, special=True), InputFormat(6, "right", 0), window=True)
    (batch,) = found.batches
    windows = ["abcd", "cdef", "efgh", "ghij", "hijk"]
    assert batch.ids[1:].tolist() == [[1, *map(ord, w), 2] for w in windows]
    assert tokens_of(found) == [[ord(c)] for c in "z" + text]
    assert rows(found, "position", "symbol")[1:] == list(enumerate(text))
    column = batch.take % 6
    assert column[1:].tolist() == [1, 2, 3, 4, 3, 4, 3, 4, 3, 4, 4]
    assert set(found.counts.values()) == {0}


def test_context_without_room() -> None:
    with pytest.raises(ModelError) as caught:
        block(["ab"], pieces(1, special=True), InputFormat(2, "right", 0))
    assert str(caught.value) == "The model's context of 2 tokens is filled by 2 special tokens alone"


# ---------------------------------------------------------------------------------------------------- any block


@st.composite
def encoded(draw: st.DrawFn) -> tuple[list[str], Encodings]:
    """Texts and what some tokenizer might make of them: gaps, overlaps, several tokens for one character."""
    texts = draw(st.lists(st.text(alphabet="ab \u00a0é🙂\u05d0", max_size=12), max_size=7))
    ids, spans, special = [], [], []
    number = 10
    for text in texts:
        lead, trail = draw(st.integers(0, 2)), draw(st.integers(0, 1))
        starts = sorted(draw(st.lists(st.integers(0, len(text) - 1), max_size=14))) if text else []
        span = [(s, draw(st.integers(s + 1, len(text)))) for s in starts]
        ids.append(np.arange(number, number + lead + len(span) + trail))
        number += len(ids[-1])
        spans.append(np.array([(0, 0)] * lead + span + [(0, 0)] * trail, dtype=np.int64).reshape(-1, 2))
        special.append(np.array([True] * lead + [False] * len(span) + [True] * trail, dtype=bool))
    return texts, Encodings(ids, spans, special)


def best_word(span: Any, text: str) -> int:
    shared = [min(span[1], b) - max(span[0], a) for a, b in naive_words(text)]
    return int(np.argmax(shared)) if shared and max(shared) > 0 else -1


def naive_words(text: str) -> list[tuple[int, int]]:
    found, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        found.append((start, start + len(word)))
        start += len(word)
    return found


def expected(texts: list[str], encodings: Encodings, level: Level, context: int | None) -> dict[Any, Any]:
    """For each symbol the ids of its tokens, by record and place; `context` None where nothing is lost."""
    found: dict[Any, list[int]] = {}
    for record, text in enumerate(texts):
        ids, spans, special = encodings.ids[record], encodings.spans[record], encodings.special[record]
        excess = 0 if context is None else max(len(ids) - context, 0)
        content = [i for i in range(len(ids)) if not special[i]]
        for place, i in enumerate(content[: len(content) - excess]):
            word = best_word(spans[i], text)
            if level == "token":
                key: Any = (record, place, text[spans[i][0] : spans[i][1]], None if word < 0 else word)
            elif level == "record":
                key = (record, 0, text, None)
            elif word >= 0:
                a, b = naive_words(text)[word]
                key = (record, None, text[a:b], word)
            else:
                continue
            found.setdefault(key, []).append(int(ids[i]))
    return found


def check_batch(batch: Batch, batch_size: int, padding: Padding) -> None:
    assert batch.ids.shape == batch.mask.shape
    assert len(batch.take) == len(batch.symbol) > 0
    assert (np.diff(batch.symbol) >= 0).all()
    assert set(batch.symbol) == set(range(batch.symbols))
    assert (batch.ids[~batch.mask] == -7).all()
    assert (batch.ids[batch.mask] != -7).all()
    if padding == "none":
        assert batch.mask.all()
    aligned = batch.mask if padding != "left" else batch.mask[:, ::-1]
    assert (np.diff(aligned.astype(int), axis=1) <= 0).all()


@settings(max_examples=300, deadline=None)
@given(
    made=encoded(),
    level=st.sampled_from(["token", "word", "record"]),
    padding=st.sampled_from(["right", "left", "none"]),
    context=st.one_of(st.none(), st.integers(4, 20)),
    window=st.booleans(),
    limits=st.tuples(st.integers(1, 4), st.sampled_from([1, 12, 40, 8192])),
    groups=st.sampled_from([1, 2, 3]),
)
def test_any_block_has_every_symbol_once(
    *,
    made: tuple[list[str], Encodings],
    level: Level,
    padding: Padding,
    context: int | None,
    window: bool,
    limits: tuple[int, int],
    groups: int,
) -> None:
    texts, encodings = made
    slices = np.arange(len(texts)) * 7 % groups
    batch_size, batch_tokens = limits
    form = InputFormat(context, padding, -7)
    found = make_block(
        0,
        records(texts),
        encodings,
        form,
        [],
        slices=None if groups == 1 else slices,
        level=level,
        window=window,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
    )
    whole = expected(texts, encodings, level, None)
    kept = expected(texts, encodings, level, None if window else context)
    columns = ("record", "position", "symbol", "word_index", "start", "end", "text")
    actual = {}
    for (record, place, symbol, word, start, end, text), ids in zip(
        rows(found, *columns), tokens_of(found), strict=True
    ):
        assert (text, symbol) == (texts[record], texts[record][start:end])
        key = (record, None if level == "word" else place, symbol, word)
        assert key not in actual
        actual[key] = ids
    assert actual == kept
    # Positions count up within a record, and a record is in one batch.
    order = rows(found, "record", "position")
    seen: Counter[int] = Counter()
    for record, place in order:
        assert place == seen[record]
        seen[record] += 1
    assert [record for i, (record, _) in enumerate(order) if not i or order[i - 1][0] != record] == list(seen)
    done = 0
    for batch in found.batches:
        check_batch(batch, batch_size, padding)
        assert batch.first == done
        done += batch.symbols
        inside = {record for record, _ in order[batch.first : done]}
        of_rows = [slices[record] for record, _ in order[batch.first : done]]
        assert of_rows == [number for number, _, symbols in batch.slices for _ in range(symbols)]
        assert [first for _, first, _ in batch.slices] == [
            batch.first + of_rows.index(number) for number, _, _ in batch.slices
        ], "each slice stands together"
        assert len(inside) <= batch_size
        assert len(inside) == 1 or batch.ids.size <= batch_tokens
        assert context is None or batch.ids.shape[1] <= context
    assert done == found.symbols.num_rows
    # What is missing was counted.
    longer = [i for i, ids in enumerate(encodings.ids) if context is not None and len(ids) > context]
    has_symbols = [i for i, special in enumerate(encodings.special) if not special.all()]
    without_word = sum(len(ids) for key, ids in expected(texts, encodings, "token", None).items() if key[3] is None)
    assert found.counts["records_cut"] == (0 if window else len(set(longer) & set(has_symbols)))
    assert found.counts["records_empty"] == len(texts) - len(has_symbols)
    assert found.counts["symbols_cut"] == (0 if level == "record" else len(whole) - len(kept))
    if level == "word":
        total = sum(len(text.split()) for text in texts)
        assert found.counts["words_without_symbol"] == total - len(whole)
    if level != "record" and (window or not longer):
        assert found.counts["symbols_without_word"] == without_word


@settings(max_examples=100, deadline=None)
@given(made=encoded(), context=st.integers(4, 9))
def test_a_later_symbol_of_a_window_has_half_a_window_in_front(made: tuple[list[str], Encodings], context: int) -> None:
    texts, encodings = made
    found = make_block(0, records(texts), encodings, InputFormat(context, "right", -7), [], window=True)
    place = {int(i): n for ids in encodings.ids for n, i in enumerate(ids)}
    affixes = {int(i): int(s.argmin()) for ids, s in zip(encodings.ids, encodings.special, strict=True) for i in ids}
    trails = {
        int(i): int(s[::-1].argmin()) for ids, s in zip(encodings.ids, encodings.special, strict=True) for i in ids
    }
    for batch in found.batches:
        for at in batch.take:
            token = int(batch.ids.reshape(-1)[at])
            lead = affixes[token]
            room = context - lead - trails[token]
            before = int(at) % batch.ids.shape[1] - lead
            assert before >= min(place[token] - lead, room - max(room // 2, 1))
