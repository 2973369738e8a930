"""Records come in a random order, each once, in blocks of a bounded size, whatever the table and the filter."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import duckdb
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.errors import DatasetError
from deepbase.inputs import stream
from deepbase.inputs.order import permuted
from deepbase.inputs.stream import Records, records

SHORT = 2**24
"""Of so many hypotheses, a block of 2 characters has as many labels as are wanted in one."""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as found:
        yield found


def table(connection: duckdb.DuckDBPyConnection, size: int, text: str = "'x'", columns: str = "record % 10 AS digit"):
    connection.execute("DROP TABLE IF EXISTS data")
    connection.execute(f"CREATE TABLE data AS SELECT record, {text} AS text, {columns} FROM range({size}) r(record)")
    return "data"


def read(plan: Records, connection: duckdb.DuckDBPyConnection, first: int = 0) -> list[list[int]]:
    """The records of each block."""
    chunks = [plan.read(connection, chunk) for chunk in plan.chunks(first)]
    return [block["record"].to_pylist() for chunk in chunks for block in chunk]


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 5000) | st.sampled_from([2**k + d for k in range(1, 17) for d in (-1, 0, 1)]),
    seed=st.integers(0),
)
def test_the_order_is_a_permutation(size, seed):
    found = permuted(np.arange(size), size, seed)
    assert sorted(found.tolist()) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 2**40), seed=st.integers(0, 10), places=st.lists(st.integers(0), min_size=1, max_size=9))
def test_any_place_of_the_order_can_be_looked_up_by_itself(size, seed, places):
    wanted = np.array([p % size for p in places])
    found = permuted(wanted, size, seed)
    assert found.tolist() == [int(permuted(np.array([p]), size, seed)[0]) for p in wanted]
    assert ((found >= 0) & (found < size)).all()
    assert len(set(found.tolist())) == len(set(wanted.tolist()))
    assert wanted.tolist() == [p % size for p in places], "the argument is left as it was"


@pytest.mark.parametrize("size", [2, 3, 5, 16, 17])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_every_record_is_as_likely_to_come_first_second_or_last(size, place):
    counts = np.zeros(size)
    for seed in range(1500):
        counts[permuted(np.array([place % size]), size, seed)[0]] += 1
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_every_pair_of_records_is_as_likely_to_come_first():
    counts = np.zeros((6, 6))
    for seed in range(6000):
        counts[tuple(permuted(np.array([0, 1]), 6, seed))] += 1
    assert scipy.stats.chisquare(counts[~np.eye(6, dtype=bool)]).pvalue > 1e-4


def test_neighbours_are_torn_apart():
    for seed in range(20):
        order = permuted(np.arange(1000), 1000, seed)
        assert abs(np.abs(np.diff(order)).mean() - 1000 / 3) < 40
        assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.15


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 400),
    where=st.sampled_from(["", "digit = 3", "digit < 8 OR record = 0", "record = 0", "text = 'x' -- all"]),
    hypotheses=st.sampled_from([1, SHORT, 2**21]),
    seed=st.integers(0, 5),
    start=st.integers(0, 3),
    growing=st.booleans(),
)
def test_every_record_that_passes_is_read_once(size, where, hypotheses, seed, start, growing):
    with duckdb.connect() as connection:
        table(connection, size)
        passing = connection.sql(f"SELECT record FROM data WHERE {where or 'true'}\n").fetchall()
        if not passing:
            return
        plan = records(connection, "data", where=where, hypotheses=hypotheses, seed=seed, first=0 if growing else None)
        blocks = read(plan, connection)
        assert sorted(itertools.chain(*blocks)) == [r[0] for r in passing]
        assert len(blocks) == plan.blocks
        assert plan.expected == len(passing)
        assert read(plan, connection, min(start, plan.blocks)) == blocks[start:], "a run may begin anywhere"


def test_blocks_are_bounded_in_records_characters_and_labels(connection):
    table(connection, 5000)
    assert max(map(len, read(records(connection, "data"), connection))) == 1024
    assert max(map(len, read(records(connection, "data", hypotheses=2**20), connection))) == 32
    table(connection, 100, text="repeat('x', 13107)")
    assert {len(b) for b in read(records(connection, "data"), connection)} == {10}
    table(connection, 3, text="repeat('x', 200000)")
    assert [len(b) for b in read(records(connection, "data"), connection)] == [1, 1, 1]


def ends(plan: Records) -> list[int]:
    return [plan.bounds(block)[1] for block in range(plan.blocks)]


def test_the_blocks_of_a_run_that_may_stop_grow_until_they_have_their_size(connection):
    table(connection, 5000)
    plan = records(connection, "data", first=0)
    assert ends(plan) == [128, 256, 384, 576, 896, 1344, 2048, 3072, 4096, 5000]
    assert list(map(len, read(plan, connection))) == np.diff([0, *ends(plan)]).tolist()
    assert ends(records(connection, "data")) == [1024, 2048, 3072, 4096, 5000]
    assert ends(records(connection, "data", first=0, hypotheses=2**17))[:6] == [128, 256, 384, 576, 832, 1088]
    small = [ends(records(connection, "data", first=first, hypotheses=2**20)) for first in (None, 0)]
    assert small[0][:-2] == small[1][:-1] == list(range(32, 4970, 32)), "blocks that are small anyway need not grow"


@pytest.mark.parametrize(
    ("size", "last"),
    [(1, [0, 1]), (127, [0, 127]), (170, [0, 170]), (171, [0, 128, 171]), (298, [128, 298]),
     (2001, [896, 1344, 1664, 1856, 2001]), (2282, [1792, 2048, 2176, 2282]), (3072, [2048, 2560, 2816, 2944, 3072]),
     (5000, [1344, 2048, 3072, 4096, 5000]), (5120 + 300, [4096, 5420]), (5120 + 400, [4096, 5120, 5520])],
)  # fmt: skip
def test_a_small_rest_joins_the_last_growing_block(connection, size, last):
    table(connection, size)
    assert [0, *ends(records(connection, "data", first=0))][-len(last) :] == last


@settings(max_examples=300, deadline=None)
@given(
    total=st.integers(1, 10**5) | st.integers(1, 10**12),
    share=st.floats(0, 1),
    size=st.integers(1, 1024),
    growing=st.booleans(),
    ahead=st.integers(1, 2**19),
)
def test_blocks_and_chunks_lie_end_to_end_and_are_found_again(total, share, size, growing, ahead):
    matching = max(int(total * share), 1)
    starts, span, blocks = stream._schedule(size, total, matching, 128 * growing)
    plan = Records("", (), (), 1, "", total, matching, matching, starts, span, blocks, ahead, ahead, 20.0, 0)
    some = range(min(blocks, 30))
    bounds = [plan.bounds(block) for block in some]
    assert bounds[0][0] == 0
    assert plan.bounds(blocks - 1)[1] == total
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
    assert all(a < b for a, b in bounds)
    assert max(b - a for a, b in bounds) <= stream.READ_PLACES * 4 / 3
    assert (max(b - a for a, b in bounds) - 1) * matching / total < size * 4 / 3 + 1
    for block, (a, b) in zip(some, bounds, strict=True):
        assert (plan._ended(a), plan._ended(b - 1), plan._ended(b)) == (block, block, block + 1)
    for first in range(0, len(some), 7):
        chunks = list(itertools.islice(plan.chunks(first), 5))
        assert chunks[0].start == first
        assert all(a.stop == b.start for a, b in itertools.pairwise(chunks))
        assert all(chunk and chunk.stop <= blocks for chunk in chunks)
        assert len(chunks) == 5 or chunks[-1].stop == blocks
        for chunk in chunks:
            begin, end = plan.bounds(chunk.start)[0], plan.bounds(chunk.stop - 1)[1]
            if len(chunk) > 1 and chunk.stop < blocks:
                assert end <= stream.READ_GROWTH * begin
                assert end - begin <= ahead


def test_a_run_that_stops_early_has_not_read_much_more_than_it_needed(connection):
    table(connection, 100_000)
    plan = records(connection, "data", first=0)
    read_before = [plan.bounds(chunk.start)[0] for chunk in plan.chunks(0)]
    assert read_before[:4] == [0, 128, 384, 1344]
    assert len(read_before) < 10, "and one that does not stop reads in few queries"


def test_a_filter_makes_growing_blocks_wider(connection):
    table(connection, 20_000)
    plan = records(connection, "data", where="digit = 7", first=0)
    assert ends(plan)[:3] == [1280, 2560, 3840]
    assert all(80 < n < 180 for n in map(len, read(plan, connection)[:3]))


def test_blocks_stay_full_when_few_records_pass(connection):
    table(connection, 20_000)
    blocks = read(records(connection, "data", where="digit = 7"), connection)
    assert len(blocks) == 2
    assert min(map(len, blocks)) > 700


def test_a_limit_is_no_matter_of_the_order(connection):
    table(connection, 3000)
    plans = [records(connection, "data", limit=limit, seed=4) for limit in (None, 10, 100_000)]
    assert [p.expected for p in plans] == [3000, 10, 3000]
    every, few, more = (read(plan, connection) for plan in plans)
    assert every == more
    assert few == [every[0][:10]], "nothing is read beyond the limit"


def test_another_seed_is_another_order_and_another_first_block(connection):
    table(connection, 3000)
    firsts = [read(records(connection, "data", seed=seed), connection)[0] for seed in (0, 0, 1)]
    assert firsts[0] == firsts[1] != firsts[2]
    assert len(set(firsts[0]) & set(firsts[2])) < 1.2 * 1024**2 / 3000


def test_the_order_does_not_depend_on_the_number_of_hypotheses(connection):
    table(connection, 300)
    orders = [
        list(itertools.chain(*read(records(connection, "data", hypotheses=n), connection))) for n in (1, 2**21, SHORT)
    ]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize("name", ["place", "deepbase", "order", 'quo"ted', "t", "block_order", "Größe"])
def test_a_column_may_have_any_name(connection, name):
    quoted = '"' + name.replace('"', '""') + '"'
    table(connection, 20, columns=f"record % 3 AS {quoted}")
    plan = records(connection, "data", columns=[name], where=f"{quoted} = 1")
    found = plan.read(connection, range(plan.blocks))[0]
    assert found.column_names == ["record", "text", name]
    assert set(found[name].to_pylist()) == {1}


def test_only_the_columns_that_are_wanted_are_read(connection):
    table(connection, 20, columns="1 AS a, 2 AS b, ['x'] AS word, [0] AS word_start, [1] AS word_end")
    plan = records(connection, "data", columns=["b"], where="a = 1")
    found = plan.read(connection, range(plan.blocks))[0]
    assert found.column_names == ["record", "text", "b", "word", "word_start", "word_end"]


def test_reading_leaves_nothing_behind(connection):
    table(connection, 20)
    plan = records(connection, "data")
    before = connection.sql("SELECT table_name FROM information_schema.tables").fetchall()
    read(plan, connection)
    connection.execute("ALTER TABLE data RENAME TO gone")
    with pytest.raises(duckdb.Error):
        plan.read(connection, range(1))
    connection.execute("ALTER TABLE gone RENAME TO data")
    assert connection.sql("SELECT table_name FROM information_schema.tables").fetchall() == before


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("digit = 11", "no record passes the filter 'digit = 11'. Widen it."),
        ("digits = 1", "cannot filter records by 'digits = 1': Binder Error: Referenced column \"digits\" not found in "
            "FROM clause! The columns are: record, text, digit."),
        ("digit = = 1", "cannot filter records by 'digit = = 1': Parser Error: syntax error at or near \"=\". "
            "The columns are: record, text, digit."),
        ("text::INTEGER = 1", "cannot filter records by 'text::INTEGER = 1': Conversion Error: Could not convert "
            "string 'x' to INT32 when casting from source column text. The columns are: record, text, digit."),
        ("count(*) > 1", "cannot filter records by 'count(*) > 1': Binder Error: WHERE clause cannot contain "
            "aggregates! The columns are: record, text, digit."),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused(connection, where, message):
    table(connection, 20)
    with pytest.raises(DatasetError) as error:
        records(connection, "data", where=where)
    assert str(error.value) == message


@pytest.mark.parametrize("where", ["", "record = 2999999"])
def test_reading_takes_memory_for_some_blocks_and_not_for_all_records(connection, where):
    table(connection, 3_000_000)
    plan = records(connection, "data", where=where)
    tracemalloc.start()
    try:
        found = 0
        for chunk in itertools.islice(plan.chunks(0), None if where else 5):
            found += sum(len(block) for block in plan.read(connection, chunk))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 1 if where else found > 100_000
    assert peak < 60e6, "all numbers of records, and their places, would take 200 MB"
