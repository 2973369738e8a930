"""p-values that count records, not symbols, and q-values of whole runs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import torch
from torch import nn

import deepbase
from deepbase.measures.moments import PairMoments
from deepbase.measures.registry import measures
from deepbase.measures.significance import q_values
from deepbase.testing import Data, block_state, merged


def clustered(records, length, rate, seed=0, units=100, hypotheses=100, effect=0.0):
    """Units and hypotheses that are alike within a record and, but for the effect, independent."""
    rng = np.random.default_rng(seed)
    record = np.repeat(np.arange(records), length)
    n = len(record)

    def alike(count):
        return np.sqrt(0.5) * (rng.normal(size=(records, count))[record] + rng.normal(size=(n, count)))

    y = (alike(hypotheses) > scipy.stats.norm.ppf(1 - rate)).astype(float)
    x = (alike(units) + effect * y[:, :1]).astype(np.float32)
    return Data(
        {str(i): x[:, i] for i in range(units)},
        {str(i): y[:, i] for i in range(hypotheses)},
        dict.fromkeys(map(str, range(hypotheses)), "boolean"),
        {},
        record,
    )


def p_values(data, call="pearson"):
    (measure,) = measures([call])
    return measure.compute(block_state(PairMoments, data), list(data.targets.values())).p_value


def test_ten_thousand_null_pairs_have_uniform_p_values_though_symbols_are_alike_within_records():
    p = p_values(clustered(1500, 12, 0.3))
    assert p.shape == (100, 100)
    assert scipy.stats.kstest(p.ravel(), "uniform").statistic < 0.025
    assert abs((p < 0.05).mean() - 0.05) < 0.01
    assert (p < 0.001).mean() < 0.004


@pytest.mark.parametrize(("records", "length", "rate"), [(300, 10, 0.01), (40, 10, 0.3), (1000, 10, 0.003)])
def test_thin_data_makes_the_test_cautious_not_bold(records, length, rate):
    p = p_values(clustered(records, length, rate, seed=1))
    known = p[~np.isnan(p)]
    assert (known < 0.05).mean() < 0.06
    assert (known < 0.01).mean() < 0.02


def test_an_effect_is_found():
    p = p_values(clustered(300, 10, 0.3, effect=0.5))
    assert (p[0] < 1e-2).all()
    assert np.median(p[1:]) > 0.3


def test_p_values_do_not_depend_on_blocks_and_shift():
    data = clustered(80, 5, 0.3, units=6, hypotheses=5)
    states = [block_state(PairMoments, data.rows(a, a + 100), [40]) for a in range(0, 400, 100)]
    whole, parts = block_state(PairMoments, data), merged(states, [1, 0, 2])
    np.testing.assert_allclose(parts.p_values, whole.p_values, rtol=1e-3)


def test_measures_of_one_difference_share_their_test_and_ignore_pairs_without_a_score():
    data = clustered(60, 5, 0.3, units=4, hypotheses=3)
    data.units["0"][:] = 7
    found = [p_values(data, call) for call in ("pearson", "mean_difference", "cohens_d")]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert np.isnan(found[0][:, 0]).all()
    assert not np.isnan(found[0][:, 1:]).any()


def test_a_hypothesis_that_one_record_tells_of_has_no_p_value():
    data = clustered(60, 5, 0.3, units=3, hypotheses=1)
    data.hypotheses["0"][:] = data.record == 7
    assert np.isnan(p_values(data)).all()


def test_one_record_has_no_p_value():
    data = clustered(1, 50, 0.3, units=3, hypotheses=2)
    assert np.isnan(p_values(data)).all()


def test_q_values_are_those_of_benjamini_and_hochberg_over_the_whole_family():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4)) ** 3, rng.random((2, 5))
    a[1, 2] = np.nan
    found = q_values([a, b])
    both = np.concatenate([a.ravel(), b.ravel()])
    expected = np.full(both.shape, np.nan)
    expected[~np.isnan(both)] = scipy.stats.false_discovery_control(both[~np.isnan(both)])
    np.testing.assert_allclose(np.concatenate([q.ravel() for q in found]), expected, rtol=1e-12)
    assert q_values([np.array([[np.nan]])])[0].shape == (1, 1)


@pytest.mark.parametrize("method", ["bh", "by"])
def test_q_values_are_those_of_scipy(method):
    p = np.random.default_rng(0).random(5000).round(3) ** 2  # with ties
    (found,) = q_values([p], method)
    np.testing.assert_allclose(found, scipy.stats.false_discovery_control(p, method=method), rtol=1e-12)


def test_a_run_has_p_values_and_q_values_of_all_its_pairs_of_a_measure():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(128, 5), nn.ReLU())
    model = deepbase.Model(module, lambda t: [(min(ord(c), 127), i, i + 1) for i, c in enumerate(t)])
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcde "), size=12)) for _ in range(80)]
    with deepbase.connect() as db:
        db.register_dataset("texts", pa.table({"text": texts}))
        hypotheses = ["symbol = 'a'", "position % 3 = 0"]
        found = db.inspect(model, "texts", hypotheses, ["pearson", "density"], layers="*")
        rows = found.scores.filter("measure = 'pearson' AND note IS NULL").project("p_value, q_value, unit_score")
        p, q, r = np.array(rows.fetchall()).T
        np.testing.assert_allclose(q, scipy.stats.false_discovery_control(p))
        assert (p[abs(r) > 0.3] < 0.001).all()
        nothing = found.scores.filter("(measure = 'density' OR note IS NOT NULL) AND p_value IS NOT NULL")
        assert nothing.fetchall() == []
