"""However records are found, they are the same; samples of sorted files are random; little is read ahead."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from deepbase.errors import DatasetError
from deepbase.inputs import spool, stream
from deepbase.inputs.stream import Records, records

RECORDS = 20_000
WAYS = ("scans", "look-ups", "files", "all")


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A file that is sorted by its label and by the length of its texts."""
    with duckdb.connect() as found:
        found.execute(
            f"CREATE TABLE data AS SELECT record, repeat('x', (record // 1000)::INT) AS text, "
            f"[text, 'y'] AS word, [0, 3] AS word_start, [2, 4] AS word_end, record // {RECORDS // 10} AS label, "
            f"record % 7 AS digit FROM range({RECORDS}) r(record)"
        )
        found.execute("CREATE TABLE selections (selection VARCHAR, record BIGINT, groups VARCHAR[])")
        found.execute("INSERT INTO selections SELECT 's', record, [label::VARCHAR] FROM data WHERE record % 3 = 0")
        yield found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def by(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let records be found in one way, or in all of them in turn, as in a table that is large for it."""
    if way in ("look-ups", "all"):
        monkeypatch.setattr(stream, "LOOKUP_ROWS", 10 if way == "all" else 0)
    if way in ("files", "all"):
        monkeypatch.setattr(stream, "READ_CHARACTERS", 20_000 if way == "all" else 1)


def read(plan: Records, connection: duckdb.DuckDBPyConnection, first: int = 0) -> list[pa.Table]:
    return [block for chunk in plan.chunks(first) for block in plan.read(connection, chunk)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": "digit = 3 -- some"},
        {"where": "record = 19999"},
        {"selection": "s", "group_by": ["label"]},
        {"selection": "s", "group_by": ["label"], "where": "digit < 2"},
        {"limit": 700, "group_by": ["label", "digit"]},
        {"limit": 700, "where": "digit = 3"},
        {"first": 0},
        {"first": 0, "where": "digit = 3"},
        {"first": 0, "limit": 300},
    ],
    ids=str,
)
def test_the_same_records_come_however_they_are_found(connection, folder, monkeypatch, way, options):
    plan = records(connection, "data", columns=["digit"], seed=3, **options)
    expected = [table.to_pylist() for table in read(plan, connection)]
    by(way, monkeypatch)
    again = records(connection, "data", columns=["digit"], seed=3, **options)
    found = [table.to_pylist() for table in read(again, connection)]
    if "limit" in options:  # one that is read ahead may be read beyond it
        found, expected = ([row for block in blocks for row in block][:700] for blocks in (found, expected))
    assert found == expected
    assert [b.to_pylist() for b in read(again, connection, 2)] == found[2:] or "limit" in options, "resumed"
    assert not list(folder.iterdir()), "no file is left"


def test_each_way_is_taken_where_it_is_the_cheapest(connection, folder, monkeypatch):
    def ways(*, table: int, characters: float, growing: bool = True) -> str:
        plan = Records(
            *("", (), (), 1, "", table, table, table),
            *stream._schedule(1024, table, table, 128 * growing),
            *(min(int(stream.SPOOL_CHARACTERS / characters), stream.SPOOL_PLACES),),
            *(int(stream.READ_CHARACTERS / characters), 20.0, 0),
        )
        return plan.reading

    assert ways(table=2001, characters=60, growing=False) == "2 scans of the table"
    assert ways(table=100, characters=60) == "1 scan of the table"
    assert ways(table=10**6, characters=60) == "up to 8 scans of the table, 2 of them into a temporary file"
    assert ways(table=10**9, characters=60) == (
        "up to 5,120 look-ups by number and 957 scans of the table, 955 of them into a temporary file"
    )

    plan = records(connection, "data", where="digit = 3", limit=100)
    assert plan.reading == "1 scan of the table", "by what can be expected of the filter"
    by("look-ups", monkeypatch)
    assert records(connection, "data", limit=100).reading == "100 look-ups by number"
    assert "look-up" not in records(connection, "data", selection="s", limit=100).reading


@pytest.mark.parametrize("way", ["scans", "look-ups"])
def test_the_first_blocks_of_a_sorted_file_are_random_samples_of_it(connection, monkeypatch, way):
    """Over the seeds, the p-values of a fair sample are uniform: of labels by chi-square, of places by KS."""
    by(way, monkeypatch)
    labels, places = [], []
    for seed in range(60):
        plan = records(connection, "data", first=0, seed=seed, limit=384)
        found = np.concatenate([t["record"].to_numpy() for t in read(plan, connection)])
        assert len(found) == 384
        labels.append(scipy.stats.chisquare(np.bincount(found * 10 // RECORDS, minlength=10)).pvalue)
        places.append(scipy.stats.kstest((found[:128] + 0.5) / RECORDS, "uniform").pvalue)
    for p_values in (labels, places):
        assert min(p_values) > 1e-5
        assert scipy.stats.kstest(p_values, "uniform").pvalue > 1e-4


def test_seeds_have_samples_that_are_independent_of_one_another(connection):
    firsts = [
        set(read(records(connection, "data", seed=seed, limit=1024), connection)[0]["record"].to_pylist())
        for seed in range(12)
    ]
    common = [len(a & b) for a, b in itertools.combinations(firsts, 2)]
    expected = 1024**2 / RECORDS
    assert abs(np.mean(common) - expected) < 4 * np.sqrt(expected / len(common))


def test_the_mean_length_of_very_many_texts_is_found_from_the_same_few(connection, monkeypatch):
    exact = records(connection, "data")
    monkeypatch.setattr(stream, "COUNTED_RECORDS", 1000)
    few = [records(connection, "data", seed=seed) for seed in (0, 1)]
    assert few[0].ahead == few[1].ahead, "whatever the seed: where blocks lie must not depend on it"
    assert few[0].ahead == pytest.approx(exact.ahead, rel=0.3)


def test_what_is_read_ahead_lies_in_a_file_without_a_name(connection, folder, monkeypatch):
    by("files", monkeypatch)
    plan = records(connection, "data")
    assert plan.kept < plan.ahead
    before = pa.total_allocated_bytes()
    blocks = plan.read(connection, range(plan.blocks))
    assert sum(len(block) for block in blocks) == RECORDS
    assert pa.total_allocated_bytes() - before < 100_000, "and not in memory"
    assert sum(block.nbytes for block in blocks) > 1_000_000
    assert not list(folder.iterdir())


def test_little_is_read_ahead_where_the_disk_is_almost_full(connection, monkeypatch):
    wide = records(connection, "data")
    monkeypatch.setattr(stream, "READ_CHARACTERS", 10_000)
    assert records(connection, "data").ahead == wide.ahead
    monkeypatch.setattr(spool.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    narrow = records(connection, "data")
    assert narrow.ahead < wide.ahead / 100
    assert narrow.bounds(3) == wide.bounds(3), "blocks lie where they lay"


def test_a_full_disk_is_told(connection, folder, monkeypatch):
    by("files", monkeypatch)
    plan = records(connection, "data")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.pa.ipc, "new_file", full)
    with pytest.raises(DatasetError) as error:
        plan.read(connection, range(plan.blocks))
    assert str(error.value) == (
        f"records that are read ahead cannot be written to '{folder}': [Errno 28] No space left on device. "
        "Make room there, or name another folder in the environment variable TMPDIR."
    )
    assert not list(folder.iterdir())
    assert connection.sql("SELECT 1").fetchall() == [(1,)], "the connection can be used again"
