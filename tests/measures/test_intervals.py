"""Standard errors of measures of order, of facts, and of what is left after confounds, and the intervals from them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import scipy.stats
import torch
from clustered import CPU, PLENTY, Symbols

from deepbase.blocks import ConfoundBehavior, LabelBehavior
from deepbase.measures.base import Target
from deepbase.measures.batch import GROUP_SEED, GROUPS, BatchLabels
from deepbase.measures.hashing import hashed
from deepbase.measures.order import without
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.walk import Cuts
from deepbase.measures.registry import MEASURES, measures
from deepbase.measures.spread import interval, transformed

BOOLEANS = ("auroc", "spearman", "kendall", "average_precision", "f1", "accuracy", "jaccard", "mutual_information")
FACTS = ("density", "mean", "standard_deviation", "kurtosis")
GIVEN = ("pearson(given := ['z'])", "mean_difference(given := ['z'])", "auroc(given := ['z'])")
Z = {"pearson": 0, "mean_difference": 0, "auroc": 1}
"""The column of the confound that each is given: a number, and a boolean."""


@lru_cache(maxsize=4)
def population(records=800, seed=0):
    """Units that follow hypotheses more or less, with a number, a category and two confounds beside these."""
    symbols = Symbols(records, units=6, hypotheses=4, effect=0.7, seed=seed, least=3, most=25, rate=0.3)
    rng = np.random.default_rng(seed + 1)
    n = len(symbols.record)
    number = symbols.x[:, 1] + rng.normal(size=records)[symbols.record] + rng.normal(size=n)
    category = rng.integers(0, 3, n)
    values = np.concatenate([symbols.y, number[:, None], category[:, None] == np.arange(3)], 1).astype(float)
    confounds = np.stack([rng.normal(size=n) + symbols.y[:, 0], rng.random(n) < 0.5], 1).astype(float)
    return symbols.x, values, symbols.record, confounds


def state_of(measure, rows, x, values, record, confounds, memory=PLENTY, valid=None):
    """The state of some rows; the hypotheses of the second half are NULL where `valid` says so."""
    kinds = ("boolean",) * 4 + ("number",) + ("boolean",) * 3
    known = np.ones((len(rows), 1), bool) if valid is None else np.stack([np.ones(len(rows), bool), valid[rows]], 1)
    null_class = np.zeros(8, np.int64) if valid is None else np.arange(8) // 2 % 2
    sets = ((0,), (1,))
    labels = LabelBehavior(
        values[rows] * known[:, null_class],
        known,
        null_class,
        record[rows],
        kinds,
        confounds=ConfoundBehavior(confounds[rows], ("number", "boolean"), sets, sets),
    )
    batch = BatchLabels.of(labels, 0, len(rows), np.zeros(8), CPU)
    return measure.reads.first(torch.from_numpy(x[rows]), batch, memory)


def targets_of(measure):
    if not measure.kinds:
        return [Target(None)]
    given = (Z[measure.name],) if measure.confounds else ()
    found = [Target("boolean", (i,), given) for i in range(4)] if "boolean" in measure.kinds else []
    found += [Target("number", (4,), given)] if "number" in measure.kinds else []
    return found + ([Target("category", (5, 6, 7))] if "category" in measure.kinds else [])


def spread_of(measure, state):
    targets = targets_of(measure)
    found = measure.compute(state, targets)
    return found, measure.spread(state, targets, found)


def group_of(record):
    return (hashed(record, GROUP_SEED) % np.uint64(GROUPS)).astype(int)


@pytest.mark.parametrize("call", [*BOOLEANS, *FACTS, *GIVEN, "correlation_ratio", "pearson", "cohens_d"])
def test_intervals_hold_the_score_of_all_records_as_often_as_they_say(call):
    """About 19 of 20; draws are few, and pairs of one draw are alike."""
    (measure,) = measures([call])
    x, _, record, _ = data = population()
    truth = measure.compute(state_of(measure, np.arange(len(x)), *data), targets_of(measure)).unit_score
    rng, hits, records = np.random.default_rng(0), [], record.max() + 1
    for _ in range(30):
        rows = np.flatnonzero(np.isin(record, rng.permutation(records)[:400]))
        found, spread = spread_of(measure, state_of(measure, rows, *data))
        low, high = interval(found.unit_score, spread, measure.error_scale, 0.05, 0.5)
        known = ~np.isnan(low)
        assert known.mean() > 0.9
        hits.append(((low <= truth) & (truth <= high))[known].mean())
        wide = np.nanmedian(high - low)
    assert 0.9 < np.mean(hits) < 0.99
    assert 0 < wide < 0.5 * (1 + np.abs(truth).max())


@pytest.mark.parametrize("call", [*BOOLEANS, *FACTS, *GIVEN, "correlation_ratio"])
def test_standard_errors_are_those_of_scores_without_each_group_of_records(call):
    """The delta method is the jackknife to the first order; the jackknife of one pass is that of sixteen states."""
    (measure,) = measures([call])
    data = population()
    rows, group = np.arange(len(data[0])), group_of(data[2])
    _, spread = spread_of(measure, state_of(measure, rows, *data))
    each = []
    for g in range(GROUPS):
        each.append(measure.compute(state_of(measure, rows[group != g], *data), targets_of(measure)).unit_score)
    scores = transformed(np.stack(each), measure.error_scale)
    error = np.sqrt((GROUPS - 1) / GROUPS * np.square(scores - scores.mean(0)).sum(0))
    told = (np.stack(each) != 0).all(0)  # information below 0 is 0, and does not vary
    ratio = np.where(told, spread.error / np.where(told, error, 1), 1)[:5]
    assert told[0].all()
    if call == "correlation_ratio":  # whose error has the bias in it
        assert (ratio >= 1 - 1e-6).all()
    elif call in BOOLEANS or measure.name == "auroc":
        np.testing.assert_allclose(ratio[:4], 1, rtol=1e-4)
        if measure.name != "mutual_information":  # where a number has other bins without a group
            np.testing.assert_allclose(ratio[4:], 1, rtol=0.35)  # of a number: random groups
    else:
        np.testing.assert_allclose(ratio, 1, rtol=0.1)
    assert spread.freedom.max() <= GROUPS - 1
    assert (spread.freedom > 10).all()


def test_standard_errors_are_about_those_of_a_jackknife_of_records():
    """Of AUROC, by SciPy's ranks; sixteen groups know a standard error up to a fifth or so, all pairs together less."""
    measure = MEASURES["auroc"]()
    x, values, record, _ = data = population(150, 3)
    _, spread = spread_of(measure, state_of(measure, np.arange(len(x)), *data))

    def auroc(rows, u, h):
        y = values[rows, h] > 0
        ranks = scipy.stats.rankdata(x[rows, u])
        return (ranks[y].sum() - y.sum() * (y.sum() + 1) / 2) / (y.sum() * (~y).sum())

    ratios = []
    for u, h in np.ndindex(3, 4):
        without_one = np.array([auroc(record != r, u, h) for r in range(150)])
        logit = np.log(without_one / (1 - without_one))
        ratios.append(spread.error[h, u] / np.sqrt(149 / 150 * np.square(logit - logit.mean()).sum()))
    assert 0.8 < np.mean(ratios) < 1.25
    assert 0.4 < min(ratios) < max(ratios) < 2


@pytest.fixture(params=["compiled", "with torch"])
def _loops(request, monkeypatch):
    if request.param == "with torch":
        monkeypatch.setattr(without, "kernels", lambda: None)


def hard_order():
    """Ties, constants, NaN and NULLs; and the same rows without each group."""
    x, values, record, confounds = population(60, 5)
    x = x.copy()
    x[:, 1], x[:, 2], x[:, 3], x[3, 4] = np.round(x[:, 1]), x[:, 2] > 0, 7, np.nan
    valid = np.random.default_rng(0).random(len(x)) < 0.7
    data, rows = (x, values, record, confounds), np.arange(len(x))
    measure = MEASURES["auroc"]()
    states = [state_of(measure, rows[group_of(record) != g], *data, valid=valid) for g in range(GROUPS)]
    return state_of(measure, rows, *data, valid=valid), states


@pytest.mark.usefixtures("_loops")
def test_one_pass_finds_the_walks_without_each_group():
    state, states = hard_order()
    booleans = [0, 1, 2, 3, 5, 6, 7]
    for found, other in zip(without.walks_without(state), states, strict=True):
        expected = other.walk(Cuts())
        assert found.n.tolist() == expected.n.tolist()
        assert found.positives[booleans].tolist() == expected.positives[booleans].tolist()
        np.testing.assert_array_equal(found.tied_pairs, expected.tied_pairs)
        np.testing.assert_array_equal(found.tied_cubes, expected.tied_cubes)
        np.testing.assert_allclose(found.sums[:, booleans], expected.sums[:, booleans], rtol=1e-6, atol=1e-6)
    cuts = Cuts(bins=5, top=0.1)
    for units, several in without.counts_without(state, cuts, slice(1, None)):
        for found, other in zip(several, states, strict=True):
            expected = other.walk(cuts)
            np.testing.assert_array_equal(found.sizes, expected.sizes[:, units, 1:])
            np.testing.assert_array_equal(found.counts[:, :, booleans], expected.counts[units, 1:][:, :, booleans])


@pytest.mark.parametrize("call", [*BOOLEANS, *FACTS, *GIVEN, "correlation_ratio"])
def test_what_the_records_do_not_tell_has_no_interval(call):
    """Of one record, of constants, and of units that are not finite."""
    (measure,) = measures([call])
    x, values, record, confounds = population(100, 2)
    x, values = x.copy(), values.copy()
    x[:, 0], x[5, 1] = 3, np.nan
    values[:, 1] = (record == 7) & (np.arange(len(x)) % 2 > 0)
    rows = np.arange(len(x))
    found, spread = spread_of(measure, state_of(measure, rows, x, values, record, confounds))
    low, _ = interval(found.unit_score, spread, measure.error_scale, 0.05, 0.5)
    assert np.isnan(low[:, :2]).all()
    if "boolean" in measure.kinds:
        assert np.isnan(low[1]).all()
    assert not np.isnan(low[0, 2:]).any()
    one = rows[record == 7]
    found, spread = spread_of(measure, state_of(measure, one, x, values, record, confounds))
    assert np.isnan(interval(found.unit_score, spread, measure.error_scale, 0.05, 0.5)).all()


@pytest.mark.parametrize("call", BOOLEANS)
def test_without_all_rows_there_is_no_interval(call):
    (measure,) = measures([call])
    data = population(300)
    state = state_of(measure, np.arange(len(data[0])), *data, memory=2**15)
    assert isinstance(state, PairOrder)
    assert state.sketch is not None
    found, spread = spread_of(measure, state)
    assert np.isfinite(found.unit_score).any()
    assert np.isnan(spread.error).all()
    assert spread.missing == "no interval: too little memory to keep all rows"


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_an_extreme_has_no_interval(name):
    measure, data = MEASURES[name](), population(100)
    found, spread = spread_of(measure, state_of(measure, np.arange(len(data[0])), *data))
    assert not measure.has_interval
    assert np.isfinite(found.unit_score).all()
    assert np.isnan(spread.error).all()
    assert spread.missing.startswith("no interval: an extreme")


@pytest.mark.parametrize("name", ["pearson", "class_selectivity", "spearman", "auroc"])
def test_standard_errors_are_the_same_with_permutations(name):
    symbols = Symbols(60, units=3, hypotheses=2, effect=1.0)
    plain, permuted = (MEASURES[name](permutations=k) for k in (0, 9))
    spreads = []
    for measure in (plain, permuted):
        state = symbols.state(measure.reads)
        spreads.append(measure.spread(state, symbols.targets, measure.compute(state, symbols.targets)))
    np.testing.assert_allclose(spreads[0].error, spreads[1].error, rtol=1e-12)
    assert np.isfinite(spreads[0].error).all()


@pytest.mark.parametrize("call", ["mean", "standard_deviation", GIVEN[1]])
def test_errors_in_the_scale_of_a_unit_are_told_as_shares_of_its_deviation(call):
    (measure,) = measures([call])
    x, *rest = population(100)
    rows = np.arange(len(x))
    _, one = spread_of(measure, state_of(measure, rows, x, *rest))
    _, ten = spread_of(measure, state_of(measure, rows, 8 * x, *rest))
    np.testing.assert_allclose(ten.error, 8 * one.error, rtol=1e-6)
    np.testing.assert_allclose(ten.per, 8 * one.per, rtol=1e-6)
    np.testing.assert_allclose(one.per, np.broadcast_to(x.std(0), one.per.shape), rtol=1e-5)


def test_nothing_of_the_spread_is_made_before_it_is_asked_for():
    measure, data = MEASURES["auroc"](), population(100)
    state = state_of(measure, np.arange(len(data[0])), *data)
    found = measure.compute(state, targets_of(measure))
    assert not state.made.without
    measure.spread(state, targets_of(measure), found)
    made = state.made.without[0]
    average = MEASURES["average_precision"]()
    average.spread(state, targets_of(average), average.compute(state, targets_of(average)))
    assert state.made.without[0] is made
    assert not replace(state).empty_like(labels_like(data)).made.without


def labels_like(data):
    kinds = ("boolean",) * 4 + ("number",) + ("boolean",) * 3
    labels = LabelBehavior(data[1][:3], np.ones((3, 1), bool), np.zeros(8, np.int64), data[2][:3], kinds)
    return BatchLabels.of(labels, 0, 3, np.zeros(8), CPU)
