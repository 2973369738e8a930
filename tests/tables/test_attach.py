"""The virtual tables of connections: every thread's, after changes, in files that are opened again or by others."""

from __future__ import annotations

import gc
import threading

import duckdb
import pyarrow as pa
import pytest

import deepbase
from deepbase.errors import CatalogError

UNIT = "unit_activations('net', 'lines', 'mix', 0)"


@pytest.fixture
def path(tmp_path, model_file, text_file):
    """A file with a model and a dataset that can be loaded again."""
    path = tmp_path / "study.duckdb"
    with deepbase.connect(path) as db:
        db.register_model("net", f"{model_file}:net")
        db.register_dataset("lines", text_file)
        db.sql(f"CREATE VIEW high AS SELECT record, value FROM {UNIT} WHERE value > 0")
        db.sql("CREATE VIEW shown AS FROM symbols('lines', 'net')")
        db.sql("CREATE MACRO one(i) AS TABLE FROM unit_activations('net', 'lines', 'mix', i)")
    return path


def test_views_and_macros_over_virtual_tables_are_there_again(path):
    with deepbase.connect(path) as db:
        expected = [r for r in db.sql(f"SELECT record, value FROM {UNIT}").fetchall() if r[1] > 0]
        assert db.sql("FROM high").fetchall() == expected
        assert (
            db.sql("FROM shown WHERE record = 4").fetchall()
            == db.sql("FROM symbols('lines', 'net') WHERE record = 4").fetchall()
        )
        assert db.sql("FROM one(0)").fetchall() == db.sql(f"FROM {UNIT}").fetchall()


def test_a_file_that_is_read_only_has_them(path):
    with deepbase.connect(path, read_only=True) as db:
        assert db.sql(f"SELECT count(*) FROM {UNIT}").fetchall()[0][0] > 0
        assert db.sql("SELECT count(*) FROM hypothesis_values('lines', 'net', 'is_vowel')").fetchall()[0][0] > 0


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("symbols('lines', 'net')", 9),
        ("activations('net', 'lines', at := 'word')", 5),
        ("unit_activations('net', 'lines', 'mix', 0)", 4),
        ("hypothesis_values('lines', 'net', 'is_vowel')", 4),
        ("contexts('lines', 'net')", 3),
        ("high", 2),
    ],
)
def test_duckdb_alone_says_politely_what_is_missing(path, table, columns):
    with duckdb.connect(str(path)) as plain:
        assert len(plain.execute(f"DESCRIBE FROM {table}").fetchall()) == columns
        for query in (f"FROM {table}", f"FROM {table} WHERE record = 1", f"SELECT count(*) FROM {table}"):
            with pytest.raises(duckdb.InvalidInputException, match=r"open this file with deepbase\.connect"):
                plain.execute(query).fetchall()
        assert plain.execute("SELECT unit([1, 2], 1), dot([1, 2], [3, 4])").fetchall() == [(2, 11.0)]
        assert plain.execute("SELECT count(*) FROM models").fetchall() == [(1,)]


def test_duckdb_alone_shows_what_the_functions_are_for(path):
    with duckdb.connect(str(path)) as plain:
        found = plain.execute(
            "SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal AND schema_name = 'main'"
        ).fetchall()
    assert all(comment for name, comment in found if name != "one")
    assert {"symbols", "activations", "unit", "dot", "cosine", "top_units", "context"} <= {name for name, _ in found}


def test_datasets_that_come_or_change_are_seen_at_once(few):
    db = few.db
    assert "label" not in db.sql("FROM symbols('d', 'm')").columns
    db.register_dataset("late", pa.table({"text": ["one", "two"], "label": [1, 2]}))
    assert db.sql("SELECT DISTINCT label FROM symbols('late', 'm') ORDER BY 1").fetchall() == [(1,), (2,)]
    db.register_dataset("late", pa.table({"text": ["one", "two"], "grade": ["a", "b"]}), replace=True)
    assert db.sql("SELECT DISTINCT grade FROM symbols('late', 'm') ORDER BY 1").fetchall() == [("a",), ("b",)]
    db.remove("dataset", "late")
    with pytest.raises(CatalogError, match="there is no dataset 'late'"):
        db.sql("FROM symbols('late', 'm')").fetchall()


def test_a_transaction_that_is_rolled_back_takes_nothing_along(few):
    few.db.sql("BEGIN")
    few.db.sql("CREATE TABLE mine (i INTEGER)")
    other = threading.Thread(target=lambda: few.db.register_dataset("late", ["one"]))
    other.start()
    other.join()
    few.db.sql("ROLLBACK")
    few.db.sql("BEGIN")
    assert few.db.sql("SELECT count(*) FROM symbols('late', 'm')").fetchall() == [(3,)]
    few.db.sql("ROLLBACK")
    assert few.db.sql("SELECT count(*) FROM symbols('late', 'm')").fetchall() == [(3,)]


@pytest.mark.parametrize("in_memory", [True, False])
def test_every_thread_has_them(make, tmp_path, in_memory):
    some = make(50, None if in_memory else tmp_path / "study.duckdb")
    query = "SELECT count(*), sum(value) FROM unit_activations('m', 'd', 'low', 0)"
    found = [some.db.sql(query).fetchall()]
    errors = []

    def ask():
        try:
            found.append(some.db.sql(query).fetchall())
            found.append(some.db.sql("SELECT count(*), 0 FROM symbols('d', 'm')").fetchall())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {rows[0][0] for rows in found} == {sum(len(r["text"]) for r in some.records)}


@pytest.mark.parametrize(
    "name", ["with space", "dots.and-dashes:1", "ümläut", "select", "d;e", "a`b", "symbols", "x" * 200]
)
def test_odd_names(few, name):
    few.db.register_dataset(name, [{"text": "a b", "odd": 1}])
    few.db.register_model(name, few.db._models.get("m")[1]._model)
    assert few.db.sql("SELECT symbol, odd FROM symbols(?, ?)", [name, name]).fetchall() == [
        ("a", 1),
        (" ", 1),
        ("b", 1),
    ]
    assert len(few.db.sql("FROM unit_activations(?, ?, 'low', 0)", [name, name]).fetchall()) == 3


def test_odd_columns(few):
    columns = {
        "my col": 1,
        "a.b": 2,
        "model": "x",
        "layer": "y",
        "value": 3,
        'quo"te': 4,
        "ümläut": 5,
        "unit": 6,
        "at": 7,
    }
    few.db.register_dataset("odd", [{"text": "ab", **columns}, {"text": "c", **dict.fromkeys(columns)}])
    for column, value in columns.items():
        name = '"' + column.replace('"', '""') + '"'
        found = few.db.sql(f"SELECT record, {name} FROM symbols('odd', 'm') WHERE {name} = ?", [value]).fetchall()
        assert found == [(0, value), (0, value)], column
        assert few.db.sql(f"SELECT symbol FROM symbols('odd', 'm') WHERE {name} IS NULL").fetchall() == [("c",)]
        assert len(few.db.sql("FROM hypothesis_values('odd', 'm', ?)", [f"{name} IS NULL"]).fetchall()) == 3


def test_a_dataset_without_symbols_gives_no_rows(few):
    few.db.register_dataset("blank", ["", ""])
    for table in ("symbols('blank', 'm')", "activations('m', 'blank')", "unit_activations('m', 'blank', 'low', 0)"):
        assert few.db.sql(f"FROM {table}").fetchall() == []
    assert few.db.sql("FROM hypothesis_values('blank', 'm', 'is_vowel')").fetchall() == []


def test_a_model_is_loaded_by_the_first_scan(path):
    with deepbase.connect(path) as db:
        assert len(db.sql(f"FROM {UNIT} LIMIT 3").fetchall()) == 3
        with db.sql("FROM models").to_arrow_reader() as reader:  # an open result is no hindrance for what follows it
            assert len(reader.read_all()) == 1


def test_what_is_in_the_way_of_a_name_is_the_users_own(few):
    few.db.sql("CREATE TABLE symbols AS SELECT 1 AS mine")
    assert few.db.sql("SELECT mine FROM symbols").fetchall() == [(1,)]
    assert few.db.sql("SELECT count(*) FROM symbols('d', 'm')").fetchall()[0][0] > 0


def test_a_database_that_nobody_has_any_more_is_closed(few, tmp_path):
    path = tmp_path / "study.duckdb"
    model, texts = few.db._models.get("m")[1]._model, ["ab", "c"]

    def begun():
        db = deepbase.connect(path)
        db.register_model("m", model)
        db.register_dataset("d", texts)
        return db.sql("FROM unit_activations('m', 'd', 'low', 0)").order("symbol")

    relation = begun()
    gc.collect()
    assert [r[2] for r in relation.fetchall()] == ["a", "b", "c"]
    del relation
    gc.collect()
    with duckdb.connect(str(path), config={"threads": 1}) as plain:
        assert plain.execute("SELECT model FROM models").fetchall() == [("m",)]
