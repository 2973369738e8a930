"""Groups of records, several models, some units, stored selections: the scores are those of plain runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import deepbase
from deepbase import selections
from deepbase.errors import DatasetError, QueryError
from deepbase.query.base import InspectSpec

MEASURES = ["pearson", "mean_difference", "cohens_d", "cohens_d(unbiased := true)"]
HYPOTHESES = ["position % 2 = 0", "length(word)", "tag", "year", "CASE WHEN year > 2000 THEN symbol = 'e' END"]


def characters(text):
    return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text)]


def coarse(seed, width=3):
    """A model of eighths, whose sums have no rounding, so that nothing but the records makes a difference."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Embedding(128, width), nn.ReLU())
    with torch.no_grad():
        module[0].weight.copy_((module[0].weight * 8).round() / 8)
    return deepbase.Model(module, characters)


@pytest.fixture
def db(corpus):
    with deepbase.connect() as database:
        for i, name in enumerate(("net-1", "net-2", "other")):
            database.register_model(name, coarse(i, 3 + i), tags={"epoch": None if i == 2 else i})
        database.register_dataset("corpus", corpus)
        yield database


def inspect(db, model="net-1", hypotheses=HYPOTHESES, **options):
    return db.inspect(model, "corpus", hypotheses, MEASURES, layers="*", **options)


def rows(found, condition="true", leave=("slice", "run")):
    """What was found by all that names a score, but for what is left out."""
    columns = [c for c in ("model", "layer", "unit", "hypothesis", "measure", "slice") if c not in leave]
    values = "unit_score, note, symbols, records"
    relation = found.scores.filter(condition).project(f"{', '.join(columns)}, {values}")
    return {row[: len(columns)]: row[len(columns) :] for row in relation.fetchall()}


def assert_same(a, b, tolerance=1e-9):
    assert a.keys() == b.keys()
    assert a
    for key, (score, *rest) in a.items():
        other, *others = b[key]
        assert rest == others, key
        assert (score is None) == (other is None), key
        assert score is None or math.isclose(score, other, rel_tol=tolerance, abs_tol=1e-12), (key, score, other)


@pytest.mark.parametrize("batch_size", [3, 32])
def test_a_slice_is_what_a_run_over_its_records_gives(db, batch_size):
    found = inspect(db, group_by="genre", batch_size=batch_size)
    assert found.run["spec"]["group_by"] == ["inputs.genre"]
    assert found.run["records_seen"] == 80
    slices = {"news": "genre = 'news'", "blog": "inputs.genre = 'blog'", "NULL": "genre IS NULL"}
    assert {s for (s,) in found.scores.project("slice").distinct().fetchall()} == slices.keys()
    for name, where in slices.items():
        assert_same(rows(found, f"slice = '{name}'"), rows(inspect(db, where=where)))


def test_a_slice_of_several_columns_holds_all_their_values(db):
    found = inspect(db, ["net-1", "other"], group_by=["epoch", "genre", "layers.kind", "hypotheses.kind"])
    for (text,) in found.scores.project("slice").distinct().fetchall():
        assert list(json.loads(text)) == ["epoch", "genre", "layers.kind", "hypotheses.kind"]
    values = """slice->>'epoch' IS NOT DISTINCT FROM (CASE model WHEN 'net-1' THEN '0' END) AND
        slice->>'layers.kind' = (SELECT kind FROM layers L WHERE (L.model, L.layer) = (scores.model, scores.layer)) AND
        slice->>'hypotheses.kind' = (CASE WHEN hypothesis IN ('length(word)', 'year') THEN 'number' ELSE 'boolean' END)
    """
    assert db.sql(f"SELECT count(*) FROM scores WHERE ({values}) IS NOT TRUE").fetchall() == [(0,)]
    for name in ("net-1", "other"):
        alone = rows(inspect(db, name, group_by="genre"), "slice = 'news'")
        assert_same(rows(found, f"slice->>'genre' = 'news' AND model = '{name}'"), alone)


def test_the_dataset_is_a_column_of_records(db):
    found = inspect(db, group_by=["inputs.dataset"], where="inputs.dataset = 'corpus' AND dataset IS NOT NULL")
    assert_same(rows(found, "slice = 'corpus'"), rows(inspect(db)))
    with pytest.raises(DatasetError, match="no record passes the filter"):
        inspect(db, where="inputs.dataset = 'x'")


def test_records_without_symbols_and_groups_without_any_leave_no_rows(db):
    db.register_dataset("some", pa.table({"text": ["ab", "", "abc"], "n": [1, 2, 1]}))
    found = db.inspect("net-1", "some", ["position"], group_by="n")
    assert found.scores.project("slice, symbols, records").distinct().fetchall() == [("1", 5, 2)]
    assert found.run["records_seen"] == 3


def test_too_many_groups_and_columns_of_words_are_refused(db, monkeypatch):
    with pytest.raises(QueryError, match="cannot group by 'tag': it has several values a record"):
        inspect(db, group_by="tag")
    monkeypatch.setattr("deepbase.inputs.stream.MOST_GROUPS", 5)
    with pytest.raises(
        DatasetError, match=r"grouping records by year makes \d+ groups, and each has states of its own"
    ):
        inspect(db, group_by="year")
    assert inspect(db, group_by="year", where="year > 2027").run["status"] == "done"


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_grouping_moves_no_score_of_a_real_model(saved, family):
    words = ["the", "cat", "sat", "on", "a", "mat", "Dog", "ran", "far", "away"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(60)]
    with deepbase.connect() as db:
        db.register_model("net", saved(family))
        db.register_dataset("corpus", pa.table({"text": texts, "odd": [i % 2 for i in range(60)]}))
        found = db.inspect("net", "corpus", ["length(symbol)", "symbol = 'cat'"], group_by="odd", batch_size=7)
        for odd in (0, 1):
            alone = db.inspect("net", "corpus", ["length(symbol)", "symbol = 'cat'"], where=f"odd = {odd}")
            a, b = rows(found, f"slice = '{odd}'"), rows(alone)
            assert a.keys() == b.keys()
            assert all(a[k][1:] == b[k][1:] for k in a)
            scores = [(a[k][0], b[k][0]) for k in a if a[k][0] is not None]
            np.testing.assert_allclose(*zip(*scores, strict=True), atol=1e-5)


def test_several_models_score_as_each_does_alone(db):
    found = inspect(db, ["net-?", coarse(7, 2)])
    assert found.run["spec"]["models"] == ["net-1", "net-2", "Sequential"]
    assert list(found.run["spec"]["fingerprints"]["models"]) == ["net-1", "net-2", "Sequential"]
    alone = [inspect(db, name) for name in found.run["spec"]["models"]]
    assert_same(rows(found), {k: v for one in alone for k, v in rows(one).items()}, 0)
    assert found.run["records_seen"] == alone[0].run["records_seen"] == 80
    assert found.run["symbols_seen"] == sum(one.run["symbols_seen"] for one in alone)
    with pytest.raises(deepbase.DeepBaseError, match=r"no registered model matches 'nets-\*'. Did you mean 'net-2' or"):
        inspect(db, "nets-*")


def test_progress_over_several_models_goes_up_to_the_records(db, monkeypatch):
    monkeypatch.setattr("deepbase.engine.driver.PROGRESS_SECONDS", -1)
    seen = []
    inspect(db, ["net-1", "net-2"], batch_size=2, progress=lambda p: seen.append((p.records_seen, p.symbols_seen)))
    assert seen == sorted(seen)
    assert seen[-1][0] == 80
    assert len(seen) > 40


@pytest.mark.parametrize("behavior", ["value", "abs", "derivative"])
def test_some_units_score_as_all_do(db, behavior):
    whole = rows(inspect(db, ["net-1", "other"], behavior=behavior))
    for units, kept in (
        ([2, 0], lambda layer, unit: unit != 1 and unit < 3),
        ({"0": [1], "?": range(2, 3)}, lambda layer, unit: unit == 2 or (layer, unit) == ("0", 1)),
    ):
        found = db.inspect(["net-1", "other"], "corpus", HYPOTHESES, MEASURES, units=units, behavior=behavior,
                           layers=() if isinstance(units, dict) else "*")  # fmt: skip
        assert_same(rows(found), {k: v for k, v in whole.items() if kept(k[1], k[2])})
        assert found.run["spec"]["layers"] == []
    assert found.run["spec"]["units"]["other"] == {"0": [[1, 3]], "1": [[2, 3]]}
    with pytest.raises(QueryError, match=r"layer '0' of model 'net-1' has no unit 3\. Its units are 0 to 2"):
        inspect(db, ["other", "net-1"], units=[3])


class StopError(Exception):
    pass


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_run_with_slices_and_models_that_was_stopped_goes_on_to_the_same_bits(db, blocks):
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("abcdefgh "), rng.integers(0, 9))) or "x" for _ in range(2500)]
    groups = [None if i % 5 == 0 else "late" if i > 2400 else f"g{i % 3}" for i in range(2500)]
    db.register_dataset("corpus", pa.table({"text": texts, "g": groups}), replace=True)
    request = {"model": ["net-1", "other"], "hypotheses": ["position", "record % 10", "symbol = 'a'"], "seed": 3}
    request |= {"group_by": ["g", "epoch"], "units": {"*": [0, 2]}, "dataset": "corpus", "measures": MEASURES}
    seen = []
    whole = db.inspect(**request, progress=lambda p: seen.append(p.records_seen))
    done = []

    def interrupt(progress):
        done.append(progress.records_seen)
        if len(done) == blocks:
            raise StopError

    with pytest.raises(StopError):
        db.inspect(**request, progress=interrupt)
    stopped = whole.run_id + 1
    assert db.run(stopped)["records_seen"] == seen[blocks - 1] < 2500
    resumed = db.inspect(resume=stopped)
    assert resumed.run["counts"] == whole.run["counts"]
    assert resumed.run["symbols_seen"] == whole.run["symbols_seen"]
    assert_same(rows(resumed, leave=()), rows(whole, leave=()), 0)


def test_a_run_of_several_models_is_not_resumed_with_another(db):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(db, ["net-1", "net-2"], progress=stop)
    db.register_model("net-2", coarse(9), replace=True)
    with pytest.raises(deepbase.DeepBaseError, match="run 1 cannot be resumed: its model 'net-2' changed since"):
        db.inspect(resume=1)


def begin(db, spec):
    """A run as the planner of queries begins it."""
    return deepbase.Inspection(db, db.start(spec, lambda _: None))


def select(db, records, groups):
    with db.store.transaction() as cursor:
        table = pa.table({"record": records, "groups": pa.array(groups, pa.list_(pa.string()))})
        return selections.add(cursor, table.to_reader())


def test_a_selection_is_what_is_read_and_how_it_is_grouped(db):
    chosen = select(db, [5, 1, 2, 9, 70], [["x"], ["y"], ["x"], [None], ["x"]])
    spec = InspectSpec(
        models=("net-2",), dataset="corpus", hypotheses=tuple(HYPOTHESES), layers=("*",), measures=tuple(MEASURES),
        selection=chosen, group_by=("models.epoch", "inputs.anything"),
    )  # fmt: skip
    found = begin(db, spec)
    assert found.run["records_seen"] == 5
    assert found.run["spec"]["selection"] == chosen
    for value, where in (("x", "record IN (2, 5, 70)"), ("y", "record = 1"), (None, "record = 9")):
        text = json.dumps({"epoch": "1", "anything": value})
        assert_same(rows(found, f"slice = '{text}'"), rows(inspect(db, "net-2", where=where)))
    both = begin(db, replace(spec, where="inputs.record > 1 AND record < 70", group_by=()))
    assert_same(rows(both), rows(inspect(db, "net-2", where="record IN (2, 5, 9)")))
    assert db.sql("SELECT count(DISTINCT selection) FROM selections").fetchall() == [(1,)]
    for run in (found, both):
        assert db.sql("SELECT count(*) FROM selections").fetchall() == [(5,)]
        db.remove("run", run.run_id)
    assert db.sql("SELECT count(*) FROM selections").fetchall() == [(0,)]


def test_a_selection_of_a_request_that_fails_is_not_kept(db):
    spec = InspectSpec(models=("net-1",), dataset="corpus", hypotheses=("nope",), selection=select(db, [1], [[]]))
    with pytest.raises(deepbase.DeepBaseError, match="unknown hypothesis 'nope'"):
        begin(db, spec)
    assert db.sql("SELECT count(*) FROM selections").fetchall() == [(0,)]
    with pytest.raises(DatasetError, match="the selection holds no record of the dataset"):
        begin(db, replace(spec, hypotheses=("position",)))


def test_units_of_a_spec_are_used_as_they_are(db):
    spec = InspectSpec(models=("net-1", "other"), dataset="corpus", hypotheses=("position",), query="SELECT ...",
                       units={"net-1": {"1": ((0, 1), (2, 3))}, "other": {"0": ((4, 5),), "1": ((0, 5),)}})  # fmt: skip
    found = begin(db, spec)
    asked = found.scores.project("model, layer, unit").order("ALL").fetchall()
    assert asked == [("net-1", "1", 0), ("net-1", "1", 2), ("other", "0", 4), *(("other", "1", i) for i in range(5))]
    assert found.run["spec"]["query"] == "SELECT ..."
    with pytest.raises(QueryError, match="model 'net-1' has no layer '7'"):
        begin(db, replace(spec, models=("net-1",), units={"net-1": {"7": ((0, 1),)}}))
