"""p-values and q-values of whole runs: all three faces, slices, resumed runs, and what has no room."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import torch
from torch import nn

import deepbase
from deepbase.engine.driver import RunInterrupted
from deepbase.errors import MeasureError
from deepbase.inputs import stream
from deepbase.measures.significance import q_values

CALLS = ["pearson(permutations := 99)", "auroc(permutations := 99)", "spearman(tested := true)"]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_character():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(128, 6), nn.ReLU())
    return deepbase.Model(module, lambda t: [(min(ord(c), 127), i, i + 1) for i, c in enumerate(t)])


def wide():
    module = nn.Sequential(nn.Embedding(128, 300), nn.ReLU())
    return deepbase.Model(module, lambda t: [(min(ord(c), 127), i, i + 1) for i, c in enumerate(t)])


def texts(count=120, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcde "), size=rng.integers(5, 30))) for _ in range(count)]


@pytest.fixture
def db():
    with deepbase.connect() as database:
        kind = ["odd" if i % 2 else "even" for i in range(120)]
        database.register_dataset("texts", pa.table({"text": texts(), "kind": kind}))
        yield database


def rows(found, measure, columns="layer, unit, hypothesis, unit_score, p_value, q_value"):
    literal = measure.replace("'", "''")
    return found.scores.filter(f"measure = '{literal}'").project(columns).order("ALL").fetchall()


def test_a_run_has_p_values_of_permutations(db):
    found = db.inspect(by_character(), "texts", ["symbol = 'a'", "position = 3"], CALLS, layers="*")
    for call in CALLS:
        of_letter = [r for r in rows(found, call) if r[2] == "symbol = 'a'" and r[3] is not None]
        p, q = (np.array([r[i] for r in of_letter], dtype=float) for i in (4, 5))
        score = np.array([r[3] for r in of_letter])
        far = np.abs(score - 0.5 * call.startswith("auroc")) > 0.3
        assert far.any()
        assert (p[far] <= 0.01).all()
        assert (q >= p).all()
    for row in rows(found, CALLS[0]):
        assert row[3] is None or row[2] == "symbol = 'a'" or row[4] > 0.01


def test_batches_change_nothing_and_the_seed_of_the_records_is_all_there_is_to_chance(db):
    hypotheses = ["symbol = 'a'", "CASE WHEN symbol = 'b' THEN NULL ELSE symbol = 'c' END", "position"]
    several = [
        db.inspect(by_character(), "texts", hypotheses, CALLS, layers="*", batch_size=size) for size in (3, 32, 32)
    ]
    for call in CALLS:
        first, *others = (rows(f, call, "layer, unit, hypothesis, p_value") for f in several)
        for other in others:
            assert [r[:3] for r in other] == [r[:3] for r in first]
            np.testing.assert_allclose(
                np.array([r[3] for r in other], float), np.array([r[3] for r in first], float), rtol=1e-4
            )


def test_records_of_several_blocks_exchange_within_their_block(db, monkeypatch):
    whole = db.inspect(by_character(), "texts", ["symbol = 'a'"], CALLS[:1], layers="*")
    monkeypatch.setattr(stream, "BLOCK_RECORDS", 20)
    blocks = db.inspect(by_character(), "texts", ["symbol = 'a'"], CALLS[:1], layers="*")
    a, b = (np.array([r[4] for r in rows(f, CALLS[0])], float) for f in (whole, blocks))
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    assert (np.abs(a - b)[~np.isnan(a)] < 0.2).all()
    monkeypatch.setattr(stream, "BLOCK_RECORDS", 1)  # with itself
    alone = db.inspect(by_character(), "texts", ["symbol = 'a'"], CALLS[:1], layers="*")
    assert all(r[4] is None and r[5] is None for r in rows(alone, CALLS[0]))


def test_slices_exchange_among_themselves(db):
    found = db.inspect(by_character(), "texts", ["symbol = 'a'"], CALLS, layers="*", group_by=["kind"])
    odd = db.inspect(by_character(), "texts", ["symbol = 'a'"], CALLS, layers="*", where="kind = 'odd'")
    of_slices = rows(found, CALLS[1], "slice, layer, unit, unit_score, p_value")
    assert len({r[0] for r in of_slices}) == 2
    alone = rows(odd, CALLS[1], "layer, unit, unit_score, p_value")
    assert [r[1:] for r in of_slices if "odd" in r[0]] == alone


@pytest.mark.parametrize("correction", ["bh", "by"])
def test_q_values_are_of_all_pairs_of_a_measure(db, correction):
    calls = [f"pearson(correction := '{correction}')", "mean_difference"]
    found = db.inspect(by_character(), "texts", ["symbol = 'a'", "symbol = 'b'"], calls, layers="*")
    for call, method in zip(calls, (correction, "bh"), strict=True):
        name = call if method == "by" else call.split("(")[0]
        known = [r for r in rows(found, name) if r[4] is not None]
        assert len(known) > 10
        p, q = (np.array([r[i] for r in known]) for i in (4, 5))
        np.testing.assert_allclose(q, scipy.stats.false_discovery_control(p, method=method))


def test_q_values_by_either_procedure():
    p = [np.array([[0.01, np.nan], [0.2, 0.03]]), np.array([[0.5]])]
    flat = np.array([0.01, 0.2, 0.03, 0.5])
    for method in ("bh", "by"):
        found = np.concatenate([q.ravel() for q in q_values(p, method)])
        np.testing.assert_allclose(found[~np.isnan(found)], scipy.stats.false_discovery_control(flat, method=method))


def test_sql_and_python_say_the_same(db):
    db.register_model("net", by_character())
    call = "pearson(permutations := 49, correction := 'by')"
    found = rows(
        db.inspect("net", "texts", ["symbol = 'a'"], [call], layers="*"), call, "layer, unit, p_value, q_value"
    )
    db.sql("CREATE HYPOTHESIS is_a AS symbol = 'a'")
    clause = db.sql(
        f"SELECT S.layer, S.unit, S.p_value, S.q_value INSPECT U.unit AND H.hypothesis USING {call} "
        "OVER D.record AS S FROM models M, units U, hypotheses H, inputs D "
        "WHERE M.model = 'net' AND H.hypothesis = 'is_a' AND D.dataset = 'texts' ORDER BY ALL"
    ).fetchall()
    function = db.sql(
        "SELECT layer, unit, p_value, q_value FROM inspect(model := 'net', dataset := 'texts', "
        f"hypotheses := ['is_a'], measures := ['{call.replace(chr(39), chr(39) * 2)}']) ORDER BY ALL"
    ).fetchall()
    assert clause == function == found
    assert any(r[2] is not None and r[2] <= 0.02 for r in found)


def test_the_command_line_takes_them(cli, model_file, text_file):
    call = "auroc(permutations := 19, correction := 'by')"
    result = cli(
        "inspect", f"{model_file}:net", text_file, "-H", "symbol = 'e'", "-m", call, "--layers", "*", "--format", "json"
    )
    assert result.exit_code == 0, result.output
    assert call in result.stdout
    with deepbase.connect("deepbase.duckdb") as db:
        known = db.sql("SELECT p_value, q_value FROM scores WHERE p_value IS NOT NULL").fetchall()
    assert known
    assert all(0.05 <= p <= 1 and q >= p for p, q in known)


def test_an_interrupted_run_goes_on_to_the_same_p_values(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BLOCK_RECORDS", 30)
    found = []
    for interrupted in (False, True):
        with deepbase.connect(tmp_path / f"{interrupted}.duckdb") as db:
            (tmp_path / "model.py").write_text(MODEL)
            db.register_model("net", f"{tmp_path / 'model.py'}:net")
            db.register_dataset("texts", pa.table({"text": texts()}))
            if interrupted:

                def stop(progress):
                    if progress.records_seen >= 60:
                        raise KeyboardInterrupt

                with pytest.raises(RunInterrupted):
                    db.inspect("net", "texts", ["symbol = 'a'"], CALLS[:1], layers="*", progress=stop)
                done = db.inspect(resume=1)
            else:
                done = db.inspect("net", "texts", ["symbol = 'a'"], CALLS[:1], layers="*")
            found.append(rows(done, CALLS[0]))
    assert found[0] == found[1]


MODEL = """
import torch
from torch import nn
import deepbase

def net():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(128, 6), nn.ReLU())
    return deepbase.Model(module, lambda t: [(min(ord(c), 127), i, i + 1) for i, c in enumerate(t)])
"""


def test_permutations_without_room_are_refused_before_anything_runs(db):
    with pytest.raises(MeasureError) as error:
        db.inspect(wide(), "texts", ["symbol = 'a'", "symbol = 'b'"], ["pearson(permutations := 1000000)"], layers="*")
    assert str(error.value) == (
        "1,000,000 permutations of 2 hypotheses for 600 units need 4.5 GB, and there are 2.0 (memory). "
        "Inspect fewer units or hypotheses, ask for fewer permutations, or give more memory."
    )
    assert db.sql("SELECT count(*) FROM runs").fetchall() == [(0,)]
