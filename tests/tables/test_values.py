"""What the virtual tables show."""

from __future__ import annotations

import numpy as np
import pytest

from deepbase.errors import CatalogError, HypothesisError, ModelError, QueryError


def test_unit_activations_are_those_of_a_forward_by_hand(few):
    found = few.db.sql("FROM unit_activations('m', 'd', 'high', 2)")
    assert found.columns == ["record", "position", "symbol", "value"]
    assert [str(t) for t in found.types] == ["BIGINT", "INTEGER", "VARCHAR", "FLOAT"]
    expected = few.rows("high", 2)
    rows = found.fetchall()
    assert [r[:3] for r in rows] == [r[:3] for r in expected]
    np.testing.assert_allclose([r[3] for r in rows], [r[3] for r in expected], rtol=1e-5, atol=1e-6)


def test_many_blocks_come_in_the_order_of_the_records(make):
    many = make(3000)
    rows = many.db.sql("FROM unit_activations('m', 'd', 'low', 0)").fetchall()
    expected = many.rows("low", 0)
    assert [r[:3] for r in rows] == [r[:3] for r in expected]
    np.testing.assert_allclose([r[3] for r in rows], [r[3] for r in expected], rtol=1e-5, atol=1e-6)
    assert many.work.sequences == 3000


def test_activations_hold_every_layer_at_every_symbol(make):
    some = make(80)
    found = some.db.sql("FROM activations('m', 'd')")
    assert found.columns == ["record", "position", "symbol", "layer", "activation"]
    assert str(found.types[-1]) == "FLOAT[]"
    rows = found.fetchall()
    assert len(rows) == 3 * sum(len(r["text"]) for r in some.records)
    for record, position, symbol, layer, activation in rows:
        text = some.records[record]["text"]
        assert symbol == text[position]
        np.testing.assert_allclose(activation, some.value(layer, text)[position], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at", ["word", "record"])
def test_larger_symbols_have_the_mean_over_their_tokens(few, at):
    unit = few.db.sql(f"FROM unit_activations('m', 'd', 'high', 1, at := '{at}')").fetchall()
    every = few.db.sql(f"FROM activations('m', 'd', at := '{at}') WHERE layer = 'high' ORDER BY record, position")
    expected = []
    for record, row in enumerate(few.records):
        values, text = few.value("high", row["text"]), row["text"]
        start = 0
        for position, word in enumerate(row["words"] if at == "word" else [text]):
            expected.append((record, position, word, values[start : start + len(word)].mean(0)))
            start += len(word) + 1
    assert [r[:3] for r in unit] == [e[:3] for e in expected]
    np.testing.assert_allclose([r[3] for r in unit], [e[3][1] for e in expected], rtol=1e-4, atol=1e-6)
    found = every.fetchall()
    np.testing.assert_allclose([r[4] for r in found], [e[3] for e in expected], rtol=1e-4, atol=1e-5)


def test_symbols_have_the_columns_of_their_dataset(few):
    rows = few.db.sql("FROM symbols('d', 'm', at := 'word')")
    assert rows.columns[:9] == ["record", "position", "symbol", "token", "start", "end", "word", "word_index", "text"]
    assert rows.columns[9:] == ["upos", "good", "size"]
    expected = [
        (i, k, w, r["text"], r["upos"][k], r["good"], r["size"])
        for i, r in enumerate(few.records)
        for k, w in enumerate(r["words"])
    ]
    assert rows.project("record, position, word, text, upos, good, size").fetchall() == expected
    tokens = few.db.sql("SELECT record, position, symbol, start, \"end\" FROM symbols('d', 'm')").fetchall()
    assert tokens == [(i, k, c, k, k + 1) for i, r in enumerate(few.records) for k, c in enumerate(r["text"])]


def test_a_column_of_words_is_null_where_records_are_the_symbols(few):
    rows = few.db.sql("SELECT symbol, upos, size FROM symbols('d', 'm', at := 'record')").fetchall()
    assert rows == [(r["text"], None, r["size"]) for r in few.records]


def test_one_column_of_symbols_is_the_same_alone_and_among_all(few):
    for at in ("token", "word", "record"):
        every = few.db.sql(f"FROM symbols('d', 'm', at := '{at}')")
        table = every.to_arrow_table()
        for column in every.columns:
            alone = few.db.sql(f"SELECT \"{column}\" FROM symbols('d', 'm', at := '{at}')").to_arrow_table()
            assert alone.column(0).to_pylist() == table[column].to_pylist(), (at, column)


def is_long(word: str) -> bool:
    """The word has more than three letters."""
    return len(word) > 3


def test_values_of_hypotheses_of_every_sort(few):
    few.db.register_hypotheses([is_long])
    few.db.register_hypotheses("length(word) * 2", name="twice")
    words = [(w, t, r["size"]) for r in few.records for w, t in zip(r["words"], r["upos"], strict=True)]
    for name, value in {
        "is_long": lambda w, t, s: float(len(w) > 3),
        "twice": lambda w, t, s: 2.0 * len(w),
        "upos=NOUN": lambda w, t, s: float(t == "NOUN"),
        "size": lambda w, t, s: float(s),
        "word = 'cat'": lambda w, t, s: float(w == "cat"),
        "is_long(word) AND size > 2": lambda w, t, s: float(len(w) > 3 and s > 2),
        "is_stopword": None,
    }.items():
        rows = few.db.sql("FROM hypothesis_values('d', 'm', ?, at := 'word')", [name]).fetchall()
        assert [r[2] for r in rows] == [w for w, _, _ in words]
        if value is not None:
            assert [r[3] for r in rows] == [value(*x) for x in words], name


def test_a_hypothesis_without_a_value_is_null(few):
    rows = few.db.sql("SELECT symbol, value FROM hypothesis_values('d', 'm', 'upos=NOUN')").fetchall()
    assert all((value is None) == (symbol == " ") for symbol, value in rows)


def test_arguments_have_names_and_may_be_parameters(few):
    first = few.db.sql("FROM unit_activations('m', 'd', 'low', 3)").fetchall()
    named = "FROM unit_activations(unit := 3, layer := 'low', dataset := 'd', model := 'm', at := 'token')"
    assert few.db.sql(named).fetchall() == first
    given = few.db.sql("FROM unit_activations(?, ?, ?, ?) WHERE record < ?", ["m", "d", "low", 3, 2]).fetchall()
    assert [r[:3] for r in given] == [r[:3] for r in first if r[0] < 2]
    np.testing.assert_allclose([r[3] for r in given], [r[3] for r in first if r[0] < 2], rtol=1e-5)  # another batch
    few.db.sql("SET VARIABLE which = 'low'")
    assert few.db.sql("FROM unit_activations('m', 'd', getvariable('which'), 3)").fetchall() == first
    few.db.sql("PREPARE p AS FROM unit_activations('m', 'd', $1, 3)")
    assert few.db.sql("EXECUTE p('low')").fetchall() == first


def test_two_scans_in_one_query(make):
    some = make(100)
    a, b = some.rows("low", 0), some.rows("high", 1)
    joined = some.db.sql(
        "SELECT a.record, a.position, a.value, b.value FROM unit_activations('m', 'd', 'low', 0) a "
        "JOIN unit_activations('m', 'd', 'high', 1) b USING (record, position) ORDER BY ALL"
    ).fetchall()
    np.testing.assert_allclose(joined, [(*x[:2], x[3], y[3]) for x, y in zip(a, b, strict=True)], rtol=1e-4, atol=1e-5)
    union = "FROM unit_activations('m','d','low',0) UNION ALL FROM unit_activations('m','d','high',1)"
    assert some.db.sql(f"SELECT sum(value) FROM ({union})").fetchall()[0][0] == pytest.approx(
        sum(r[3] for r in a) + sum(r[3] for r in b), rel=1e-4
    )


def test_symbols_units_hypotheses_and_tables_of_the_user_join(few):
    few.db.sql("CREATE TABLE weights AS SELECT * FROM (VALUES ('NOUN', 2.0), ('VERB', 3.0)) t(upos, weight)")
    found = few.db.sql(
        """SELECT s.upos, sum(u.value * w.weight), sum(h.value) FROM symbols('d', 'm', at := 'word') s
        JOIN unit_activations('m', 'd', 'low', 0, at := 'word') u USING (record, position)
        JOIN hypothesis_values('d', 'm', 'upos=NOUN', at := 'word') h USING (record, position)
        JOIN weights w ON w.upos = s.upos GROUP BY ALL ORDER BY 1"""
    ).fetchall()
    expected = {"NOUN": [0.0, 0], "VERB": [0.0, 0]}
    values = few.db.sql("FROM unit_activations('m', 'd', 'low', 0, at := 'word')").fetchall()
    for record, position, _, value in values:
        tag = few.records[record]["upos"][position]
        if tag in expected:
            expected[tag][0] += value * {"NOUN": 2, "VERB": 3}[tag]
            expected[tag][1] += tag == "NOUN"
    assert [(t, pytest.approx(a, abs=1e-5), b) for t, (a, b) in sorted(expected.items()) if (a, b) != (0, 0)] == found


def test_a_table_is_made_of_a_scan(few):
    few.db.sql("CREATE TABLE kept AS FROM activations('m', 'd') WHERE layer = 'low'")
    assert few.db.sql("SELECT count(*) FROM kept").fetchall() == [(sum(len(r["text"]) for r in few.records),)]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ("symbols('dd', 'm')", CatalogError, "there is no dataset 'dd'. Did you mean 'd'?"),
        ("symbols('it''s \"odd\"', 'm')", CatalogError, "there is no dataset 'it's \"odd\"'. There are: d."),
        ("symbols('d', 'mm')", CatalogError, "there is no model 'mm'. Did you mean 'm'?"),
        ("activations('m', 'e')", CatalogError, "there is no dataset 'e'. There are: d."),
        ("activations('m', NULL)", CatalogError, "there is no dataset ''. There are: d."),
        ("unit_activations('m', 'd', 'hgh', 0)", ModelError, "there is no layer 'hgh'. Did you mean 'high'?"),
        ("unit_activations('m', 'd', 'high', 5)", QueryError, "layer 'high' has no unit 5. Its units are"),
        ("unit_activations('m', 'd', 'high', -1)", QueryError, "layer 'high' has no unit -1. Its units are"),
        ("activations('m', 'd', at := 'words')", QueryError, "at cannot be 'words'. Did you mean 'word'?"),
        (
            "hypothesis_values('d', 'm', 'upos')",
            HypothesisError,
            "'upos' means 3 hypotheses: 'upos=X', 'upos=NOUN', 'upos=DET'. Name one of them.",
        ),
        ("hypothesis_values('d', 'm', 'upas')", HypothesisError, "unknown hypothesis 'upas'."),
        (
            "(VALUES ('d')) t(name), activations('m', t.name)",
            QueryError,
            "activations needs constants as its arguments: model, dataset.",
        ),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_with_what_is(few, call, error, text):
    with pytest.raises(error) as raised:
        few.db.sql(f"FROM {call}").fetchall()
    assert str(raised.value).startswith(text)
    assert few.db.sql("SELECT 1").fetchall() == [(1,)]


def test_functions_over_activations(few):
    rows = few.db.sql(
        "SELECT activation, unit(activation, 2), dot(activation, [1, 0, 0, 0, 2]), cosine(activation, activation), "
        "top_units(activation, 2) FROM activations('m', 'd') WHERE layer = 'low'"
    ).fetchall()
    for activation, second, dot, cosine, top in rows:
        assert second == activation[2]
        assert dot == pytest.approx(activation[0] + 2 * activation[4], abs=1e-5)
        assert cosine == pytest.approx(1, abs=1e-5)
        order = sorted(range(5), key=lambda i, a=activation: -a[i])[:2]
        assert top == [{"unit": i, "value": activation[i]} for i in order]
    assert few.db.sql("SELECT unit([1.0, 2.0], 2), unit([1.0, 2.0], -1)").fetchall() == [(None, None)]


def test_the_context_of_a_symbol(few):
    text = few.records[3]["text"]
    rows = few.db.sql(
        "SELECT position, context FROM contexts('d', 'm', width := 1) WHERE record = 3 ORDER BY 1"
    ).fetchall()
    assert rows[1] == (1, f"{text[0]} [{text[1]}] {text[2]}")
    assert rows[-1] == (len(text) - 1, f"{text[-2]} [{text[-1]}]")
    inside = few.db.sql(
        "SELECT position, context(symbol, record, position, 1) AS c FROM symbols('d', 'm') WHERE record = 3 "
        "QUALIFY position = 1"
    ).fetchall()
    assert inside == [rows[1]]
    joined = few.db.sql(
        "SELECT value, context FROM unit_activations('m', 'd', 'low', 0) "
        "JOIN contexts('d', 'm') USING (record, position)"
    )
    assert len(joined) == sum(len(r["text"]) for r in few.records)


def test_no_function_of_ours_is_one_of_duckdb():
    import duckdb

    with duckdb.connect() as plain:
        names = {row[0] for row in plain.execute("SELECT function_name FROM duckdb_functions()").fetchall()}
    ours = {"unit", "dot", "cosine", "top_units", "context", "contexts", "symbols", "activations"}
    assert not names & (ours | {"unit_activations", "hypothesis_values", "deepbase_missing"})
