"""Runs stop when what is asked is settled, at the right answer, and say what is open."""

from __future__ import annotations

import itertools
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from torch import nn

import deepbase
from deepbase.engine.looks import Spending
from deepbase.inputs.stream import permuted

RECORDS, LENGTH = 3_000, 6
STRONG, WEAK = 0.6, 0.3


def numbered(text: str) -> list[tuple[int, int, int]]:
    """Symbols with the numbers of the rows that the record has, whose text is its own number."""
    first = int(text) * LENGTH if text.isdecimal() else 0
    return [(first + i, i, i + 1) for i in range(min(LENGTH, len(text)))]


def planted(*, ties: float = 0.0, records: int = RECORDS, seed: int = 0, order: str = "random") -> deepbase.Database:
    """A database with a model that gives known numbers, clustered by record.

    Unit 0 follows `true` well, unit 1 hardly less (by `ties`), unit 2 a little, the others not at all. A share of each
    unit is the same at all symbols of a record.
    """
    rng = np.random.default_rng(seed)
    true = rng.random((records, LENGTH)) < rng.beta(2, 3, (records, 1))
    y = (true - true.mean()) / true.std()
    noise = rng.standard_normal((records, LENGTH, 8)) + rng.standard_normal((records, 1, 8))
    noise -= (noise * y[..., None]).mean((0, 1)) * y[..., None]
    noise /= noise.std((0, 1))
    r = np.array([STRONG, STRONG - ties if ties else 0.5, WEAK, *[0.0] * 5])
    units = (r * y[..., None] + np.sqrt(1 - r**2) * noise).astype(np.float32)
    ranks = np.arange(records)
    if order == "label":
        ranks = np.argsort(true.sum(1), kind="stable")
    if order == "activation":
        ranks = np.argsort(units[..., 0].mean(1), kind="stable")
    units, true = units[ranks], true[ranks]
    table = torch.from_numpy(units.reshape(-1, 8))
    module = nn.Sequential(nn.Embedding.from_pretrained(table))
    db = deepbase.connect()
    db.register_model("planted", deepbase.Model(module, numbered))
    db.register_dataset("data", [f"{i:06d}" for i in range(records)])
    flat = true.ravel().tolist()

    @deepbase.hypothesis
    def holds(record: int, position: int, flat: Any = flat) -> bool:
        return bool(flat[record * LENGTH + position])

    db.register_hypotheses(holds)
    return db


def exact(db: deepbase.Database, measure: str = "pearson", hypothesis: str = "holds") -> np.ndarray:
    found = db.inspect("planted", "data", hypothesis, [measure], exact=True)
    return np.array([s for (s,) in found.scores.order("unit").project("unit_score").fetchall()], dtype=float)


def test_a_run_stops_when_every_score_is_within_the_error_and_its_intervals_hold():
    with planted() as db:
        truth = exact(db)
        found = db.inspect("planted", "data", "holds", error=0.08)
        rows = found.scores.order("unit").project("unit_score, low, high, records, open, note").fetchall()
        assert found.run["stopped_because"] == "every score is within 0.08, at 95 % confidence"
        assert found.run["records_seen"] < RECORDS / 2
        for (score, low, high, records, is_open, note), true in zip(rows, truth, strict=True):
            assert low < score < high
            assert max(high - score, score - low) <= 0.08
            assert low <= true <= high
            assert (is_open, note) == (False, None)
            assert 128 <= records <= found.run["records_seen"]
        assert found.open.fetchall() == []


def test_more_precision_takes_more_records_and_all_of_them_are_exact():
    with planted() as db:
        truth = exact(db)
        seen = []
        for error in (0.2, 0.07, 0.04, 0.0001):
            db.register_dataset(f"data{error}", [f"{i:06d}" for i in range(RECORDS)])  # each begins anew
            found = db.inspect("planted", f"data{error}", "holds", error=error)
            seen.append(found.run["records_seen"])
        assert seen == sorted(set(seen))
        assert seen[-1] == RECORDS
        assert found.run["stopped_because"] == "every record was read"
        rows = found.scores.order("unit").project("unit_score, low, high").fetchall()
        assert np.abs(np.array(rows) - truth[:, None]).max() < 1e-5
        assert all(score == low == high for score, low, high in rows), "the whole dataset leaves nothing to chance"


def test_intervals_about_the_source_of_the_records_stay_wide():
    with planted() as db:
        some = db.inspect("planted", "data", "holds", population=True, error=0.15)
        assert some.run["records_seen"] < RECORDS
        whole = db.inspect("planted", "data", "holds", population=True)
        low, high = whole.scores.filter("unit = 3").project("low, high").fetchall()[0]
        assert whole.run["records_seen"] == RECORDS
        assert 0.005 < (high - low) / 2 < 0.1


@pytest.mark.parametrize("order", ["random", "label", "activation"])
@pytest.mark.parametrize("measure", ["pearson", "mean_difference", "cohens_d", "spearman", "auroc"])
def test_intervals_hold_at_the_moment_a_run_stops(measure, order):
    """40 orders of 8 units, as the file is in random order, or sorted by what is asked about."""
    error = {"mean_difference": 0.15, "cohens_d": 0.2}.get(measure, 0.08)
    with planted(records=800, order=order) as db:
        truth = exact(db, measure)
        hits, seen = [], []
        for seed in range(40):
            found = db.inspect("planted", "data", "holds", [measure], error=error, seed=seed)
            rows = np.array(found.scores.order("unit").project("low, high").fetchall(), dtype=float)
            hits.append((rows[:, 0] - 1e-5 <= truth) & (truth <= rows[:, 1] + 1e-5))
            seen.append(found.run["records_seen"])
        assert np.mean(hits) >= 0.93
        assert min(seen) < 800, "some of the runs stopped by themselves"


def test_a_threshold_needs_no_more_than_its_side():
    with planted() as db:
        found = db.inspect("planted", "data", "holds", threshold=0.4)
        assert found.run["stopped_because"] == "every score is on its side of -0.4 and 0.4, at 95 % confidence"
        assert found.run["records_seen"] < RECORDS / 2
        strong = found.scores.filter("abs(unit_score) > 0.4").order("unit").project("unit").fetchall()
        assert strong == [(0,), (1,)]
        assert found.scores.filter("high - low > 0.04").fetchall(), "no score had to be precise"


def test_the_best_are_told_from_the_others():
    with planted() as db:
        found = db.inspect("planted", "data", "holds", top=2)
        assert (
            found.run["stopped_because"] == "the best 2 of each hypothesis are told from the others, at 95 % confidence"
        )
        assert found.run["records_seen"] < RECORDS / 2
        best = found.scores.order("unit_score DESC").limit(2).project("unit").fetchall()
        assert sorted(best) == [(0,), (1,)]


@pytest.mark.parametrize("options", [{"top": 1}, {"threshold": STRONG - 0.0005}])
def test_near_ties_are_read_to_the_end_or_told(options):
    with planted(ties=0.001) as db:
        strict = db.inspect("planted", "data", "holds", ties=0, **options)
        assert strict.run["records_seen"] > 0.9 * RECORDS
        loose = db.inspect("planted", "data", "holds", ties=0.1, seed=2, **options)
        assert loose.run["records_seen"] < RECORDS / 2
        tied = loose.open.order("unit").project("unit, note").fetchall()
        assert [unit for unit, _ in tied] == [0, 1]
        assert {note for _, note in tied} == {"closer to others, or to a threshold, than has to be told apart"}
        assert ", but for 2 within 0.1 of the bound" in loose.run["stopped_because"]


def test_ties_never_end_on_a_coin_flip():
    with planted(ties=0.002, records=600) as db:
        truth = exact(db)
        for seed in range(30):
            found = db.inspect("planted", "data", "holds", top=1, ties=0.02, seed=seed)
            best = found.scores.order("unit_score DESC").limit(1).project("unit").fetchall()[0][0]
            assert truth[best] > truth.max() - 0.02
            assert found.run["records_seen"] == 600 or best == truth.argmax() or found.open.fetchall()


def test_what_is_settled_is_set_aside_and_not_read_for():
    with planted() as db:
        found = db.inspect("planted", "data", ["holds", "position = 0"], error=0.06)
        records = found.scores.aggregate("min(records), max(records)").fetchall()[0]
        assert records[0] < records[1] == found.run["records_seen"]


def test_the_layers_that_nothing_needs_any_more_are_not_run():
    with planted() as db:
        rng = np.random.default_rng(0)
        table = torch.from_numpy(rng.standard_normal((RECORDS * LENGTH, 4)).astype(np.float32))
        calls = {"first": 0, "second": 0}

        class Counted(nn.Identity):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                calls[self.name] += len(x)
                return x

        class Two(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.table = nn.Embedding.from_pretrained(table)
                self.first, self.second = Counted("first"), Counted("second")

            def forward(self, ids: torch.Tensor) -> torch.Tensor:
                x = self.first(self.table(ids))
                return self.second(torch.where(x > 10, x, torch.zeros_like(x)))

        db.register_model("two", deepbase.Model(Two(), numbered))
        calls.update(first=0, second=0)
        found = db.inspect("two", "data", "holds", layers=["first", "second"], error=0.05)
        assert calls["first"] >= found.run["records_seen"]
        assert calls["second"] < found.run["records_seen"], "its units are constant, so that nothing is left to settle"


def test_a_second_question_goes_on_from_the_first_run():
    with planted() as db:
        first = db.inspect("planted", "data", "holds", error=0.1)
        blocks: list[int] = []
        second = db.inspect("planted", "data", "holds", error=0.05, progress=lambda p: blocks.append(p.records_seen))
        assert second.run["spec"]["continues"] == first.run_id
        assert min(blocks) > first.run["records_seen"] / 3, "what was read is not read again"
        assert second.run["records_seen"] > first.run["records_seen"]
        alone = planted()
        fresh = alone.inspect("planted", "data", "holds", error=0.05, exact=True)
        whole = db.inspect("planted", "data", "holds", exact=True)
        assert whole.run["spec"]["continues"] == second.run_id
        scores = [f.scores.order("unit").project("unit_score").fetchall() for f in (fresh, whole)]
        assert np.abs(np.subtract(*scores)).max() < 1e-6
        easier: list[int] = []
        third = db.inspect("planted", "data", "holds", error=0.2, progress=lambda p: easier.append(p.records_seen))
        assert easier == [], "nothing had to be read"
        assert third.run["stopped_because"] == "every score is within 0.2, at 95 % confidence"


def test_another_question_of_other_work_begins_anew():
    with planted() as db:
        db.inspect("planted", "data", "holds", error=0.1)
        for change in ({"seed": 1}, {"measures": ["cohens_d"]}, {"where": "record > 3"}, {"confidence": 0.9}):
            found = db.inspect("planted", "data", "holds", **{"error": 0.1, **change})
            assert "continues" not in found.run["spec"]


def test_a_run_that_goes_on_is_resumed_to_the_same_scores(tmp_path):
    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    scores = []
    for interrupted in (False, True):
        with planted() as db:
            db.inspect("planted", "data", "holds", error=0.1)
            run = 2
            if interrupted:
                with pytest.raises(KeyboardInterrupt):
                    db.inspect("planted", "data", "holds", error=0.03, progress=stop)
                assert db.run(run)["status"] == "interrupted"
                found = db.inspect(resume=run)
            else:
                found = db.inspect("planted", "data", "holds", error=0.03)
            assert found.run["spec"]["continues"] == 1
            scores.append(found.scores.order("unit").project("unit, unit_score, low, high, records").fetchall())
    assert scores[0] == scores[1]


def test_budgets_end_a_run_with_honest_intervals():
    with planted() as db:
        truth = exact(db)
        limited = db.inspect("planted", "data", "holds", records=300, error=0.001)
        assert limited.run["stopped_because"] == "the limit of records was reached"
        rows = limited.scores.order("unit").project("low, high, open").fetchall()
        assert all(low <= true <= high and is_open for (low, high, is_open), true in zip(rows, truth, strict=True))
        assert len(limited.open.fetchall()) == 8
        timed = db.inspect("planted", "data", "holds", seconds=1e-9, error=0.001, seed=1)
        assert timed.run["stopped_because"] == "the time was up (1e-09 s)"
        assert timed.run["records_seen"] < 400


def test_an_interrupted_run_has_intervals(monkeypatch):
    def stop(progress: Any) -> None:
        if progress.records_seen >= 384:
            raise KeyboardInterrupt

    with planted() as db:
        truth = exact(db)
        with pytest.raises(KeyboardInterrupt):
            db.inspect("planted", "data", "holds", error=0.001, progress=stop)
        rows = db.relation("FROM scores WHERE run = 2 ORDER BY unit").project("low, high, open").fetchall()
        assert all(low <= true <= high and is_open for (low, high, is_open), true in zip(rows, truth, strict=True))


def test_progress_tells_how_many_scores_are_open_and_the_widest_interval():
    with planted() as db:
        told: list[tuple[int, int, float]] = []
        db.inspect("planted", "data", "holds", error=0.05, progress=lambda p: told.append((p.pairs, p.open, p.widest)))
        assert told[0][0] == 0
        later = [t for t in told if t[0]]
        assert {t[0] for t in later} == {8}
        assert 0 < later[0][1] <= 8
        assert 0.05 < later[0][2] < 1


def test_rare_hypotheses_have_no_interval_and_are_read_for():
    with planted() as db:
        found = db.inspect("planted", "data", ["record % 600 = 0 AND position = 0"], error=0.5)
        assert found.run["records_seen"] == RECORDS
        some = db.inspect("planted", "data", ["record % 600 = 0 AND position = 0"], records=2_000, seed=1)
        notes = some.scores.filter("unit_score IS NOT NULL").project("low, note").distinct().fetchall()
        assert notes == [(None, "no interval: too few records tell of the hypothesis")]


def test_a_run_repeated_stops_at_the_same_record():
    seen = []
    for _ in range(2):
        with planted() as db:
            found = db.inspect("planted", "data", "holds", error=0.06, seed=3)
            seen.append((found.run["records_seen"], found.scores.order("unit").fetchall()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("total", [100, 129, 2_001, 10**6, 10**12])
def test_looks_and_the_end_spend_no_more_than_there_is(total):
    for dataset in (float(total), float("inf")):
        spending = Spending(0.05, total, dataset)
        looks = [0, *(n for k in range(80) if (n := int(128 * 1.5**k)) <= 0.95 * total)]
        levels = [spending.level(a, b) for a, b in itertools.pairwise(looks)]
        assert all(level > 0 for level in levels)
        assert sum(levels) <= 0.75 * 0.05 + 1e-12
        assert sum(levels) + spending.rest(looks[-1]) == pytest.approx(0.05)


def test_the_first_records_are_a_random_sample_whatever_the_order_of_the_file():
    with planted(order="activation") as db:
        found = db.inspect("planted", "data", "holds", ["pearson"], records=256, exact=True)
        drawn = permuted(np.arange(256), RECORDS, 0)
        assert found.run["records_seen"] == 256
        assert 0.4 < np.mean(drawn < RECORDS / 2) < 0.6


QUERY = """SELECT S.unit INSPECT U.unit AND H.hypothesis USING {measures} OVER D.record {options} AS S
FROM models M, units U, hypotheses H, inputs D
WHERE M.model = 'planted' AND H.hypothesis = 'holds' AND D.dataset = 'data' {rest}"""


@pytest.mark.parametrize(
    ("rest", "asked"),
    [
        ("", {}),
        ("HAVING S.unit_score > 0.4", {"thresholds": [0.4]}),
        ("HAVING abs(S.unit_score) >= 0.4", {"thresholds": [-0.4, 0.4]}),
        ("AND S.unit_score < -0.25", {"thresholds": [-0.25]}),
        ("HAVING S.unit_score BETWEEN -0.1 AND 0.4", {"thresholds": [-0.1, 0.4]}),
        ("HAVING S.unit_score > 0.4 OR S.unit_score < -0.3", {"thresholds": [-0.3, 0.4]}),
        ("HAVING NOT (0.4 > S.unit_score) AND S.hypothesis = 'holds'", {"thresholds": [0.4]}),
        ("ORDER BY S.unit_score DESC LIMIT 2", {"top": 2, "by": "greatest", "within": []}),
        ("ORDER BY S.unit_score LIMIT 2", {"top": 2, "by": "least", "within": []}),
        ("ORDER BY abs(S.unit_score) DESC LIMIT 1 OFFSET 1", {"top": 2, "by": "strength", "within": []}),
        (
            "HAVING S.unit_score > 0.2 ORDER BY S.unit_score DESC LIMIT 2",
            {"top": 2, "by": "greatest", "within": [], "thresholds": [0.2]},
        ),
        (
            "QUALIFY row_number() OVER (PARTITION BY H.hypothesis ORDER BY S.unit_score DESC) <= 2",
            {"top": 2, "by": "greatest", "within": ["hypothesis"]},
        ),
        ("HAVING S.unit_score > 0.4 AND S.unit_score < U.unit", {}),
        ("HAVING S.unit_score + 1 > 1.4", {}),
        ("HAVING S.unit_score > 0.2 AND S.symbols > 10 ORDER BY S.unit_score DESC LIMIT 2", {}),
        ("HAVING S.unit_score < 0.2 ORDER BY S.unit_score DESC LIMIT 2", {}),
        ("ORDER BY U.unit LIMIT 2", {}),
        ("ORDER BY abs(S.unit_score) LIMIT 2", {}),
        ("LIMIT 2", {}),
    ],
)
def test_a_query_says_what_has_to_be_settled(rest, asked):
    plain = {"thresholds": [], "top": None, "by": "strength", "within": ["hypothesis", "measure", "slice"]}
    with planted(records=200) as db:
        db.sql(QUERY.format(measures="pearson", options="", rest=rest))
        spec = db.run(1)["spec"]
        assert {name: spec[name] for name in plain} == {**plain, **asked}


def test_a_query_that_aggregates_needs_the_scores_themselves():
    with planted(records=200) as db:
        db.sql(QUERY.replace("S.unit ", "max(S.unit_score) ").format(measures="pearson", options="", rest="LIMIT 1"))
        assert db.run(1)["spec"]["top"] is None


def test_a_query_is_answered_as_by_all_records():
    with planted() as db:
        options = "WITH (ties := 0.05)"
        rest = "HAVING S.unit_score > 0.45 ORDER BY S.unit_score DESC LIMIT 2"
        found = db.sql(QUERY.format(measures="pearson", options=options, rest=rest)).fetchall()
        assert found == [(0,), (1,)]
        assert db.run(1)["records_seen"] < RECORDS / 2
        options = "WITH (threshold := 0.4, exact := false, seconds := 100)"
        db.sql(QUERY.format(measures="pearson", options=options, rest=""))
        assert db.run(2)["spec"]["thresholds"] == [-0.4, 0.4]


def test_explain_tells_when_a_run_stops():
    with planted() as db:
        rest = "HAVING S.unit_score > 0.45 ORDER BY S.unit_score DESC LIMIT 2"
        plan = db.explain(QUERY.format(measures="pearson", options="WITH (seconds := 9)", rest=rest))
        assert "stops: when the best 2 are told from the others, and from 0.45, at 95 % confidence" in plan
        assert "at the latest when every record was read, or after 9 s" in plan
        assert "closer to the bound than 0.01 may stay on either side" in plan
        plan = db.explain(QUERY.format(measures="pearson", options="WITH (exact := true)", rest=rest))
        assert "stops: when every record was read" in plan
        assert "looks" not in plan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1}, "threshold cannot be -1"),
        ({"threshold": "a"}, "threshold cannot be 'a'"),
        ({"top": 0}, "top cannot be 0"),
        ({"ties": -0.1}, "ties cannot be -0.1"),
        ({"seconds": 0}, "seconds cannot be 0"),
        ({"seconds": float("nan")}, "seconds cannot be nan"),
        ({"exact": "yes"}, "exact cannot be 'yes'"),
        ({"population": 1}, "population cannot be 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with planted(records=10) as db, pytest.raises(deepbase.DeepBaseError, match=message):
        db.inspect("planted", "data", "holds", **options)


def test_plain_duckdb_reads_intervals(tmp_path):
    with planted() as db:
        db.inspect("planted", "data", "holds", error=0.1)
        table = db.relation("SELECT unit, low, high, open FROM scores ORDER BY unit").to_arrow_table()
        lists = db.relation("FROM score_lists").to_arrow_table()  # noqa: F841
    assert table.num_rows == 8
    with duckdb.connect() as plain:
        whole = plain.sql("SELECT whole FROM lists").fetchall()
    assert set(whole) == {(False,)}
