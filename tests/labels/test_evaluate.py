"""Labels are what a plain loop over the symbols would give, and a function that fails is named with its record."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.blocks import Column, LabelBehavior
from deepbase.errors import HypothesisError
from deepbase.inputs.symbols import symbols_schema
from deepbase.labels.base import Label, Registered
from deepbase.labels.binding import bind
from deepbase.labels.evaluate import Labels, expression_type, register_functions
from deepbase.labels.hypothesis import Hypothesis, hypothesis
from deepbase.labels.sources import library

COLUMNS = [
    Column("upos", "word", "category", ("NOUN", "VERB")),
    Column("feats", "word", "category", ("A=1", "B=2", "B=3"), multiple=True),
    Column("score", "word", "number"),
    Column("genre", "record", "category", ("news", "blog")),
]
SCHEMA = symbols_schema(COLUMNS)
Row = dict[str, Any]


def symbols(rows: Sequence[Row]) -> pa.Table:
    """A table of symbols; what a row does not say is counted or NULL."""
    positions: dict[int, int] = {}
    data: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for row in rows:
        place = positions.setdefault(row["record"], 0)
        positions[row["record"]] += 1
        full = {"position": place, "start": place, "end": place + 1, "text": "", **row}
        full.setdefault("token", full.get("symbol", ""))
        for name, values in data.items():
            values.append(full.get(name))
    return pa.table({n: pa.array(v, SCHEMA.field(n).type) for n, v in data.items()}, schema=SCHEMA)


def tokens(*texts: str) -> list[Row]:
    """The rows of records, a symbol a character; words are the texts."""
    return [
        {"record": r, "symbol": c, "word": text, "text": text, "start": i, "end": i + 1}
        for r, text in enumerate(texts)
        for i, c in enumerate(text)
    ]


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as found:
        yield found


@pytest.fixture
def labels(connection):
    """`labels(*hypotheses)`: functions and requests, bound."""

    def make(*hypotheses: Hypothesis | str) -> Labels:
        functions = [h for h in hypotheses if isinstance(h, Hypothesis)]
        register_functions(connection, functions)
        known = {f.name: Registered(f.name, f.kind, "python", f.fingerprint, "", function=f) for f in functions}
        requests = [h.name if isinstance(h, Hypothesis) else h for h in hypotheses]
        bound = bind(requests, known, COLUMNS, lambda e: expression_type(connection, e, SCHEMA))
        return Labels(connection.cursor(), bound)

    return make


@pytest.fixture
def evaluate(labels):
    """`evaluate(rows, *hypotheses)`: by name, the values with None for no value."""

    def run(rows: Sequence[Row], *hypotheses: Hypothesis | str, **options: Any) -> dict[str, list[float | None]]:
        bound = labels(*hypotheses)
        return by_name(bound.labels, bound.evaluate(symbols(rows), **options))

    return run


@pytest.fixture
def refused(labels):
    """`refused(rows, *hypotheses)`: the whole text of the error; what functions raise is told apart from it."""

    def run(rows: Sequence[Row], *hypotheses: Hypothesis | str) -> str:
        bound = labels(*hypotheses)
        with pytest.raises(HypothesisError) as error:
            bound.evaluate(symbols(rows))
        return str(error.value)

    return run


def by_name(labels: Sequence[Label], found: LabelBehavior) -> dict[str, list[float | None]]:
    assert found.values.shape == (len(found.record), len(labels))
    assert found.valid.shape == (len(found.record), found.null_class.max(initial=-1) + 1)
    valid = found.valid[:, found.null_class]
    assert not found.values[~valid].any(), "0 where there is no value"
    assert np.isfinite(found.values).all()
    return {
        x.name: [float(v) if known else None for v, known in zip(found.values[:, i], valid[:, i], strict=True)]
        for i, x in enumerate(labels)
    }


@hypothesis
def vowels(word: str) -> int:
    return sum(c in "aeiou" for c in word)


@hypothesis
def at_word_start(word: str | None, symbol: str) -> bool | None:
    return None if word is None else word.startswith(symbol)


@hypothesis
def shape(word: str) -> Literal["upper", "lower"] | None:
    return "upper" if word.isupper() else "lower" if word.islower() else None


@hypothesis
def odd_number(position: int, symbol: str) -> float | None:
    return {0: math.nan, 1: math.inf, 2: None, 3: -math.inf, 4: 1e300}.get(position, float(len(symbol)))


@hypothesis
def seen_before(token: list[str], upos: list[str | None]) -> list[bool | None]:
    return [None if u is None else t in token[:i] for i, (t, u) in enumerate(zip(token, upos, strict=True))]


@hypothesis
def of_genre(token: list[str], genre: str) -> list[int]:
    return [len(genre)] * len(token)


@hypothesis
def is_letter(text: str) -> list[bool]:
    return [c.isalpha() for c in text]


def naive(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """What each hypothesis means, symbol by symbol."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        record = [r for r in rows if r["record"] == row["record"]]
        place = next(i for i, r in enumerate(record) if r is row)
        word, upos, feats = row["word"], row["upos"], row["feats"]
        before = record[place - 1]["symbol"] if place else None
        say = {
            "vowels": None if word is None else vowels(word),
            "at_word_start": at_word_start(word, row["symbol"]),
            "shape=upper": None if word is None or shape(word) is None else shape(word) == "upper",
            "shape=lower": None if word is None or shape(word) is None else shape(word) == "lower",
            "odd_number": odd_number(place, row["symbol"]),
            "seen_before": seen_before([r["symbol"] for r in record], [r["upos"] for r in record])[place],
            "of_genre": None if row["genre"] is None else len(row["genre"]),
            "is_letter": row["text"][row["start"]].isalpha(),
            "upos=NOUN": None if upos is None else upos == "NOUN",
            "upos=VERB": None if upos is None else upos == "VERB",
            "feats=A=1": None if feats is None else "A=1" in feats.split("|"),
            "feats=B=2": None if feats is None else "B=2" in feats.split("|"),
            "feats=B=3": None if feats is None else "B=3" in feats.split("|"),
            "score": row["score"],
            "score > 0": None if row["score"] is None else not row["score"] <= 0,  # to DuckDB, NaN is the greatest
            "word IS NULL": word is None,
            "lag(symbol) OVER (PARTITION BY record ORDER BY position) = symbol":
                None if before is None else before == row["symbol"],
            "vowels(word) = vowels(genre)":
                None if None in (word, row["genre"]) else vowels(word) == vowels(row["genre"]),
        }  # fmt: skip
        for name, value in say.items():
            known = value is not None and math.isfinite(value)
            found.setdefault(name, []).append(float(value) if known else None)
    return found


TEXT = st.text(
    st.sampled_from("aeBC \t\n\x01\x7fé☃日🦆\u0301'\"|%") | st.characters(codec="utf-8", exclude_characters="\0")
)


@st.composite
def any_rows(draw: st.DrawFn) -> list[Row]:
    """Records of symbols with all sorts of text, in any order of the records."""
    found = []
    for record in draw(st.lists(st.integers(0, 10**12), unique=True, min_size=1, max_size=4)):
        text = draw(TEXT.filter(bool))
        genre = draw(st.sampled_from(["news", "blog", None]))
        cuts = [0, *sorted(draw(st.sets(st.integers(1, len(text)), max_size=6)) | {len(text)})]
        for start, end in itertools.pairwise(cuts):
            found.append(
                {
                    "record": record,
                    "symbol": text[start:end],
                    "start": start,
                    "end": end,
                    "text": text,
                    "genre": genre,
                    "word": draw(TEXT | st.none()),
                    "upos": draw(st.sampled_from(["NOUN", "VERB", "X", None])),
                    "feats": draw(st.sampled_from(["A=1", "A=1|B=2", "B=3|A=1", "", None])),
                    "score": draw(st.floats() | st.none()),
                }
            )
    return found


@pytest.mark.parametrize("threads", [1, 4])
def test_labels_are_those_of_a_plain_loop(labels, connection, threads):
    connection.execute(f"SET threads = {threads}")
    functions = [vowels, at_word_start, shape, odd_number, seen_before, of_genre, is_letter]
    requests = ["upos=NOUN", "upos=VERB", "feats", "score", "score > 0", "word IS NULL"]
    requests += ["lag(symbol) OVER (PARTITION BY record ORDER BY position) = symbol", "vowels(word) = vowels(genre)"]
    bound = labels(*functions, *requests)

    @settings(max_examples=60, deadline=None)
    @given(any_rows())
    def check(rows):
        behavior = bound.evaluate(symbols(rows))
        expected = naive(rows)
        assert by_name(bound.labels, behavior) == {x.name: expected[x.name] for x in bound.labels}
        patterns = {tuple(v is None for v in values) for values in expected.values()}
        assert behavior.valid.shape[1] == len(patterns), "what is NULL together is in one null class"
        records = [r["record"] for r in rows]
        assert behavior.record.tolist() == records

    check()


def test_a_block_without_symbols_has_no_labels(labels):
    bound = labels(vowels, shape, seen_before, is_letter, "upos", "feats", "score", "position > 1")
    found = bound.evaluate(symbols([]))
    assert found.values.shape == (0, len(bound.labels))
    assert len(found.record) == 0


def test_a_symbol_that_is_left_out_has_no_value_of_any_hypothesis(evaluate):
    rows = tokens("ab", "c")
    found = evaluate(rows, vowels, "position = 0", unlabelled=np.array([True, False, True]))
    assert found == {"vowels": [None, 1, None], "position = 0": [None, 0, None]}


def test_a_window_function_in_one_hypothesis_does_not_move_the_labels_of_another(evaluate):
    rows = tokens(*["x" * (1 + r % 7) for r in range(500)])
    is_last = "row_number() OVER (PARTITION BY record ORDER BY position DESC) = 1"
    assert evaluate(rows, "record % 3 = 0", is_last) == {
        "record % 3 = 0": [float(r["record"] % 3 == 0) for r in rows],
        is_last: [float(r["end"] == len(r["text"])) for r in rows],
    }


@pytest.mark.parametrize("texts", [["a b"], ["日本"], ["ab", "c d e"]])
def test_a_function_of_the_text_may_say_something_of_every_character(evaluate, texts):
    """A symbol has what is said of its first character, even if there are as many symbols as characters."""
    rows = [
        {"record": r, "symbol": part, "text": text, "start": start, "end": start + 1}
        for r, text in enumerate(texts)
        for start, part in [(0, "1"), *[(len(text) - 1, str(i)) for i in range(len(text) - 1)]]
    ]

    @hypothesis
    def code(text: str) -> list[int]:
        return [ord(c) for c in text]

    assert evaluate(rows, code) == {"code": [float(ord(r["text"][r["start"]])) for r in rows]}


def test_a_function_of_the_text_may_say_something_of_every_symbol(evaluate):
    @hypothesis
    def word_length(text: str) -> list[int]:
        return [len(w) for w in text.split()]

    rows = [{"record": 5, "symbol": w, "text": "to be or", "start": s} for w, s in (("to", 0), ("be", 3), ("or", 6))]
    assert evaluate(rows, word_length) == {"word_length": [2, 2, 2]}


def test_odd_text_reaches_a_function_as_it_is(evaluate):
    odd = ["🦆", "\x01\x1f\x7f", "a\u0301", "' OR 1=1 --", '"', "\\", "\r\n", "\u2028", "x" * 1_000_000, " ", "%s{}"]
    got = []

    @hypothesis
    def keep(word: str) -> int:
        got.append(word)
        return len(word)

    found = evaluate([{"record": 0, "symbol": "x", "word": w} for w in odd], keep)
    assert found == {"keep": [float(len(w)) for w in odd]}
    assert sorted(got) == sorted(odd)


def test_calls_of_one_function_never_overlap():
    inside = []

    @hypothesis
    def careless(word: str) -> int:
        inside.append(word)
        time.sleep(0.002)
        return len(inside) if inside.pop() == word and not inside else -1

    column = pa.chunked_array([[f"w{i}" for i in range(10)]])
    results: list[list[float]] = []
    threads = [threading.Thread(target=lambda: results.append(careless.arrow(column).to_pylist())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0.0] * 10] * 4


def test_many_threads_give_the_labels_of_one(labels, connection):
    rows = tokens(*["ab cd"[: 1 + r % 5] for r in range(10_000)])
    table = symbols(rows)
    chunked = pa.concat_tables([table.slice(i, 2000) for i in range(0, len(table), 2000)])
    found = []
    for threads in (1, 4):
        connection.execute(f"SET threads = {threads}")
        connection.execute(f"SET GLOBAL preserve_insertion_order = {threads == 1}")
        bound = labels(vowels, at_word_start, seen_before, is_letter, "record % 7")
        found.append(bound.evaluate(chunked))
    connection.execute("SET GLOBAL preserve_insertion_order = true")
    np.testing.assert_array_equal(found[0].values, found[1].values)
    np.testing.assert_array_equal(found[0].values[:, -1], [r["record"] % 7 for r in rows])


def of_word(body: str, result: str = "bool", parameters: str = "word: str") -> Hypothesis:
    names: dict[str, Any] = {"Literal": Literal}
    exec(f"def broken({parameters}) -> {result}:\n    {body}", names)
    return hypothesis(names["broken"])


ROWS = [
    {"record": 3, "symbol": "a", "word": "fine", "text": "fine"},
    {"record": 7, "symbol": "b", "word": "bad", "text": "bad", "start": 0},
    {"record": 7, "symbol": "c", "word": "bad", "text": "bad", "start": 1},
]
PLACE = "It is defined at an unknown place."
PROMISE = "Make the function return what its annotation says."


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            of_word("return word != 'bad' or 1 / 0"),
            f"hypothesis 'broken' raised ZeroDivisionError: division by zero at record 7 (word='bad'). {PLACE}",
        ),
        (
            of_word("return word.index('f') >= 0", parameters="word: str, position: int"),
            "hypothesis 'broken' raised ValueError: substring not found at record 7 (word='bad', position=0). " + PLACE,
        ),
        (
            of_word("return 1 if word == 'bad' else True"),
            f"hypothesis 'broken' returned 1 (int), expected True, False or None at record 7. {PROMISE}",
        ),
        (
            of_word("return 'bad' if word == 'bad' else 1", "float"),
            f"hypothesis 'broken' returned 'bad' (str), expected a number or None at record 7. {PROMISE}",
        ),
        (
            of_word("return word", "Literal['fine', 'good']"),
            "hypothesis 'broken' returned 'bad', which is not among its values fine, good at record 7. "
            "Add it to the values that the hypothesis declares.",
        ),
        (
            of_word("return [t != 'b' or 1 / 0 for t in token]", "list[bool]", "token: list[str], text: str"),
            "hypothesis 'broken' raised ZeroDivisionError: division by zero at record 7 "
            f"(token=['b', 'c'], text='bad'). {PLACE}",
        ),
        (
            of_word("return [True]", "list[bool]", "token: list[str]"),
            "hypothesis 'broken' returned 1 values for 2 symbols at record 7. Return exactly one value per symbol.",
        ),
        (
            of_word("return len(token) < 2 or [1]", "list[bool]", "token: list[str]"),
            "hypothesis 'broken' returned True (bool) instead of a list at record 3. "
            "A hypothesis that takes a whole record returns a list with one value per symbol.",
        ),
        (
            of_word("return [True] * 7", "list[bool]", "text: str"),
            "hypothesis 'broken' returned 7 values for 1 symbols at record 3. "
            "Return one value per symbol, or one per character of the text.",
        ),
        (
            of_word("raise SystemExit('no')"),
            f"hypothesis 'broken' raised SystemExit: no at record 3 (word='fine'). {PLACE}",
        ),
    ],
)
def test_what_a_function_does_wrong_is_said_with_its_record(refused, function, message):
    assert refused(ROWS, "position > 0", vowels, function) == message


def test_long_values_are_cut_in_the_error(refused):
    rows = [{"record": 0, "symbol": "x", "word": "x" * 100}]
    assert refused(rows, of_word("raise ValueError")) == (
        f"hypothesis 'broken' raised ValueError:  at record 0 (word='{'x' * 56}...). {PLACE}".replace("  ", " ")
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("word::INTEGER > 1", "cannot evaluate 'word::INTEGER > 1': Conversion Error: Could not convert string 'fine' "
            "to INT32 when casting from source column word"),
        ("unnest([position, 1])", "'unnest([position, 1])' gives 6 values for 3 symbols. "
            "A hypothesis has one value per symbol: do not unnest lists in it."),
    ],
)  # fmt: skip
def test_an_expression_that_fails_on_the_data_is_named(refused, sql, message):
    assert refused(ROWS, sql) == message


def test_a_function_that_fails_inside_sql_is_named(refused):
    register = of_word("return word != 'bad' or 1 / 0")
    assert "hypothesis 'broken' raised ZeroDivisionError" in refused(ROWS, register, "broken(word) AND position = 0")


def test_an_error_that_speaks_of_interruption_is_no_interruption(refused):
    message = refused(ROWS, of_word("raise ValueError('interrupted by a comma')"))
    assert message == (
        f"hypothesis 'broken' raised ValueError: interrupted by a comma at record 3 (word='fine'). {PLACE}"
    )


def test_ctrl_c_inside_a_function_is_ctrl_c(labels):
    bound = labels(of_word("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        bound.evaluate(symbols(ROWS))


def test_after_an_error_the_labels_can_be_evaluated_again(labels):
    calls = []

    @hypothesis
    def moody(word: str) -> bool:
        calls.append(word)
        return len(calls) > 2 or 1 / 0 > 1

    bound = labels(moody)
    with pytest.raises(HypothesisError):
        bound.evaluate(symbols(ROWS))
    assert by_name(bound.labels, bound.evaluate(symbols(ROWS))) == {"moody": [1, 1, 1]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["length"], "hypothesis 'length' cannot be registered: DuckDB has a function of that name. "
            "Call it something else."),
        (["Upper"], "hypothesis 'Upper' cannot be registered: DuckDB has a function of that name. "
            "Call it something else."),
        (["is_noun", "Is_Noun"], "hypothesis 'is_noun' cannot be registered: there is already 'Is_Noun', and SQL does "
            "not tell them apart. Call it something else."),
    ],
)  # fmt: skip
def test_a_name_that_sql_already_has_is_refused_and_nothing_is_changed(connection, names, message):
    functions = [hypothesis(vowels.function, name=name) for name in ("kept", *names)]
    with pytest.raises(HypothesisError) as error:
        register_functions(connection, functions)
    assert str(error.value) == message
    assert connection.sql("SELECT length('abc'), upper('a')").fetchall() == [(3, "A")]
    assert connection.sql("SELECT count(*) FROM duckdb_functions() WHERE function_name = 'kept'").fetchall() == [(0,)]


def test_a_name_that_differs_by_case_from_one_of_before_is_refused(connection):
    register_functions(connection, [hypothesis(vowels.function, name="Is_Verb")])
    with pytest.raises(HypothesisError) as error:
        register_functions(connection, [hypothesis(vowels.function, name="is_verb")])
    assert str(error.value) == (
        "hypothesis 'is_verb' cannot be registered: there is already 'Is_Verb', and SQL does not tell them apart. "
        "Call it something else."
    )


def test_a_function_takes_the_place_of_an_older_one_of_its_name(connection):
    for result in (1, 2):
        register_functions(connection, [hypothesis(lambda word, r=result: r, name="is_it mine?", kind="number")])
        assert connection.sql("""SELECT "is_it mine?"('x')""").fetchall() == [(result,)]


def test_the_whole_library_can_be_called_in_sql(connection):
    register_functions(connection, list(library().values()))
    names = ", ".join(f"'{n}'" for n in library())
    found = connection.sql(f"SELECT count(*) FROM duckdb_functions() WHERE function_name IN ({names})")
    assert found.fetchall() == [(len(library()),)]
