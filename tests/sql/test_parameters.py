"""Values for `?`, `$1` and `$name` go where DuckDB would put them, in its statements and in ours."""

from __future__ import annotations

import duckdb
import pytest

import deepbase
from deepbase.parameters import mentioned, named
from deepbase.query.source import Source


@pytest.fixture
def db(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write("words.csv", "words,n\na b,1\n")
    with deepbase.connect() as database:
        yield database


GIVEN = [
    ("SELECT ?", [1]),
    ("SELECT ?, ?", (1, "two; ?")),
    ("SELECT $2, $1, $2", [1, 2]),
    ("SELECT ?2, ?1", [1, 2]),
    ("SELECT $1, ?", [1, 2]),
    ("SELECT ?, $1, ?", [1, 2]),
    ("SELECT ?, $2, ?", [1, 2, 3]),
    ("SELECT ?, ?1", [1]),
    ("SELECT $a, $b, $a", {"a": 1, "b": None}),
    ("SELECT $A, $a", {"a": 1}),
    ("SELECT $é, $x1", {"é": 1, "x1": [1, 2]}),
    ("SELECT $1", {"1": 5}),
    ('SELECT \'?\', "?", $$ ? $1 $$, $1 /* ? */ -- $2\nFROM (SELECT 1 AS "?")', [1]),
    ("SELECT $1::INTEGER, ?::VARCHAR", ["1", 2]),
    ("SELECT [$1, 2][1:?]", [7, 1]),
    ("SELECT inspect FROM (SELECT ? AS inspect) WHERE inspect = $1", [4]),
]
REFUSED = [
    ("SELECT ?", None),
    ("SELECT ?", []),
    ("SELECT ?", [1, 2]),
    ("SELECT 1", [1]),
    ("SELECT $a, ?", [1, 2]),
    ("SELECT $a", {"b": 1}),
    ("SELECT $a", {"a": 1, "b": 2}),
    ("SELECT $a", [1]),
]


@pytest.mark.parametrize(("query", "given"), GIVEN)
@pytest.mark.parametrize("before", ["", "SELECT 1; ", "SHOW DATASETS; "])
def test_values_go_where_duckdb_puts_them(db, query, given, before):
    with duckdb.connect() as bare:
        expected = bare.sql(query, params=given).fetchall()
    assert db.sql(before + query, given).fetchall() == expected


@pytest.mark.parametrize(("query", "given"), REFUSED)
@pytest.mark.parametrize("before", ["", "SHOW DATASETS; "])
def test_what_duckdb_refuses_is_refused_in_its_words(db, query, given, before):
    with duckdb.connect() as bare, pytest.raises(duckdb.Error) as expected:
        bare.sql(query, params=given).fetchall()
    with pytest.raises(type(expected.value)) as found:
        db.sql(before + query, given).fetchall()
    assert str(found.value).split("\nLINE")[0] == str(expected.value).split("\nLINE")[0]


@pytest.mark.parametrize(
    ("rest", "given"),
    [
        ("FROM ? WITH (text = ?)", ["words.csv", "words"]),
        ("FROM $2 WITH (text = $1)", ["words", "words.csv"]),
        ("FROM ?2 WITH (text = ?1)", ["words", "words.csv"]),
        ("FROM $1 WITH (text = ?)", ["words.csv", "words"]),
        ("FROM $file WITH (text = $Column)", {"file": "words.csv", "column": "words"}),
        ("FROM 'words.csv' WITH (text = $1 || $2)", ["wor", "ds"]),
        ("FROM $1 WITH (text = 'wor' || coalesce(?, '?') /* ? */)", ["words.csv", "ds"]),
    ],
)
def test_our_statements_take_parameters(db, rest, given):
    told = []
    db.sql(f"SELECT 1; CREATE DATASET d {rest}", given, tell=told.append)
    assert told == ["registered dataset d: 1 records"]


def test_values_are_for_the_last_statement(db):
    with pytest.raises(duckdb.InvalidInputException, match="Values were not provided"):
        db.sql("CREATE DATASET d FROM ?; SELECT ?", ["words.csv"])
    with pytest.raises(duckdb.InvalidInputException, match="Values were not provided"):
        db.sql("SELECT ?; SELECT ?", [1])
    with pytest.raises(duckdb.InvalidInputException, match="Values were not provided"):
        db.sql("CREATE DATASET d FROM $a", {"b": 1})
    assert db.sql("SHOW DATASETS").fetchall() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?, ?, $1", "$p1, $p2, $p1"),
        ("$2, ?, ?1", "$p2, $p3, $p1"),
        ("$a, '?', `?`, \"$1\", -- ?\n?", "$a, '?', `?`, \"$1\", -- ?\n$p1"),
    ],
)
def test_every_parameter_gets_a_name(text, expected):
    assert named(Source.of(text), None)[0].text == expected


def test_a_part_gets_the_values_that_it_mentions():
    values = named(Source.of("?"), ["x", "y"])[1]
    assert mentioned("SELECT $p2", values) == {"p2": "y"}
    assert mentioned("SELECT '$p2'", values) is None
    assert mentioned("SELECT $NAME", {"name": 1, "other": 2}) == {"name": 1}
