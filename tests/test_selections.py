"""Records that were chosen by a query: stored once, whatever their order, and refused where they are ambiguous."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

import deepbase
from deepbase import selections
from deepbase.errors import QueryError


@pytest.fixture
def add(tmp_path):
    """`add(rows)`: the id of a selection of (record, groups)."""
    with deepbase.connect(tmp_path / "x.duckdb") as db:

        def run(rows, table=True):
            records, groups = zip(*rows, strict=True) if rows else ((), ())
            found = pa.table(
                {"groups": pa.array(groups, pa.list_(pa.string())), "record": pa.array(records, pa.int64())}
            )
            with db.store.transaction() as cursor:
                return selections.add(cursor, found if table else found.to_reader(max_chunksize=2))

        run.db = db
        yield run


def test_the_same_content_is_stored_once(add):
    rows = [(3, ["a"]), (1, [None]), (2, ["b"])]
    first = add(rows)
    assert add(rows[::-1], table=False) == first
    others = [
        add(r) for r in (rows[:2], [(3, ["a"]), (1, ["NULL"]), (2, ["b"])], [(3, ["b"]), (1, [None]), (2, ["a"])])
    ]
    assert len({first, *others}) == 4
    stored = add.db.sql(f"SELECT record, groups FROM selections WHERE selection = '{first}' ORDER BY record").fetchall()
    assert stored == [(1, [None]), (2, ["b"]), (3, ["a"])]
    assert add.db.sql("SELECT count(*) FROM selections").fetchall() == [(11,)]


def test_values_that_run_together_are_told_apart(add):
    assert len({add([(1, groups)]) for groups in (["a", "b"], ["a,b"], ["a, b"], ["a', 'b"], ['a","b'], [])}) == 6
    assert add([(1, None)]) == add([(1, [])])
    assert add([]) == add([])


def test_a_record_that_is_selected_twice_is_refused_and_leaves_nothing(add):
    with pytest.raises(QueryError) as error:
        add([(4, ["a"]), (7, ["b"]), (7, ["c"])])
    assert str(error.value) == (
        "record 7 is selected 2 times, so that it has no one group. Select each record once: make what it is joined "
        "with unique, or aggregate it."
    )
    with pytest.raises(QueryError, match="a selected record is NULL"):
        add([(None, [])])
    assert add.db.sql("SELECT count(*) FROM selections").fetchall() == [(0,)]
    assert add([(4, ["a"])])


def test_what_no_run_names_is_removed(add):
    kept, other = add([(1, [])]), add([(2, [])])
    with add.db.store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO runs SELECT 1, now()::TIMESTAMP, NULL, 'done', ?, 0, 0, NULL, 0, '{}', 0, '{}', 'x:1:1'",
            [f'{{"selection": "{kept}"}}'],
        )
        selections.remove_unused(cursor)
    assert add.db.sql("SELECT selection FROM selections").fetchall() == [(kept,)] != [(other,)]
    add.db.remove("run", 1)
    assert add.db.sql("SELECT count(*) FROM selections").fetchall() == [(0,)]


def test_a_selection_is_read_by_any_client(add, tmp_path):
    add([(1, ["a"])])
    add.db.close()
    with duckdb.connect(str(tmp_path / "x.duckdb"), read_only=True) as plain:
        assert plain.execute("SELECT record, groups FROM selections").fetchall() == [(1, ["a"])]
