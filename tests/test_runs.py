"""Runs that are killed, interrupted, resumed, and watched: what they leave, and whom they keep waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import duckdb
import pytest
from outside import look, opened

import deepbase
from deepbase.errors import CatalogError, DeepBaseWarning, InspectionError, QueryError

REQUEST = ["ascii(token) % 3 = 0", "ascii(token)", "start > 9000"]
SCORES = "SELECT * EXCLUDE (run) FROM scores ORDER BY ALL"


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def study(tmp_path, model_file, long_texts):
    """A database with the slow model and the long texts, and the path of its file."""
    path = tmp_path / "study.duckdb"
    with deepbase.connect(path) as db:
        db.register_model("slow", f"{model_file}:slow")
        db.register_dataset("long", long_texts)
    return path


@pytest.fixture
def whole(model_file, long_texts):
    """The scores of the same request, uninterrupted."""
    found = deepbase.inspect(f"{model_file}:slow", long_texts, REQUEST, device="cpu")
    rows = found.database.sql(SCORES).fetchall()
    assert len(rows) == 7 * 3
    return [_unnamed(row) for row in rows]


def _unnamed(row):
    """A row of scores without the model, which has another name where it was registered under one."""
    return tuple(row[1:])


def _rows(path):
    return [_unnamed(row) for row in look(path, SCORES)]


def _wait(process, path, query, holds):
    """Wait until a query on the file holds, while a process goes on."""
    for _ in range(3000):
        assert process.poll() is None, process.communicate()
        rows = look(path, query)
        if rows is not None and holds(rows):
            return rows
        time.sleep(0.01)
    raise AssertionError(f"it never came to that: {query}")


def _arguments(path):
    return ["inspect", "--db", path, "slow", "long", *(x for h in REQUEST for x in ("-H", h)), "--checkpoint", 0]


# Killed again and again, each time by a child of a process that has imported everything before.
KILLER = """
import os, random, signal, sys, time, torch
import deepbase, deepbase.engine.driver, deepbase.models.loading

path, request = sys.argv[1], sys.argv[2:]
torch.set_num_threads(1)
os.environ["NAP"] = "0.1"
chance = random.Random(5)
run, kills = None, 0
while True:
    child = os.fork()
    if not child:
        with deepbase.connect(path) as db:
            if run is None:
                db.inspect("slow", "long", request, device="cpu", checkpoint=0)
            else:
                db.inspect(resume=run, checkpoint=0)
        os._exit(0)
    until = time.monotonic() + chance.uniform(0.1, 0.5) + kills * 0.08  # a busy machine gets there, too
    done = 0
    while time.monotonic() < until and not done:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    if done:
        assert status == 0, status
        break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
    with deepbase.connect(path) as db:
        rows = db.sql("SELECT run, status, records_seen FROM runs").fetchall()
        scores = db.sql("SELECT DISTINCT records FROM scores").fetchall()
    if rows:
        (run, status, seen), = rows
        if status == "done":  # it was killed on its way out
            break
        assert status == "interrupted", status
        assert scores == ([(seen,)] if seen else []), (scores, seen)
        print(kills, seen, flush=True)
print("kills", kills)
"""


def test_a_run_that_is_killed_again_and_again_ends_at_the_same_scores(study, whole):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLER, study, *REQUEST],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    kills = int(done.stdout.split()[-1])
    assert kills >= 2
    assert _rows(study) == whole
    assert look(study, "SELECT status, records_seen FROM runs") == [("done", 40)]
    assert look(study, "SELECT count(*) FROM checkpoints") == [(0,)]


def test_others_read_and_write_the_file_while_a_run_computes(study, start, cli, tmp_path):
    napping = tmp_path / "napping"
    process = start(*_arguments(study), "--device", "cpu", NAP=60, NAPPING=napping)
    _wait(process, study, "SELECT status FROM runs", lambda rows: rows == [("running",)])
    while not napping.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    for _ in range(20):  # all of it during one forward
        with opened(study) as plain:
            plain.execute("CREATE TABLE IF NOT EXISTS notes (n INTEGER)")
            plain.execute("INSERT INTO notes VALUES (1)")
    assert cli("sql", "--db", study, "SELECT count(*) AS n FROM notes", "--format", "csv").stdout == "n\n20\n"
    assert cli("runs", "--db", study, "--format", "csv").stdout.splitlines()[1].split(",")[2] == "running"

    process.send_signal(signal.SIGINT)  # asks it to stop after the batch
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)  # does not wait for that
    _, errors = process.communicate(timeout=20)
    assert errors == (
        "Error: run 1 was interrupted after 0 records and keeps what it had. Go on with: deepbase inspect --resume 1\n"
    )
    assert process.returncode == 1
    assert look(study, "SELECT status, records_seen FROM runs") == [("interrupted", 0)]


def test_ctrl_c_keeps_the_scores_so_far_and_resume_goes_on(study, start, cli, whole):
    process = start(*_arguments(study), "--device", "cpu", NAP=0.5)
    _wait(process, study, "SELECT records_seen FROM runs", lambda rows: rows and rows[0][0] > 0)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("Error: run 1 was interrupted after ")
    assert "records and keeps what it had. Go on with: deepbase inspect --resume 1" in errors
    (status, because, seen), *_ = look(study, "SELECT status, stopped_because, records_seen FROM runs")
    assert (status, because) == ("interrupted", "Ctrl-C")
    assert look(study, "SELECT DISTINCT records FROM scores") == [(seen,)]

    done = cli("inspect", "--db", study, "--resume", 1, "--top", 1)
    assert done.exit_code == 0, done.stderr
    assert "run 1: 40 records, 800 symbols, " in done.stderr
    assert _rows(study) == whole


def test_a_dead_process_is_found_by_the_next_who_looks(study, cli):
    with duckdb.connect(str(study)) as plain:
        plain.execute(
            "INSERT INTO runs SELECT 1, now()::TIMESTAMP, NULL, 'running', '{}', 0, 0, NULL, 0, '{}', 0, '{}', ?",
            [f"{os.uname().nodename}:4194304:1"],
        )
    shown = cli("runs", "list", "--db", study, "--format", "csv")
    assert shown.stdout.splitlines()[1].split(",")[2] == "interrupted"
    assert "its process ended" in shown.stdout


class _TroubleError(Exception):
    pass


def _late(after):
    """A hypothesis that fails at a record in a late block, until its cause is gone."""
    seen = set()

    def is_even(token: str, record: int) -> bool:
        seen.add(record)
        if after and len(seen) > after[0]:
            raise _TroubleError("bad luck")
        return ord(token[0]) % 2 == 0

    return is_even


def test_an_error_in_a_late_block_leaves_what_was_before_it(study, model_file, long_texts):
    limit = [20]
    with deepbase.connect(study) as db:
        with pytest.raises(
            deepbase.DeepBaseError, match=r"hypothesis 'is_even' raised _TroubleError: bad luck at record"
        ):
            db.inspect("slow", "long", [_late(limit)], device="cpu")
        row = db.run(1)
        assert row["status"] == "failed"
        assert "bad luck" in row["stopped_because"]
        assert 0 < row["records_seen"] <= 20
        assert db.sql("SELECT count(*), min(records) FROM scores").fetchall() == [(7, row["records_seen"])]
        limit.clear()
        found = db.inspect(resume=1)
        assert found.run["status"] == "done"
        expected = deepbase.inspect(f"{model_file}:slow", long_texts, [_late([])], device="cpu")
        assert _scores(found) == _scores(expected)


def _scores(found):
    rows = found.scores.project("layer, unit, hypothesis, measure, unit_score, symbols, records, note")
    return sorted(rows.fetchall())


def test_an_error_in_the_first_block_leaves_nothing(study, long_texts):
    with deepbase.connect(study) as db:
        with pytest.raises(deepbase.DeepBaseError, match="bad luck"):
            db.inspect("slow", ["abc" * 500], [_late([0])])
        for table in ("runs", "scores", "checkpoints", "hypotheses"):
            assert db.sql(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
        assert db.sql("SELECT dataset FROM datasets").fetchall() == [("long",)]


def test_a_run_writes_itself_as_often_as_it_is_told(study):
    def states(checkpoint):
        seen = []
        with deepbase.connect(study) as db:
            db.inspect(
                "slow",
                "long",
                REQUEST,
                device="cpu",
                checkpoint=checkpoint,
                progress=lambda p: seen.append(db.sql("SELECT max(records_seen) FROM runs WHERE run = "
                                                      "(SELECT max(run) FROM runs)").fetchall()[0][0]),
            )  # fmt: skip
        return seen

    assert set(states(3600)) == {0}
    assert len(set(states(0))) > 1


def test_a_run_that_is_not_there_or_needs_nothing_is_not_resumed(study):
    with deepbase.connect(study) as db:
        with pytest.raises(CatalogError, match=r"there is no run 1\. There are none yet\."):
            db.inspect(resume=1)
        db.inspect("slow", "long", REQUEST, records=6)
        with pytest.raises(InspectionError, match=r"run 1 is done, there is nothing to resume"):
            db.inspect(resume=1)
        with pytest.raises(QueryError, match=r"a resumed run has its model, dataset and hypotheses"):
            db.inspect("slow", resume=1)


def test_a_run_that_is_running_is_neither_resumed_nor_removed(study):
    failures = []

    def meddle(_):
        for attempt in (lambda: db.inspect(resume=1), lambda: db.remove("run", 1)):
            try:
                attempt()
            except deepbase.DeepBaseError as error:
                failures.append(error.message)

    with deepbase.connect(study) as db:
        db.inspect("slow", "long", REQUEST, records=6, progress=meddle)
    assert len(failures) == 2
    assert all(f.startswith("run 1 is still running in ") for f in failures)


def test_a_run_is_not_resumed_on_other_data_or_by_another_model(study, model_file, text_file):
    def stop(_):
        raise KeyboardInterrupt

    with deepbase.connect(study) as db:
        with pytest.raises(KeyboardInterrupt):
            db.inspect("slow", "long", REQUEST, progress=stop)
        db.register_dataset("long", text_file, replace=True)
        with pytest.raises(InspectionError, match="run 1 cannot be resumed: its dataset changed since it began"):
            db.inspect(resume=1)
        db.remove("dataset", "long")
        with pytest.raises(CatalogError, match="there is no dataset 'long'"):
            db.inspect(resume=1)
        assert db.run(1)["status"] == "interrupted"


def test_records_that_change_under_a_run_end_it(study, tmp_path, text_file):
    many = tmp_path / "many.txt"
    many.write_text("\n".join("".join(chr(97 + (i * j) % 26) + "." * 19_999 for j in range(6)) for i in range(40)))

    def swap(_):
        if db.sql("SELECT source FROM datasets WHERE dataset = 'many'").fetchall() != [(str(text_file),)]:
            db.register_dataset("many", text_file, replace=True)

    with deepbase.connect(study) as db:
        db.register_dataset("many", many)
        with pytest.raises(InspectionError, match="dataset 'many' was removed or replaced while a run was reading it"):
            db.inspect("slow", "many", REQUEST, progress=swap)
        assert db.run(1)["status"] == "failed"


def test_a_run_that_another_process_removed_writes_no_scores(study):
    def remove(_):
        with duckdb.connect(str(study)) as plain:
            plain.execute("DELETE FROM runs")

    with deepbase.connect(study) as db:
        with pytest.raises(InspectionError, match="run 1 was removed, or taken over by another process"):
            db.inspect("slow", "long", REQUEST, progress=remove, checkpoint=0)
        assert db.sql("SELECT count(*) FROM scores").fetchall() == [(0,)]


def test_threads_ask_one_database_during_a_run(study):
    answers, errors = [], []
    done = threading.Event()

    def ask():
        while not done.is_set():
            try:
                answers.append(db.sql("SELECT count(*) FROM scores WHERE hypothesis = ?", ["x"]).fetchall())
                db.sql("SELECT is_vowel('a') AND range < 3 FROM range(5)").fetchall()
                db.model("slow")
            except Exception as error:
                errors.append(error)

    def observe(_):
        answers.clear()
        time.sleep(0.05)
        assert answers, "nobody got an answer while the run computed"

    with deepbase.connect(study) as db:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            found = db.inspect("slow", "long", REQUEST, progress=observe, checkpoint=0)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not errors
        assert found.run["status"] == "done"


def test_two_threads_inspect_one_model_at_once(study, whole):
    found = {}

    def inspect(name):
        found[name] = db.inspect("slow", "long", REQUEST, device="cpu")

    with deepbase.connect(study) as db:
        threads = [threading.Thread(target=inspect, args=[name]) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {f.run["status"] for f in found.values()} == {"done"}
        for inspection in found.values():
            rows = inspection.database.sql(
                f"{SCORES.replace('FROM scores', f'FROM scores WHERE run = {inspection.run_id}')}"
            )
            assert [_unnamed(row) for row in rows.fetchall()] == whole


def test_the_end_of_a_run_waits_for_the_file_and_says_so(study, monkeypatch):
    monkeypatch.setattr("deepbase.instance.SILENCE", 0.1)
    held, holders = threading.Event(), []

    def hold(_):
        if not holders:
            holders.append(threading.Thread(target=hold_a_while))
            holders[0].start()
            held.wait()

    def hold_a_while():
        with duckdb.connect(str(study)):
            held.set()
            time.sleep(1)

    with deepbase.connect(study) as db:
        with pytest.warns(DeepBaseWarning, match=r"study\.duckdb' is in use by .*; waiting for it"):
            found = db.inspect("slow", "long", REQUEST, progress=hold)
        holders[0].join()
        assert found.run["status"] == "done"


def test_a_file_that_is_deleted_under_a_run_is_not_made_again(study):
    gone = pytest.raises(CatalogError, match=r"study\.duckdb' was deleted while it was open\. Put it back\.")
    with deepbase.connect(study) as db, gone:
        db.inspect("slow", "long", REQUEST, progress=lambda _: study.unlink(missing_ok=True))
    assert not study.exists()


def test_what_holds_the_file_in_the_same_thread_is_said_at_once(study):
    with deepbase.connect(study) as db:
        db.sql("BEGIN")
        with pytest.raises(QueryError, match="a transaction is open"):
            db.inspect("slow", "long", REQUEST)
        db.sql("ROLLBACK")
        reader = db.sql("FROM range(1000000)").to_arrow_reader(10)
        reader.read_next_batch()
        with pytest.raises(QueryError, match="the result of an earlier query is open"):
            db.inspect("slow", "long", REQUEST)
        reader.close()
        assert db.inspect("slow", "long", REQUEST, records=6).run["status"] == "done"
