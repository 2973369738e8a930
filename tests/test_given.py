"""`given` from end to end: in Python, in SQL and on the command line, in groups, after an interruption, and refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import torch
from given_data import HYPOTHESIS, quantile_strata, residual
from torch import nn

import deepbase
from deepbase.errors import DeepBaseError, HypothesisError, MeasureError

CALL = "pearson(given := ['length(word)', 'position'])"
QUOTED = CALL.replace("'", "''")


def pieces(text):
    return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text) if c != " "]


class Net(nn.Module):
    """Units that know characters, and what came before them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Embedding(128, 5)
        self.memory = nn.GRU(5, 4, batch_first=True)

    def forward(self, ids):
        return self.memory(self.embed(ids))[0]


def make(path=None, records=60):
    rng = np.random.default_rng(0)
    words = ["Anna", "sees", "a", "bear", "incomprehensible", "x1", "on", "Sunday"]
    texts = [[words[i] for i in rng.integers(8, size=rng.integers(2, 7))] for _ in range(records)]
    tags = [[None if w == "x1" else "N" if w[0].isupper() else "V" if w == "sees" else "O" for w in t] for t in texts]
    table = pa.table(
        {
            "text": [" ".join(t) for t in texts],
            "tag": pa.array(tags, pa.list_(pa.string())),
            "genre": [("news", "mail", None)[i % 3] for i in range(records)],
            "year": pa.array(rng.integers(1990, 2030, records), mask=rng.random(records) < 0.2),
        }
    )
    db = deepbase.connect(path)
    db.register_model("net", deepbase.Model(Net(), pieces))
    db.register_dataset("texts", table)
    return db


@pytest.fixture(scope="module")
def db():
    with make() as database:
        yield database


@pytest.fixture(scope="module")
def symbols(db):
    """The activations of a layer and the symbols, in one order."""
    rows = db.sql(
        "SELECT * FROM symbols('texts', 'net') JOIN activations('net', 'texts') USING (record, position) "
        "WHERE layer = 'memory' ORDER BY record, position"
    ).df()
    rows["length"] = [len(w) if isinstance(w, str) else np.nan for w in rows["word"]]
    return rows


def scores(found, *more):
    columns = ", ".join(("measure", "hypothesis", "unit", *more))
    rows = found.scores.filter("layer = 'memory'").project(columns).fetchall()
    return {row[:3]: row[3:] for row in rows}


def test_partial_correlations_are_those_of_residuals_over_symbols(db, symbols):
    hypotheses = ["tag=N", "year", "is_capitalized"]
    found = scores(db.inspect("net", "texts", hypotheses, [CALL], layers="memory"), "unit_score", "symbols", "records")
    z = symbols[["length", "position"]].to_numpy(float)
    x = np.stack(symbols["activation"].to_numpy())
    values = {
        "tag=N": np.where(symbols["tag"].isna(), np.nan, symbols["tag"] == "N"),
        "year": symbols["year"].to_numpy(float, na_value=np.nan),
    }
    for name, y in values.items():
        known = ~np.isnan(y.astype(float)) & ~np.isnan(z).any(1)
        left = residual(y[known].astype(float), z[known])
        for unit in range(4):
            score, n, records = found[CALL, name, unit]
            expected = scipy.stats.pearsonr(residual(x[known, unit].astype(float), z[known]), left).statistic
            assert score == pytest.approx(expected, abs=1e-5)
            assert (n, records) == (known.sum(), symbols["record"][known].nunique())
    assert {name for _, name, _ in found} == set(hypotheses)


def test_auroc_and_adjusted_difference_over_symbols(db, symbols):
    auroc, difference = "auroc(given := ['position', 'tag'])", "mean_difference(given := ['tag'])"
    found = scores(db.inspect("net", "texts", ["length(word) > 3"], [auroc, difference], layers="memory"), "unit_score")
    tag = symbols["tag"].notna().to_numpy()
    kinds = np.stack([symbols["tag"] == t for t in "NVO"], axis=1).astype(float)[tag]
    x, y = np.stack(symbols["activation"].to_numpy())[tag].astype(float), (symbols["length"] > 3).to_numpy(float)[tag]
    strata = quantile_strata(np.column_stack([symbols["position"].to_numpy(float)[tag], kinds]))
    for unit in range(4):
        wins = pairs = 0.0
        for s in np.unique(strata):
            true, false = x[(strata == s) & (y == 1), unit], x[(strata == s) & (y == 0), unit]
            if len(true) and len(false):
                wins += scipy.stats.mannwhitneyu(true, false).statistic
                pairs += len(true) * len(false)
        assert found[auroc, "length(word) > 3", unit][0] == pytest.approx(wins / pairs, abs=1e-6)
        design = np.column_stack([y, kinds])
        slope = np.linalg.lstsq(design, x[:, unit], rcond=None)[0][0]
        assert found[difference, "length(word) > 3", unit][0] == pytest.approx(slope, abs=1e-5)


def test_the_three_faces_give_the_same_scores(tmp_path):
    path = tmp_path / "study.duckdb"
    with make(path) as db:
        python = scores(db.inspect("net", "texts", ["tag=N"], [CALL], layers="memory"), "unit_score", "q_value")
        clause = db.sql(
            "SELECT S.measure, S.hypothesis, S.unit, S.unit_score, S.q_value "
            f"INSPECT U.unit AND H.hypothesis USING {CALL} OVER D.record AS S "
            "FROM models M, units U, hypotheses H, inputs D WHERE M.model = 'net' "
            "AND U.layer = 'memory' AND H.hypothesis = 'tag=N' AND D.dataset = 'texts'"
        ).fetchall()
        function = db.sql(
            "SELECT measure, hypothesis, unit, unit_score, q_value FROM inspect(model := 'net', dataset := 'texts', "
            f"hypotheses := ['tag=N'], measures := ['{QUOTED}'], layers := 'memory')"
        ).fetchall()
        assert len(python) == 4
        assert all(v[0] is not None for v in python.values())
        assert {row[:3]: row[3:] for row in clause} == {row[:3]: row[3:] for row in function} == python
        assert db.sql("SELECT DISTINCT measure FROM scores").fetchall() == [(CALL,)]


def test_on_the_command_line(cli, model_file, text_file):
    made = cli("inspect", f"{model_file}:net", text_file, "-H", "is_vowel", "-m", CALL, "--format", "json")
    assert made.exit_code == 0, made.output
    assert {row["measure"] for row in json.loads(made.stdout)} == {CALL}
    shown = cli("measures", "show", "pearson")
    assert "given := []" in shown.output


def test_describe_measure_tells_the_option(db):
    (row,) = db.sql("DESCRIBE MEASURE auroc").fetchall()
    assert any(str(cell).startswith("given := []") for cell in row)


def test_confounds_are_no_hypotheses_of_the_run_and_change_no_other_measure(db):
    alone = db.inspect("net", "texts", ["tag"], ["pearson", "spearman", "logistic"], layers="memory")
    measures = ["pearson", "spearman", "logistic", CALL, "logistic(given := ['year'])"]
    beside = db.inspect("net", "texts", ["tag"], measures, layers="memory")
    one, two = (scores(f, "unit_score", "group_score", "p_value", "symbols", "records") for f in (alone, beside))
    assert {key: value for key, value in two.items() if key[0] in ("pearson", "spearman", "logistic")} == one
    of_run = f"SELECT hypothesis FROM run_hypotheses WHERE run = {beside.run_id} ORDER BY 1"
    assert db.sql(of_run).fetchall() == [("tag",), ("tag=N",), ("tag=O",), ("tag=V",)]
    prints = beside.run["spec"]["fingerprints"]
    assert set(prints["confounds"]) == {"length(word)", "position", "year"}
    assert "confounds" not in alone.run["spec"]["fingerprints"]


def test_what_is_a_hypothesis_may_be_given_as_well(db):
    measure = "pearson(given := ['tag=N'])"
    found = scores(db.inspect("net", "texts", ["tag", "is_capitalized"], [measure], layers="memory"), "note")
    assert found[measure, "tag=N", 0] == (HYPOTHESIS,)
    assert found[measure, "tag=V", 0] == (None,)


def test_registered_and_shipped_hypotheses_can_be_given(db):
    @deepbase.hypothesis
    def loudness(token: list[str]) -> list[float]:
        """How far into the record, by capitals."""
        return [float(t.isupper()) + i % 3 for i, t in enumerate(token)]

    db.register_hypotheses(loudness)
    db.register_hypotheses("length(word) > 4", name="long_word")
    own, plain = "pearson(given := ['loudness', 'long_word', 'is_vowel'])", "pearson(given := ['length(word) > 4'])"
    named = "pearson(given := ['long_word'])"
    found = scores(db.inspect("net", "texts", ["tag=N"], [own, plain, named], layers="memory"), "unit_score")
    assert all(value[0] is not None for value in found.values())
    assert found[named, "tag=N", 0] == pytest.approx(found[plain, "tag=N", 0], abs=1e-12)
    assert found[own, "tag=N", 0] != found[plain, "tag=N", 0]


def test_each_slice_has_its_own_regression(db, symbols):
    found = db.inspect("net", "texts", ["tag=N"], [CALL], layers="memory", group_by="genre")
    rows = found.scores.filter("unit = 1").project("slice, unit_score, symbols").fetchall()
    assert len(rows) == 3
    for text, score, n in rows:
        genre = next((g for g in ("news", "mail") if g in text), None)
        mine = symbols["genre"].isna() if genre is None else symbols["genre"] == genre
        some = symbols[mine & symbols["tag"].notna()]
        z = some[["length", "position"]].to_numpy(float)
        x = np.stack(some["activation"].to_numpy())[:, 1].astype(float)
        y = (some["tag"] == "N").to_numpy(float)
        assert n == len(some)
        assert score == pytest.approx(scipy.stats.pearsonr(residual(x, z), residual(y, z)).statistic, abs=1e-5)


def test_a_run_that_is_resumed_has_the_same_scores(monkeypatch):
    monkeypatch.setattr("deepbase.engine.driver.PROGRESS_SECONDS", 1e9)  # no word from inside a block
    late = CALL.replace("position", "CASE WHEN record > 900 THEN position END")

    def stop(progress):
        raise KeyboardInterrupt

    with make(records=2500) as db:
        asked = ("net", "texts", ["tag=N", "year"], [CALL, late])
        whole = scores(db.inspect(*asked, layers="memory", exact=True), "unit_score", "p_value", "symbols")
        with pytest.raises(KeyboardInterrupt):
            db.inspect(*asked, layers="memory", exact=True, progress=stop)
        assert 0 < db.run(2)["records_seen"] < 2500
        assert scores(db.inspect(resume=2), "unit_score", "p_value", "symbols") == whole


@pytest.mark.parametrize(
    ("measure", "kind", "message"),
    [
        (
            "pearson(given := ['lenght'])",
            HypothesisError,
            "option 'given' of measure 'pearson': unknown hypothesis 'lenght'",
        ),
        (
            "auroc(given := ['positon'])",
            HypothesisError,
            "option 'given' of measure 'auroc': unknown hypothesis 'positon'. Did you mean 'position_in_line'",
        ),
        (
            "logistic(given := ['length(wrod)'])",
            HypothesisError,
            "option 'given' of measure 'logistic': cannot understand the hypothesis 'length(wrod)'",
        ),
        (
            "pearson(given := ['upper(word)'])",
            HypothesisError,
            "option 'given' of measure 'pearson': hypothes",
        ),
        (
            "pearson(given := ['mine.py:f'])",
            HypothesisError,
            "option 'given' of measure 'pearson': 'mine.py:f' is a file. Register its hypotheses, and give "
            "their names.",
        ),
        (
            "pearson(given := ['text'])",
            HypothesisError,
            "option 'given' of measure 'pearson': column 'text' has more than 1,000 values",
        ),
        ("pearson(given := 'position')", MeasureError, "option 'given' of measure 'pearson' cannot be 'position'."),
        ("majority(given := ['position'])", MeasureError, "measure 'majority' has no option 'given'."),
    ],
)
def test_what_cannot_be_given_is_refused(db, measure, kind, message):
    with pytest.raises(kind) as error:
        db.inspect("net", "texts", ["tag=N"], [measure])
    assert str(error.value).startswith(message)


def test_a_mistake_in_sql_is_shown_where_it_is(db):
    with pytest.raises(DeepBaseError) as error:
        db.sql(
            "SELECT S.unit INSPECT U.unit AND H.hypothesis USING pearson(given := [1, 2]) OVER D.record AS S "
            "FROM models M, units U, hypotheses H, inputs D WHERE H.hypothesis = 'tag=N'"
        )
    assert "option 'given' of measure 'pearson' cannot be [1, 2]. Give a list of texts, such as" in str(error.value)


def test_explain_counts_the_sums(db):
    plan = db.explain(
        f"SELECT S.unit INSPECT U.unit AND H.hypothesis USING pearson, {CALL} OVER D.record AS S "
        "FROM models M, units U, hypotheses H, inputs D WHERE H.hypothesis = 'tag=N' AND M.model = 'net'"
    )
    assert re.search(r"GivenMoments of pearson\(given := ", plan)
