"""What happens inside a query when something fails, is stopped, or is not read to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pyarrow as pa
import pytest

import deepbase
from deepbase import faults
from deepbase.errors import HypothesisError, ModelError
from deepbase.relation import Reader, Relation, translated

UNIT = "unit_activations('m', 'd', 'high', 0)"


class OwnError(Exception):
    pass


def test_an_exception_can_be_had_back_once_and_few_are_kept():
    error = OwnError("boom")
    marker = faults.record(error)
    text = RuntimeError(f"something around {marker} the marker")
    assert faults.original(text) is error
    assert faults.original(text) is None
    assert faults.original(ValueError("no marker")) is None
    first = faults.record(error)
    for _ in range(faults.MOST):
        faults.record(OwnError())
    assert faults.original(RuntimeError(first)) is None


def test_an_interrupt_of_duckdb_is_a_keyboard_interrupt():
    with pytest.raises(KeyboardInterrupt), translated():
        raise RuntimeError("Query interrupted")
    with pytest.raises(RuntimeError, match="other"), translated():
        raise RuntimeError("other")


def test_a_relation_is_one_whatever_is_done_with_it(few):
    relation = few.db.sql(f"FROM {UNIT}")
    assert isinstance(relation, Relation)
    for found in (
        relation.filter("value <> 0"),
        relation.project("record"),
        relation.order("value").limit(3),
        relation.aggregate("avg(value)"),
        relation["record"],
        relation.materialize(),
        relation.query("r", "SELECT * FROM r WHERE record = 1"),
    ):
        assert isinstance(found, Relation)
        assert found.fetchall()
    assert len(relation) == relation.shape[0] == len(relation.df()) == len(relation.fetchall())
    assert "record" in repr(relation)
    assert "record" in str(relation)
    assert pa.table(relation).num_rows == len(relation)
    assert few.db.sql("SELECT count(*) FROM relation").fetchall() == [(len(relation),)]
    assert sum(1 for _ in relation.iter_rows()) == len(relation)
    with relation.to_arrow_reader() as reader:
        assert isinstance(reader, Reader)
        assert reader.schema.names == relation.columns
        assert sum(len(batch) for batch in reader) == len(relation)
    assert pa.table(relation.to_arrow_reader()).num_rows == len(relation)
    assert relation.to_arrow_reader().read_all().num_rows == len(relation)


def failing(make, when, error):
    """A database whose tokenizer raises at a record."""
    found = make(200)

    def tokenize(text):
        if when(text):
            raise error
        return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text)]

    found.db.register_model("f", deepbase.Model(found.module, tokenize))
    return found


USES = {
    "fetchall": lambda r: r.fetchall(),
    "df": lambda r: r.df(),
    "len": len,
    "repr": repr,
    "table": lambda r: r.to_arrow_table(),
    "filtered": lambda r: r.filter("value > 0").aggregate("count(*)").fetchall(),
    "stream": pa.table,
    "rows": lambda r: list(r.iter_rows()),
    "materialize": lambda r: r.materialize(),
    "reader": lambda r: r.to_arrow_reader().read_all(),
    "next": lambda r: list(r.to_arrow_reader()),
}


@pytest.mark.parametrize("use", USES)
def test_what_a_scan_raises_comes_out_as_itself(few, use):
    relation = few.db.sql("FROM unit_activations('m', 'd', 'hugh', 0)")
    with pytest.raises(ModelError, match="there is no layer 'hugh'") as raised:
        USES[use](relation)
    assert raised.value.__cause__ is not None
    assert few.db.sql(f"SELECT count(*) FROM {UNIT}").fetchall()[0][0] > 0


def test_an_error_in_the_middle_of_a_scan_is_of_deepbase(make):
    found = failing(make, lambda text: text.count(" ") == 3, OwnError("odd"))
    query = "FROM unit_activations('f', 'd', 'high', 0)"
    with pytest.raises(ModelError, match=r"tokenizer tokenize failed on .* OwnError: odd") as raised:
        found.db.sql(query).fetchall()
    assert isinstance(raised.value.__cause__, OwnError)
    with pytest.raises(ModelError), found.db.sql(query).to_arrow_reader() as reader:
        list(reader)
    assert found.db.sql(f"{query} WHERE record = 0").fetchall()


def test_an_error_of_the_model_is_of_deepbase(few, monkeypatch):
    def broken(_):
        raise OwnError("in the forward")

    monkeypatch.setattr(few.module.low, "forward", broken)
    with pytest.raises(ModelError, match="in the forward"):
        few.db.sql(f"FROM {UNIT}").fetchall()
    monkeypatch.undo()
    assert few.db.sql(f"FROM {UNIT}").fetchall()


def test_a_hypothesis_that_fails_says_so_in_sql_and_in_a_scan(few):
    def bad(word: str) -> bool:
        if word == "over":
            raise OwnError("boom")
        return True

    few.db.register_hypotheses([bad])
    with pytest.raises(HypothesisError, match="hypothesis 'bad' raised OwnError: boom") as raised:
        few.db.sql("SELECT bad('over')").fetchall()
    assert isinstance(raised.value.__cause__, OwnError)
    assert "test_faults.py" in raised.value.hint
    few.db.register_dataset("o", ["a cat", "all over"])
    with pytest.raises(HypothesisError, match="hypothesis 'bad' raised OwnError: boom at record 1"):
        few.db.sql("FROM hypothesis_values('o', 'm', 'bad')").fetchall()
    few.db.register_hypotheses([deepbase.hypothesis(lambda word: "x", name="wrong", kind="boolean")])
    with pytest.raises(HypothesisError, match="hypothesis 'wrong' returned 'x'"):
        few.db.sql("SELECT wrong('a')").fetchall()


def test_ctrl_c_in_a_forward_leaves_everything_usable(few, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(few.module.low, "forward", stopped)
    with pytest.raises(KeyboardInterrupt):
        few.db.sql(f"FROM {UNIT}").fetchall()
    monkeypatch.undo()
    assert len(few.db.sql(f"FROM {UNIT}").fetchall()) == sum(len(r["text"]) for r in few.records)


SCRIPT = """
    import os, signal, sys, threading, time
    import torch
    from torch import nn
    import deepbase

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(128, 2)
            self.nap = 0

        def forward(self, ids):
            time.sleep(self.nap)
            return self.embed(ids)

    torch.manual_seed(0)
    net = Net()
    db = deepbase.connect(sys.argv[1])
    db.register_model("m", deepbase.Model(net, lambda t: [(ord(c), i, i + 1) for i, c in enumerate(t)]))
    db.register_dataset("d", ["abc", "de"] * 2000)
    unit = "unit_activations('m', 'd', 'embed', 0)"
"""


def run(tmp_path, code, *, timeout=120):
    script = textwrap.dedent(SCRIPT) + textwrap.dedent(code)
    command = [sys.executable, "-c", script, str(tmp_path / "study.duckdb")]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_sigint_ends_a_scan_and_the_next_one_works(tmp_path):
    code = """
        net.nap = 0.05
        print("ready", flush=True)
        for query in (f"SELECT avg(value) FROM {unit}", f"FROM {unit} a JOIN {unit} b USING (record, position)"):
            try:
                db.sql(query).fetchall()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        net.nap = 0
        print(db.sql(f"SELECT count(*) FROM {unit} WHERE value IS NOT NULL").fetchall(), flush=True)
        print([t.name for t in threading.enumerate() if not t.name.startswith("Dummy")])
        db.close()
    """
    process = run(tmp_path, code)
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines() == ["[(10000,)]", "['MainThread']"]


def test_scans_that_are_not_read_to_their_end_leave_nothing(tmp_path):
    code = """
        import gc, types

        def threads():
            return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count()

        def memory():
            with open("/proc/self/status") as status:
                return int(next(x for x in status if x.startswith("VmRSS")).split()[1]) // 1024

        def scan():
            values = "hypothesis_values('d', 'm', 'is_vowel')"
            for table in (unit, "activations('m', 'd')", "symbols('d', 'm')", values):
                assert len(db.sql(f"FROM {table} LIMIT 5").fetchall()) == 5
            assert len(db.sql(f"FROM {unit} LIMIT 5 OFFSET 3000").fetchall()) == 5

        for _ in range(20):
            scan()
        gc.collect()
        before, size = threads(), memory()
        for _ in range(40):
            scan()
        gc.collect()
        ours = [o.__name__ for o in gc.get_objects() if isinstance(o, types.GeneratorType)
                and "deepbase" in o.gi_code.co_filename]
        names = [t.name for t in threading.enumerate() if not t.name.startswith("Dummy")]
        print(threads() - before, ours, memory() - size < 20, names)
        print(db.store.may_be_released)
    """
    process = run(tmp_path, code)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines() == ["0 [] True ['MainThread']", "False"]


def test_a_process_that_ends_in_the_middle_of_a_scan_ends_well(tmp_path):
    process = run(
        tmp_path, 'reader = db.sql(f"FROM {unit}").to_arrow_reader(100)\nprint(len(reader.read_next_batch()) > 0)'
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "True\n"), err


def test_workers_of_duckdb_are_no_users_of_the_file(make, tmp_path):
    some = make(300, tmp_path / "study.duckdb")
    for _ in range(5):
        some.db.sql(f"SELECT symbol, avg(value) FROM {UNIT} GROUP BY ALL").fetchall()
        some.db.sql("SELECT avg(value) FROM hypothesis_values('d', 'm', 'is_vowel')").fetchall()
    assert not some.db.store.may_be_released


def test_a_scan_reads_on_while_a_run_of_another_thread_releases_the_file(make, tmp_path):
    some = make(400, tmp_path / "study.duckdb")
    expected = some.db.sql(f"SELECT count(*), sum(value) FROM {UNIT}").fetchall()
    errors, counts = [], []

    def ask():
        try:
            for _ in range(4):
                counts.append(some.db.sql(f"SELECT count(*), sum(value) FROM {UNIT}").fetchall())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(3):
        some.db.inspect("m", "d", ["is_vowel"], layers="high")
    thread.join()
    assert errors == []
    assert [c[0][0] for c in counts] == [expected[0][0]] * 4
    assert [c[0][1] for c in counts] == pytest.approx([expected[0][1]] * 4, rel=1e-4)


def test_views_and_macros_work_while_the_file_may_be_released(make, tmp_path):
    some = make(50, tmp_path / "study.duckdb")
    some.db.sql(f"CREATE VIEW shown AS FROM {UNIT}; CREATE VIEW tagged AS SELECT record, upos FROM symbols('d', 'm')")
    some.db.sql("CREATE MACRO one(i) AS TABLE FROM unit_activations('m', 'd', 'low', i)")
    queries = ("FROM shown", "SELECT count(*) FROM shown", "FROM tagged", "FROM one(1)", f"FROM {UNIT}")
    expected = [len(some.db.sql(q).fetchall()) for q in queries]
    with some.db.store.released():
        assert some.db.store.may_be_released
        assert [len(some.db.sql(q).fetchall()) for q in queries] == expected
        assert some.db.sql("SELECT 1").fetchall() == [(1,)]


def test_a_scan_is_not_disturbed_by_its_dataset_being_replaced(make):
    some = make(2000)
    total = sum(len(r["text"]) for r in some.records)
    with some.db.sql(f"FROM {UNIT}").to_arrow_reader(64) as reader:
        rows = len(reader.read_next_batch())
        other = threading.Thread(target=lambda: some.db.register_dataset("d", ["x"], replace=True))
        other.start()
        other.join()
        rows += sum(len(batch) for batch in reader)
    assert rows == total
    assert len(some.db.sql(f"FROM {UNIT}").fetchall()) == 1
