"""p-values from permutations of whole records' labels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from clustered import CPU, Symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.errors import MeasureError
from deepbase.measures import exchange
from deepbase.measures.base import Target
from deepbase.measures.batch import BatchLabels
from deepbase.measures.exchange import Exchange
from deepbase.measures.order.state import PairOrder
from deepbase.measures.permuted_moments import PermutedMoments, permuted_moments
from deepbase.measures.registry import MEASURES, measures
from deepbase.measures.tested import AbstractTested

TESTED = sorted(name for name, m in MEASURES.items() if issubclass(m, AbstractTested))
OF_BOOLEANS = [name for name in TESTED if name != "correlation_ratio"]


def kolmogorov(p, permutations):
    """The distance of discrete p-values, spread over their steps, from uniform ones."""
    spread = p.ravel() - np.random.default_rng(0).random(p.size) / (permutations + 1)
    return scipy.stats.kstest(spread, "uniform").statistic


def reference(symbols, permutations, score):
    """p-values by hand, float64[hypothesis, unit]: the labels of a record go to another symbol by symbol."""
    exchanged = Exchange(symbols.record)
    donors = exchanged.donors(permutations)
    rows_of = [np.flatnonzero(symbols.record == r) for r in range(symbols.record.max() + 1)]
    observed = score(symbols.x, symbols.y, symbols.valid[:, symbols.null_class])
    as_extreme = np.ones_like(observed)
    for donor in donors:
        rows = np.empty(len(symbols.record), dtype=int)
        for record, given_by in enumerate(donor):
            own, other = rows_of[record], rows_of[given_by]
            rows[own] = [other[j % len(other)] for j in range(len(own))]
        permuted = score(symbols.x, symbols.y[rows], symbols.valid[rows][:, symbols.null_class])
        as_extreme += permuted >= observed * (1 - 1e-6)
    return as_extreme / (permutations + 1)


def by_pair(function):
    """A score of all pairs from a function of a unit and a hypothesis."""

    def score(x, y, known):
        pairs = [[function(u[k], h[k]) for u in x.T.astype(float)] for h, k in zip(y.T, known.T, strict=True)]
        return np.abs(np.array(pairs))

    return score


# Who gets whose labels.


def test_records_of_similar_length_exchange_and_everyone_gives_once():
    record = Symbols(records=100).record
    found = Exchange(record)
    donors = found.donors(50)
    assert (np.sort(donors, axis=1) == np.arange(100)).all()
    assert len(np.unique(donors, axis=0)) == 50
    rank = np.empty(100, dtype=int)
    rank[np.lexsort((np.arange(100), found.length))] = np.arange(100)
    assert np.abs(rank[donors] - rank).max() < 3 * exchange.STRATUM
    assert (donors != np.arange(100)).mean() > 0.9


def test_a_sequence_is_cut_where_it_is_too_long_and_begins_again_where_it_is_too_short():
    record = np.array([7, 7, 3, 3, 3, 3, 3])
    found = Exchange(record)
    rows = found.rows(64, slice(0, 64), 0, 7)
    assert {tuple(r) for r in rows.tolist()} == {(0, 1, 2, 3, 4, 5, 6), (2, 3, 0, 1, 0, 1, 0)}


def test_a_permutation_depends_on_the_records_of_the_block_not_on_batches_or_the_number_of_permutations():
    found = Exchange(Symbols(records=50).record)
    whole = found.rows(20, slice(0, 20), 0, 500)
    np.testing.assert_array_equal(found.rows(20, slice(5, 9), 100, 60), whole[5:9, 100:160])
    np.testing.assert_array_equal(found.rows(7, slice(0, 7), 0, 500), whole[:7])


# Whether it tells the truth.


@pytest.mark.parametrize("blocks", [1, 3])
def test_ten_thousand_null_pairs_have_uniform_p_values_though_records_are_alike_within_and_unequally_long(blocks):
    p = Symbols(records=400, units=100, hypotheses=100).values("pearson(permutations := 199)", blocks).p_value
    assert p.shape == (100, 100)
    assert kolmogorov(p, 199) < 0.025
    assert abs((p <= 0.05).mean() - 0.05) < 0.01
    assert (p == 1 / 200).mean() < 0.01
    assert p.min() >= 1 / 200


def test_a_permutation_of_symbols_would_be_bold():
    """What permuting whole records is for: the same pairs, as if every symbol were a record."""
    symbols = Symbols(records=400, units=30, hypotheses=30)
    symbols.record = np.arange(len(symbols.record))
    p = symbols.values("pearson(permutations := 99)").p_value
    assert (p <= 0.05).mean() > 0.2


@pytest.mark.parametrize("call", OF_BOOLEANS)
def test_null_pairs_of_every_measure_are_not_found_more_often_than_the_level_says(call):
    symbols = Symbols(records=150, units=40, hypotheses=20, most=12, nulls=0.3)
    symbols.x += 3  # else class selectivity is 1 or -1 for most units
    p = symbols.values(f"{call}(permutations := 99)").p_value
    assert not np.isnan(p).any()
    assert (p <= 0.05).mean() < 0.07
    assert (p <= 0.01).mean() < 0.025
    if call not in ("jaccard", "mutual_information", "f1", "accuracy"):  # many scores are those of a constant unit
        assert kolmogorov(p, 99) < 0.06


@pytest.mark.parametrize("call", OF_BOOLEANS)
def test_planted_pairs_are_found(call):
    symbols = Symbols(records=150, units=10, hypotheses=3, effect=1.5, most=12)
    p = symbols.values(f"{call}(permutations := 99)").p_value
    assert (p[0] <= 0.02).all()
    assert np.median(p[1:]) > 0.2


def test_categories_are_tested_by_permutation():
    symbols = Symbols(records=150, units=20, hypotheses=1, most=12)
    rng = np.random.default_rng(3)
    codes = rng.integers(4, size=150)[symbols.record]
    symbols.y = (codes[:, None] == np.arange(4)).astype(float)
    symbols.kinds, symbols.null_class = ("boolean",) * 4, np.zeros(4, dtype=np.int64)
    symbols.x[:, 0] += codes == 2
    for call in ("correlation_ratio", "mutual_information"):
        found = symbols.values(f"{call}(permutations := 199)", targets=[Target("category", (0, 1, 2, 3))]).p_value[0]
        assert found[0] == 1 / 200, call
        assert np.median(found[1:]) > 0.2, call
    assert symbols.values("correlation_ratio", targets=[Target("category", (0, 1, 2, 3))]).p_value is None


# Whether it is what it says.


@pytest.mark.parametrize("nulls", [0.0, 0.3])
@pytest.mark.parametrize(
    ("call", "score"),
    [
        ("pearson", by_pair(lambda x, y: np.corrcoef(x, y)[0, 1])),
        ("mean_difference", by_pair(lambda x, y: x[y == 1].mean() - x[y == 0].mean())),
        ("spearman", by_pair(lambda x, y: scipy.stats.spearmanr(x, y).statistic)),
        ("kendall", by_pair(lambda x, y: scipy.stats.kendalltau(x, y).statistic)),
        (
            "auroc",
            by_pair(
                lambda x, y: scipy.stats.mannwhitneyu(x[y == 1], x[y == 0]).statistic / (y.sum() * (1 - y).sum()) - 0.5
            ),
        ),
    ],
)
def test_p_values_are_those_of_a_permutation_by_hand(call, score, nulls):
    symbols = Symbols(records=40, units=4, hypotheses=4, most=9, effect=0.2, nulls=nulls)
    found = symbols.values(f"{call}(permutations := 39)").p_value
    np.testing.assert_allclose(found, reference(symbols, 39, score), rtol=1e-12)


def test_numbers_are_permuted_as_booleans_are():
    symbols = Symbols(records=40, units=4, hypotheses=2, most=9)
    rng = np.random.default_rng(4)
    symbols.y = 50 + np.round(rng.normal(size=symbols.y.shape) + symbols.x[:, :1], 1)
    symbols.kinds = ("number", "number")
    targets = [Target("number", (0,)), Target("number", (1,))]
    for call, function in (
        ("pearson", scipy.stats.pearsonr),
        ("spearman", scipy.stats.spearmanr),
        ("kendall", scipy.stats.kendalltau),
    ):
        found = symbols.values(f"{call}(permutations := 39)", targets=targets).p_value
        expected = reference(symbols, 39, by_pair(lambda x, y, f=function: f(x, y).statistic))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_place_in_a_record_alone_says_nothing():
    """What comes at the same places of all records is there in every permutation, too."""
    symbols = Symbols(records=60, units=1, hypotheses=1, least=8, most=9)
    place = np.arange(len(symbols.record)) % 8
    symbols.y, symbols.x = (place == 2)[:, None].astype(float), (place == 2)[:, None].astype(np.float32)
    for call in ("pearson", "auroc", "f1"):
        assert symbols.values(f"{call}(permutations := 19)").p_value == 1


# How the state comes about.


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=4), st.integers(1, 4), st.booleans(), st.integers(0, 3))
def test_batches_pilots_and_the_order_of_merging_change_nothing(cuts, blocks, nulls, turn):
    symbols = Symbols(records=40, units=3, hypotheses=4, most=12, nulls=0.3 if nulls else 0.0)
    symbols.kinds = ("number",) * 4
    symbols.y += 3 * symbols.valid[:, symbols.null_class]
    kind, rng = permuted_moments(9), np.random.default_rng(turn)
    borders = list(zip(symbols.borders(blocks)[:-1], symbols.borders(blocks)[1:], strict=True))
    whole = [symbols.block(kind, a, b) for a, b in borders]
    parts = [symbols.block(kind, a, b, cuts, shift=3 * rng.random(4)) for a, b in borders]
    expected, found = whole[0], parts[-turn % blocks]
    for i in range(1, blocks):
        expected = expected.merge(whole[i])
        found = found.merge(parts[(i - turn) % blocks])
    (measure,) = measures(["pearson"])
    targets = [Target("number", t.columns) for t in symbols.targets]
    for k in range(9):
        a, b = (measure.score(s.permuted(k), targets).unit_score for s in (expected, found))
        np.testing.assert_allclose(b, a, atol=1e-5)
    np.testing.assert_array_equal(found.records, expected.records)


def test_merging_leaves_both_states_as_they_are():
    symbols = Symbols(records=40, units=3, hypotheses=4, most=12, nulls=0.3)
    middle = symbols.borders(2)[1]
    a = symbols.block(permuted_moments(9), 0, middle)
    b = symbols.block(permuted_moments(9), middle, len(symbols.record), shift=np.ones(4))
    before = [s.arrays() for s in (a, b)]
    a.merge(b)
    for state, arrays in zip((a, b), before, strict=True):
        for name, value in state.arrays().items():
            assert torch.equal(value, arrays[name]), name


def test_a_state_goes_on_after_it_was_written():
    symbols = Symbols(records=40, units=3, hypotheses=4, most=12, nulls=0.3)
    kind = permuted_moments(9)
    middle = symbols.borders(2)[1]
    first, second = symbols.block(kind, 0, middle), symbols.block(kind, middle, len(symbols.record))
    again = kind.from_arrays(first.arrays(), CPU)
    assert type(again) is kind
    (measure,) = measures(["pearson(permutations := 9)"])
    a, b = (measure.compute(s.merge(second), symbols.targets) for s in (first, again))
    np.testing.assert_array_equal(a.p_value, b.p_value)
    np.testing.assert_array_equal(a.unit_score, b.unit_score)


def test_scores_are_those_without_permutations():
    symbols = Symbols(records=40, units=5, hypotheses=4, nulls=0.3)
    for name in OF_BOOLEANS:
        plain, tested = symbols.values(name), symbols.values(f"{name}(permutations := 9)")
        np.testing.assert_array_equal(plain.unit_score, tested.unit_score)
        np.testing.assert_array_equal(plain.note, tested.note)


def test_without_permutations_states_are_what_they_were():
    for name in TESTED:
        (measure,) = measures([name])
        assert measure.reads is measure.state_type


def test_measures_with_as_many_permutations_share_a_state():
    calls = ["pearson(permutations := 99)", "cohens_d(permutations := 99)", "pearson(permutations := 9)"]
    kinds = [m.reads for m in measures(calls)]
    assert kinds[0] is kinds[1]
    assert kinds[0] is not kinds[2]
    assert all(issubclass(k, PermutedMoments) for k in kinds)


@pytest.mark.parametrize(("units", "columns", "permutations"), [(3, 2, 9), (40, 30, 99)])
def test_the_memory_of_a_state_is_known_beforehand(units, columns, permutations):
    state = Symbols(records=20, units=units, hypotheses=columns).state(kind := permuted_moments(permutations))
    size = sum(a.numel() * a.element_size() for a in state.arrays().values())
    assert kind.memory(units, columns, 0, 0) == pytest.approx(size, abs=200)


@pytest.mark.parametrize("dense", [0.0, 2.0])
def test_sums_of_rows_and_products_of_matrices_are_the_same(monkeypatch, dense):
    symbols = Symbols(records=30, units=3, hypotheses=3, nulls=0.3)
    expected = symbols.state(permuted_moments(7))
    monkeypatch.setattr(exchange, "DENSE", dense)
    monkeypatch.setattr(exchange, "CELLS", 600)
    monkeypatch.setattr(exchange, "KEPT", 0)
    found = symbols.state(permuted_moments(7))
    for name, value in expected.arrays().items():
        torch.testing.assert_close(found.arrays()[name], value, rtol=1e-4, atol=1e-4)


# Where there is none.


@pytest.mark.parametrize("call", ["pearson(permutations := 19)", "auroc(permutations := 19)"])
def test_one_record_has_no_p_value(call):
    assert np.isnan(Symbols(records=1, least=50, most=51).values(call).p_value).all()


@pytest.mark.parametrize("call", ["pearson", "spearman", "f1"])
def test_pairs_without_a_score_have_no_p_value_and_touch_no_other(call):
    symbols = Symbols(records=40, units=5, hypotheses=4)
    expected = symbols.values(f"{call}(permutations := 19)")
    symbols.x = np.concatenate([symbols.x, symbols.x[:, :3]], 1)
    symbols.x[:, 5], symbols.x[30, 6], symbols.x[31, 7] = 7, np.nan, np.inf
    symbols.y = np.concatenate([symbols.y, np.zeros((len(symbols.y), 1))], 1)
    symbols.kinds, symbols.null_class = (*symbols.kinds, "boolean"), np.append(symbols.null_class, 0)
    found = symbols.values(f"{call}(permutations := 19)")
    np.testing.assert_array_equal(np.isnan(found.p_value), found.note != 0)
    assert (found.note[4] != 0).all()
    assert (found.note[:, 5:] != 0).all()
    np.testing.assert_array_equal(found.p_value[:4, :5], expected.p_value)


def test_a_sketch_has_no_p_value():
    symbols = Symbols(records=60, units=3, hypotheses=2)
    (measure,) = measures(["auroc(permutations := 19)"])
    labels = symbols.labels()
    batch = BatchLabels.of(labels, 0, len(symbols.record), np.zeros(2), CPU, recorded=True)
    state = PairOrder.first(torch.from_numpy(symbols.x), batch, 2**12)
    assert state.sketch is not None
    found = measure.compute(state, symbols.targets)
    assert np.isnan(found.p_value).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("pearson(permutations := -1)", "option 'permutations' of measure 'pearson' cannot be -1"),
        ("auroc(permutations := 0.5)", "option 'permutations' of measure 'auroc' cannot be 0.5"),
        ("f1(correction := 'bonferroni')", "option 'correction' of measure 'f1' cannot be 'bonferroni'"),
    ],
)
def test_options_that_cannot_be_are_refused(call, message):
    with pytest.raises(MeasureError, match=message.split("(")[0]):
        measures([call])


@pytest.mark.parametrize("name", TESTED)
def test_the_text_of_a_call_can_be_read_back(name):
    (measure,) = measures([f"{name}(correction := 'by', permutations := 99)"])
    assert measure.call == f"{name}(permutations := 99, correction := 'by')"
    assert measures([measure.call]) == (measure,)
