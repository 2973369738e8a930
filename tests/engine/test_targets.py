"""Categories, facts that need no hypothesis, and probes, in a run: which rows there are, and what they say."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import torch
from sklearn.metrics import f1_score
from torch import nn

import deepbase
from deepbase.errors import HypothesisError, QueryError


def characters(text):
    return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text)]


def planted():
    """A table of characters whose first unit knows vowels, the second digits, the others nothing."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(128, 6), nn.Tanh())
    with torch.no_grad():
        module[0].weight.mul_(0.3)
        module[0].weight[[ord(c) for c in "aeiou"], 0] += 2
        module[0].weight[[ord(c) for c in "0123456789"], 1] += 2
        module[0].weight[:, 5] = 0.5
    return deepbase.Model(module, characters)


@pytest.fixture
def db():
    rng = np.random.default_rng(0)
    letters = list("aeioubcdfgh 0123")
    texts = ["".join(rng.choice(letters, size=rng.integers(5, 20))) for _ in range(120)]
    kinds = [["vowel" if c in "aeiou" else "digit" if c.isdigit() else "other" for c in t] for t in texts]
    with deepbase.connect() as database:
        database.register_model("net", planted())
        table = pa.table({"text": texts, "kind": pa.array(kinds, pa.list_(pa.string()))})
        database.register_dataset("texts", table)
        yield database


def values(db, column):
    return np.array([r[0] for r in db.sql(f"SELECT {column} FROM symbols('texts', 'net') ORDER BY ALL").fetchall()])


def activations(db):
    rows = db.sql("SELECT activation, symbol FROM activations('net', 'texts') WHERE layer = '1'").fetchall()
    return np.array([r[0] for r in rows]), [r[1] for r in rows]


def scores(found, *columns):
    return found.scores.project(", ".join(columns)).fetchall()


def test_a_category_is_scored_whole_by_measures_that_take_categories_and_by_its_values_by_others(db):
    found = db.inspect("net", "texts", ["kind"], ["pearson", "correlation_ratio"], layers="1")
    names = set(scores(found, "measure", "hypothesis"))
    assert names == {
        ("correlation_ratio", "kind"),
        *(("pearson", f"kind={k}") for k in ("vowel", "digit", "other")),
    }
    x, symbols = activations(db)
    groups = [["vowel", "digit", "other"][0 if c in "aeiou" else 1 if c.isdigit() else 2] for c in symbols]
    between = [x[[g == k for g in groups], 0] for k in ("vowel", "digit", "other")]
    f = scipy.stats.f_oneway(*between).statistic * 2 / (len(x) - 3)
    (eta,) = (s for m, u, s in scores(found, "measure", "unit", "unit_score") if m == "correlation_ratio" and not u)
    assert eta == pytest.approx(np.sqrt(f / (1 + f)), abs=1e-5)
    kinds = db.sql("SELECT hypothesis, kind FROM run_hypotheses ORDER BY kind, hypothesis").fetchall()
    assert kinds[-1] == ("kind", "category")
    assert len(kinds) == 4


def test_a_value_that_is_asked_for_alone_is_no_category(db):
    found = db.inspect("net", "texts", ["kind=vowel", "position"], ["correlation_ratio"], layers="1")
    notes = {(h, n) for h, n in scores(found, "hypothesis", "note")}
    message = "measure needs a category hypothesis"
    assert notes >= {("kind=vowel", message), ("position", message)}


def test_a_category_is_chosen_in_sql_where_a_measure_takes_it(db):
    query = (
        "SELECT S.unit, S.hypothesis, H.kind INSPECT U.unit AND H.hypothesis USING {} OVER D.record AS S "
        "FROM units U, hypotheses H, inputs D WHERE U.layer = '1' AND H.hypothesis = 'kind' ORDER BY S.unit"
    )
    assert db.sql(query.format("correlation_ratio")).fetchall()[0] == (0, "kind", "category")
    with pytest.raises(QueryError, match="there is no hypothesis 'kind'"):
        db.sql(query.format("pearson")).fetchall()


def test_facts_need_no_hypothesis(db):
    found = db.inspect("net", "texts", measures=["density", "mean", "maximum"], layers="1")
    x, _ = activations(db)
    rows = scores(found, "measure", "unit", "unit_score", "hypothesis", "symbols", "records", "note")
    assert len(rows) == 3 * 6
    for measure, unit, score, hypothesis, symbols, records, note in rows:
        expected = {"density": (x > 0).mean(0), "mean": x.mean(0), "maximum": x.max(0)}[measure][unit]
        assert score == pytest.approx(expected, abs=1e-6)
        assert (hypothesis, symbols, records, note) == (None, len(x), 120, None)


def test_facts_come_with_hypotheses_and_in_groups(db):
    found = db.inspect("net", "texts", ["kind=vowel"], ["pearson", "density"], layers="1", group_by="layer")
    assert sorted(set(scores(found, "measure", "hypothesis", "slice"))) == [
        ("density", None, "1"),
        ("pearson", "kind=vowel", "1"),
    ]


def test_facts_in_sql(db):
    rows = db.sql("FROM inspect(model := 'net', dataset := 'texts', measures := ['density'], layers := '1')").fetchall()
    assert len(rows) == 6
    with pytest.raises(QueryError) as error:
        db.sql(
            "SELECT S.unit INSPECT U.unit AND H.hypothesis USING density OVER D.record AS S "
            "FROM units U, hypotheses H, inputs D"
        )
    assert "measure 'density' is a fact of a unit, and needs no hypothesis" in str(error.value)
    assert "as in INSPECT U.unit USING density OVER D.record AS S." in str(error.value)


def test_facts_in_the_clause(db):
    expected = db.inspect("net", "texts", measures=["density", "mean"], layers="1").scores
    expected = expected.project("measure, layer, unit, unit_score").order("ALL").fetchall()
    rows = db.sql(
        "SELECT S.measure, U.layer, S.unit, S.unit_score INSPECT U.unit USING density, mean OVER D.record "
        "WITH (seed := 3) AS S FROM models M, units U, inputs D WHERE U.layer = '1' ORDER BY ALL"
    ).fetchall()
    assert [r[:3] for r in rows] == [r[:3] for r in expected]
    assert [r[3] for r in rows] == pytest.approx([r[3] for r in expected], abs=1e-6)
    some = db.sql(
        "SELECT unit, hypothesis, S.unit_score INSPECT U.unit USING mean OVER D.record AS S FROM units U, inputs D "
        "WHERE U.layer = '1' AND D.dataset = 'texts' AND length(D.text) > 3 GROUP BY D.dataset "
        "HAVING S.unit < 2 AND S.unit_score IS NOT NULL ORDER BY ALL"
    ).fetchall()
    assert [r[:2] for r in some] == [(0, None), (1, None)]
    plan = db.explain(
        "SELECT S.unit INSPECT U.unit USING mean OVER D.record AS S FROM units U, inputs D WHERE layer = '1'"
    )
    assert plan.startswith("INSPECT 6 units, by mean")
    assert "hypothes" not in plan


def test_a_measure_that_compares_needs_the_hypotheses_of_a_clause(db):
    with pytest.raises(QueryError) as error:
        db.sql("SELECT S.unit INSPECT U.unit USING pearson OVER D.record AS S FROM units U, inputs D")
    assert "measure 'pearson' compares units with a hypothesis. Name the hypotheses, as in INSPECT" in str(error.value)


def test_a_measure_that_compares_needs_a_hypothesis(db):
    with pytest.raises(HypothesisError) as error:
        db.inspect("net", "texts", measures=["density", "pearson"])
    assert str(error.value) == (
        "no hypothesis is asked for, and pearson compares units with one. "
        "Name at least one: a hypothesis, a column, or SQL."
    )


def test_a_probe_finds_the_planted_units_and_says_what_they_reach_together(db):
    found = db.inspect("net", "texts", ["kind"], ["lda", "majority"], layers="1")
    rows = scores(found, "measure", "hypothesis", "unit", "unit_score", "group_score", "note")
    weights = {(h, u): w for m, h, u, w, _, _ in rows if m == "lda"}
    reached = {(m, h): g for m, h, _, _, g, _ in rows}
    for unit, name in enumerate(("kind=vowel", "kind=digit")):
        assert max(range(5), key=lambda u: abs(weights[name, u])) == unit
        assert reached["lda", name] == pytest.approx(1, abs=0.02)
        assert reached["majority", name] == 0
    assert {n for m, _, u, _, _, n in rows if m == "lda" and u == 5} == {"unit is constant"}
    assert reached["majority", "kind"] == pytest.approx(f1_score([0, 1, 2] * 9, [0] * 27, average="macro"), abs=0.1)


def test_a_sparse_penalty_fits_the_values_of_a_category_only(db):
    calls = ["logistic", "logistic(penalty := 'l1', c := 0.1)"]
    found = db.inspect("net", "texts", ["kind"], calls, layers="1")
    rows = found.scores.project("measure, hypothesis, group_score").distinct().fetchall()
    values = {f"kind={k}" for k in ("vowel", "digit", "other")}
    assert {h for m, h, _ in rows if m == calls[0]} == {"kind", *values}
    assert {h for m, h, _ in rows if m == calls[1]} == values
    assert {g > 0.9 for _, h, g in rows if h in ("kind", "kind=vowel", "kind=digit")} == {True}
    zeros = dict(found.scores.filter("unit_score = 0").aggregate("measure, count(*)").fetchall())
    assert set(zeros) == {calls[1]}


def test_the_units_of_several_layers_are_one_group(db):
    calls = ["lda(group := 'model')", "lda"]
    found = db.inspect("net", "texts", ["kind=vowel"], calls, layers="*")
    rows = scores(found, "measure", "layer", "unit", "group_score")
    assert len(rows) == 2 * 2 * 6
    assert len({g for m, _, _, g in rows if m == calls[0]}) == 1
    assert len({(x, g) for m, x, _, g in rows if m == calls[1]}) == 2


def test_a_group_is_the_units_that_are_asked_for(db):
    some = db.inspect("net", "texts", ["kind=vowel"], ["lda"], layers="1", units=[1, 2])
    assert {u for (u,) in scores(some, "unit")} == {1, 2}
    assert scores(some, "group_score")[0][0] < 0.7


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_probes_do_not_depend_on_the_batches(db, batch_size):
    def run(size):
        found = db.inspect("net", "texts", ["kind", "position"], ["lda", "linear"], layers="1", batch_size=size)
        order = "measure, hypothesis, unit"
        return np.array(found.scores.order(order).project("unit_score, group_score").fetchall(), dtype=float)

    np.testing.assert_allclose(run(batch_size), run(32), atol=1e-5)


def test_each_slice_has_probes_of_its_own(db):
    db.register_dataset("halves", db.sql("SELECT text, kind, record % 2 AS half FROM inputs WHERE dataset = 'texts'"))
    found = db.inspect("net", "halves", ["kind=vowel"], ["lda"], layers="1", group_by="half")
    assert {s for (s,) in scores(found, "slice")} == {"0", "1"}
    assert {r for (r,) in scores(found, "records")} == {60}


def test_a_run_with_rows_that_was_interrupted_begins_again(db):
    """Rows are in no checkpoint; what was scored before stands until the run is done."""
    seen = []

    def stop(progress):
        seen.append(progress.records_seen)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.inspect("net", "texts", ["kind=vowel"], ["lda"], layers="1", progress=stop)
    (run,) = (r for (r,) in db.sql("SELECT run FROM runs").fetchall())
    again = db.inspect(resume=run)
    whole = db.inspect("net", "texts", ["kind=vowel"], ["lda"], layers="1")
    assert again.run["status"] == "done"
    assert sorted(scores(again, "unit", "unit_score")) == sorted(scores(whole, "unit", "unit_score"))


def test_the_command_line_ranks_layers_by_what_their_units_reach(cli, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch, deepbase\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    chars = lambda t: [(min(ord(c), 127), i, i + 1) for i, c in enumerate(t)]\n"
        "    return deepbase.Model(torch.nn.Sequential(torch.nn.Embedding(128, 4), torch.nn.ReLU()), chars)\n"
    )
    (tmp_path / "texts.txt").write_text("\n".join("ab ba"[i % 3 :] + "abc" * (i % 4) for i in range(40)))
    arguments = ["net.py:net", "texts.txt", "-H", "symbol = 'a'", "-m", "lda", "-m", "majority", "--layers", "*"]
    done = cli("inspect", *arguments, "--top", 2, "--format", "json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [r["measure"] for r in rows] == ["lda", "lda", "majority", "majority"]
    assert rows[0]["group_score"] >= rows[1]["group_score"]
    assert rows[2]["unit"] is None
    assert rows[2]["unit_score"] is None
    assert cli("inspect", "net.py:net", "texts.txt", "-m", "density", "--layers", "*").exit_code == 0


def test_a_control_task_is_not_learned_and_says_what_a_score_is_worth(db):
    calls = ["lda(control := true)", "linear(control := true)"]
    found = db.inspect("net", "texts", ["kind", "position"], calls, layers="*")
    columns = "measure, hypothesis, layer, group_score, control_score, shuffled_score, selectivity, baseline_score"
    rows = set(found.scores.filter("group_score IS NOT NULL").project(columns).fetchall())
    assert len(rows) == 4 * 2
    for measure, hypothesis, _, score, control, shuffled, selectivity, baseline in rows:
        assert selectivity == score - control
        assert baseline is None
        assert shuffled < 0.45
        if hypothesis in ("kind=vowel", "kind=digit") and measure.startswith("lda"):
            assert selectivity > 0.3
    plain = db.inspect("net", "texts", ["kind"], ["lda"], layers="*")
    order = "hypothesis, layer, unit"
    own = found.scores.filter("measure LIKE 'lda%' AND hypothesis LIKE 'kind%'").order(order).project("unit_score")
    for a, b in zip(own.fetchall(), plain.scores.order(order).project("unit_score").fetchall(), strict=True):
        assert a == pytest.approx(b)
    assert plain.scores.filter("control_score IS NOT NULL OR selectivity IS NOT NULL").fetchall() == []


def test_random_weights_are_a_baseline(db):
    calls = ["lda(baseline := 'random')", "pearson"]
    found = db.inspect("net", "texts", ["kind=vowel"], calls, layers="1")
    ((score, baseline),) = set(
        found.scores.filter("measure LIKE 'lda%'").project("group_score, baseline_score").fetchall()
    )
    assert score == pytest.approx(1, abs=0.02)
    assert 0 < baseline < 1
    assert {m for (m,) in scores(found, "model")} == {"net"}
    assert found.run["symbols_seen"] == db.sql("SELECT count(*) FROM symbols('texts', 'net')").fetchall()[0][0]
    again = db.inspect("net", "texts", ["kind=vowel"], calls, layers="1")
    assert scores(again, "baseline_score")[0] == scores(found, "baseline_score")[0]
    plain = db.inspect("net", "texts", ["kind=vowel"], ["lda", "pearson"], layers="1")
    assert sorted(scores(plain, "unit", "unit_score")) == sorted(scores(found, "unit", "unit_score"))
    assert "net (random weights)" in db.explain(
        "SELECT S.unit INSPECT U.unit AND H.hypothesis USING lda(baseline := 'random') OVER D.record AS S "
        "FROM units U, hypotheses H, inputs D WHERE U.layer = '1' AND H.hypothesis = 'kind=vowel'"
    )


PATH = ["logistic(c := 0.1)", "lda", "logistic", "linear(alpha := 5)", "logistic(c := 10)", "linear(alpha := 500)"]


def by_pair(found):
    rows = scores(found, "measure", "layer", "unit", "hypothesis", "unit_score", "group_score", "note")
    return {r[:4]: r[4:] for r in rows}


def test_strengths_of_one_run_are_what_they_are_alone(db):
    hypotheses = ["kind=vowel", "kind=digit", "position"]
    found = by_pair(db.inspect("net", "texts", hypotheses, PATH, layers="*"))
    alone = {}
    for call in PATH:
        alone |= by_pair(db.inspect("net", "texts", hypotheses, [call], layers="*"))
    assert set(found) == set(alone)
    for pair, (unit, group, note) in found.items():
        one_unit, one_group, one_note = alone[pair]
        assert note == one_note
        assert group == (one_group if one_group is None else pytest.approx(one_group))
        assert unit == (one_unit if one_unit is None else pytest.approx(one_unit, rel=1e-2, abs=1e-2))


def test_strengths_in_sql(db):
    rows = db.sql(
        "SELECT S.measure, S.unit, S.group_score, S.unit_score INSPECT U.unit AND H.hypothesis "
        "USING logistic(c := 0.01), logistic(c := 10) OVER D.record AS S FROM units U, hypotheses H, inputs D "
        "WHERE U.layer = '1' AND H.hypothesis = 'kind=vowel' AND D.dataset = 'texts' AND U.unit = 0"
    ).fetchall()
    weights = {measure: weight for measure, _, _, weight in rows}
    assert 0 < weights["logistic(c := 0.01)"] < weights["logistic(c := 10.0)"]


def test_strengths_on_the_command_line(cli, write, model_file, text_file):
    write("net.py", model_file.read_text())
    write("texts.txt", text_file.read_text())
    calls = [x for c in (0.1, 1, 10) for x in ("-m", f"logistic(c := {c})")]
    shown = cli("inspect", "net.py:net", "texts.txt", "-H", "symbol IN ('a', 'e', 'o')", *calls, "--layers", "*")
    assert shown.exit_code == 0, shown.output
    assert {line.split("  ")[1] for line in shown.stdout.splitlines()[1:]} == {
        "logistic(c := 0.1)",
        "logistic",
        "logistic(c := 10.0)",
    }
