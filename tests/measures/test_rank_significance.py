"""p-values of rank statistics that count records, without permutations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from clustered import CPU, Symbols

from deepbase.blocks import LabelBehavior
from deepbase.errors import MeasureError
from deepbase.measures.base import Target
from deepbase.measures.batch import GROUP_SEED, GROUPS, BatchLabels
from deepbase.measures.hashing import hashed
from deepbase.measures.order import significance
from deepbase.measures.order.state import PairOrder
from deepbase.measures.registry import measures


def by_hand(symbols, ranked=False):
    """Student's t of the groups' shares of the sum of rank and label about their means, from ranks by SciPy."""
    group = hashed(symbols.record, GROUP_SEED) % np.uint64(GROUPS)
    found = np.empty((symbols.y.shape[1], symbols.x.shape[1]))
    for h in range(found.shape[0]):
        known = symbols.valid[:, symbols.null_class[h]]
        y = scipy.stats.rankdata(symbols.y[known, h]) if ranked else symbols.y[known, h]
        for u in range(found.shape[1]):
            r = scipy.stats.rankdata(symbols.x[known, u].astype(np.float64))
            product = (r - r.mean()) * (y - y.mean())
            share = np.array([product[group[known] == g].sum() for g in np.unique(group[known])])
            found[h, u] = scipy.stats.ttest_1samp(share, 0).pvalue
    return found


@pytest.mark.parametrize("call", ["spearman", "auroc"])
@pytest.mark.parametrize(("most", "nulls"), [(12, 0.0), (40, 0.3)])
def test_ten_thousand_null_pairs_have_uniform_p_values_though_symbols_are_alike_within_records(call, most, nulls):
    p = (
        Symbols(records=600, units=100, hypotheses=100, most=most, nulls=nulls)
        .values(f"{call}(tested := true)")
        .p_value
    )
    assert p.shape == (100, 100)
    assert scipy.stats.kstest(p.ravel(), "uniform").statistic < 0.025
    assert abs((p < 0.05).mean() - 0.05) < 0.01
    assert (p < 0.001).mean() < 0.004


@pytest.mark.parametrize("with_torch", [False, True])
@pytest.mark.parametrize("nulls", [0.0, 0.3])
def test_p_values_are_those_of_the_shares_by_hand(monkeypatch, with_torch, nulls):
    if with_torch:
        monkeypatch.setattr(significance, "kernels", lambda: None)
    symbols = Symbols(records=80, units=40, hypotheses=4, effect=0.2, nulls=nulls)
    symbols.x[:, 3:6] = np.round(symbols.x[:, 3:6])
    found = symbols.values("auroc(tested := true)").p_value
    np.testing.assert_allclose(found, by_hand(symbols), rtol=1e-3)
    np.testing.assert_array_equal(found, symbols.values("spearman(tested := true)").p_value)


def test_numbers_are_tested_by_their_ranks():
    symbols = Symbols(records=80, units=5, hypotheses=2)
    symbols.y = np.round(np.exp(np.random.default_rng(0).normal(size=symbols.y.shape) + symbols.x[:, :1]), 1)
    symbols.kinds = ("number", "number")
    targets = [Target("number", (0,)), Target("number", (1,))]
    found = symbols.values("spearman(tested := true)", targets=targets).p_value
    np.testing.assert_allclose(found, by_hand(symbols, ranked=True), rtol=1e-3)


def test_an_effect_is_found():
    p = Symbols(records=150, effect=0.7).values("auroc(tested := true)").p_value
    assert (p[0] < 1e-2).all()
    assert np.median(p[1:]) > 0.2


def test_blocks_change_nothing():
    symbols = Symbols(records=60, units=4, hypotheses=3, nulls=0.3)
    one, three = (symbols.values("spearman(tested := true)", blocks).p_value for blocks in (1, 3))
    np.testing.assert_allclose(three, one, rtol=1e-3)


def test_it_costs_nothing_where_it_is_not_asked_for():
    symbols = Symbols(records=10, units=2, hypotheses=2)
    labels = symbols.labels()
    batch = BatchLabels.of(labels, 0, len(symbols.record), np.zeros(2), CPU)
    state = PairOrder.first(torch.from_numpy(symbols.x), batch, 2**30)
    assert len(state.labels[0].record) == 0
    for call in ("spearman", "auroc", "kendall"):
        (measure,) = measures([call])
        assert not measure.needs_records
        assert measure.compute(state, symbols.targets).p_value is None


def test_what_the_records_do_not_tell_has_no_p_value():
    assert np.isnan(Symbols(records=1, least=50, most=51).values("auroc(tested := true)").p_value).all()
    symbols = Symbols(records=60, units=3, hypotheses=2)
    symbols.y[:, 1] = symbols.record == 7
    symbols.x[:, 2] = 1
    found = symbols.values("auroc(tested := true)").p_value
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 2]).all()
    assert not np.isnan(found[0, :2]).any()


def test_a_sketch_has_no_p_value():
    symbols = Symbols(records=60, units=3, hypotheses=2)
    labels: LabelBehavior = symbols.labels()
    batch = BatchLabels.of(labels, 0, len(symbols.record), np.zeros(2), CPU, recorded=True)
    state = PairOrder.first(torch.from_numpy(symbols.x), batch, 2**12)
    assert state.sketch is not None
    (measure,) = measures(["spearman(tested := true)"])
    assert np.isnan(measure.compute(state, symbols.targets).p_value).all()


def test_one_test_is_enough():
    with pytest.raises(MeasureError) as error:
        measures(["auroc(tested := true, permutations := 9)"])
    assert str(error.value) == ("measure 'auroc' cannot be tested both ways. Give `tested := true`, or `permutations`.")
