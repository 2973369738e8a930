"""Intervals of the scores of probes: as a bootstrap of records, true as often as they say, and none of thin data."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from deepbase.blocks import LabelBehavior
from deepbase.measures.base import Target
from deepbase.measures.batch import BatchLabels
from deepbase.measures.probes import learning, sampling
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.group import UnitGroup
from deepbase.measures.probes.scores import f1, r2
from deepbase.measures.registry import MEASURES, measures
from deepbase.measures.rows import Rows
from deepbase.measures.spread import interval

PROBES = [n for n, m in MEASURES.items() if m.grouped and m.kinds]
LEVEL = 0.05


class Planted:
    """Records whose symbols are alike: four hypotheses of each kind that twelve units know more or less of."""

    def __init__(self, records=600, units=12, seed=0, rates=(0.5, 0.3, 0.15, 0.05), noise=1.5, longest=20):
        rng = np.random.default_rng(seed)
        self.record = np.repeat(np.arange(records), rng.integers(2, longest, records))
        n = len(self.record)

        def alike(count, share=0.4):
            whole, own = rng.normal(size=(records, count))[self.record], rng.normal(size=(n, count))
            return np.sqrt(share) * whole + np.sqrt(1 - share) * own

        hidden = alike(len(rates))
        self.x = (hidden @ rng.normal(size=(len(rates), units)) + noise * alike(units)).astype(np.float32)
        self.yes = (hidden > scipy.stats.norm.ppf(1 - np.array(rates))).astype(float)
        self.number = hidden + 0.5 * alike(len(rates))
        self.which = np.eye(3)[np.digitize(hidden[:, 0], [-0.7, 0.7])]

    def scores(self, call, kind="boolean", records=None, x=None):
        """What a probe finds on some of the records."""
        rows = np.arange(len(self.record)) if records is None else np.flatnonzero(np.isin(self.record, records))
        y = {"boolean": self.yes, "number": self.number, "category": self.which}[kind][rows]
        labels = LabelBehavior(
            y, np.ones((len(rows), 1), bool), np.zeros(y.shape[1], int), self.record[rows], (kind,) * y.shape[1]
        )
        batch = BatchLabels.of(labels, 0, len(rows), np.zeros(y.shape[1]), torch.device("cpu"))
        state = Rows.first(torch.from_numpy((self.x if x is None else x)[rows]), batch, 2**40)
        several = [tuple(range(3))] if kind == "category" else [(i,) for i in range(y.shape[1])]
        (measure,) = measures([call])
        return measure.compute_group(UnitGroup([state]), [Target(kind, c) for c in several])


def rows_by_record(seed=0, records=300, longest=40):
    """Predictions and truth of records that are longer than a portion of rows together."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, longest, records)
    record = np.repeat(np.arange(records), length)
    score = rng.normal(size=(records, 3))[record] + rng.normal(size=(len(record), 3))
    truth = (score + rng.normal(size=score.shape) > [0, 1, 2.5]).astype(np.float32)
    x, y = torch.from_numpy(score).float(), torch.from_numpy(truth)

    def read():
        for first in range(0, len(x), 1500):
            yield x[first : first + 1500], y[first : first + 1500]

    return Design(read, len(x), 3, 3), length, record, (score.astype(np.float32) > 0.5), truth > 0


def test_counts_by_group_are_those_of_its_records_wherever_portions_end():
    design, length, record, yes, true = rows_by_record()
    records = sampling.Records.of(length)
    found = sampling.count_groups(design, lambda x: x > 0.5, records)
    group = records.group.numpy()[record]
    for g in range(records.groups):
        at = group == g
        expected = [(a & b)[at].sum(0) for a, b in ((yes, true), (yes, ~true), (~yes, true), (~yes, ~true))]
        counts = found.counts
        np.testing.assert_array_equal([c[g].numpy() for c in (counts.tp, counts.fp, counts.fn, counts.tn)], expected)
    carried = [len(np.unique(record[t])) for t in true.T]
    assert found.carrying.tolist() == carried
    assert np.bincount(group).min() > 0
    assert records.groups == sampling.GROUPS


def test_a_record_that_ends_in_another_portion_is_counted_once():
    length = np.array([1000, 100, 3000, 1, 40])
    record = np.repeat(np.arange(5), length)
    y = torch.from_numpy(np.stack([record == 2, np.arange(len(record)) == 1050, record >= 0], 1).astype(np.float32))
    design = Design(lambda: iter([(y, y)]), len(y), 3, 3)
    found = sampling.count_groups(design, lambda x: x > 0, sampling.Records.of(length))
    assert found.carrying.tolist() == [1, 1, 5]


def test_the_error_of_f1_is_that_of_a_bootstrap_of_records():
    design, length, record, yes, true = rows_by_record()
    found = sampling.count_groups(design, lambda x: x > 0.5, sampling.Records.of(length))
    known = sampling.certainty(f1(found.without).value, found.varies, found.carrying)
    counts = np.zeros((3, len(length), 3))
    for c, hit in zip(counts, (yes & true, yes & ~true, ~yes & true), strict=True):
        np.add.at(c, record, hit)
    rng = np.random.default_rng(1)
    times = rng.multinomial(len(length), np.full(len(length), 1 / len(length)), size=2000)
    tp, fp, fn = np.einsum("br,crh->cbh", times, counts)
    expected = (2 * tp / (2 * tp + fp + fn)).std(0)
    np.testing.assert_allclose(known.error.numpy(), expected, rtol=0.2)


def test_the_error_of_r_squared_is_that_of_a_bootstrap_of_records():
    design, length, record, _, _ = rows_by_record()
    numbers = Design(lambda: ((x, 1e3 + x + y) for x, y in design.read()), design.rows, 3, 3)
    found = sampling.error_groups(numbers, lambda x: 1e3 + 1.2 * x.double(), sampling.Records.of(length))
    known = sampling.certainty(found.without, found.varies, torch.full((3,), 300.0))
    y = np.concatenate([y.double().numpy() for _, y in numbers.read()])
    x = np.concatenate([x.double().numpy() for x, _ in numbers.read()])
    wrong = np.square(y - 1e3 - 1.2 * x)
    expected = 1 - wrong.sum(0) / np.square(y - y.mean(0)).sum(0)
    np.testing.assert_allclose(r2(found.whole).value.numpy(), expected, rtol=1e-9)
    rng = np.random.default_rng(1)
    times = rng.multinomial(300, np.full(300, 1 / 300), size=1000)
    sums = np.zeros((4, 300, 3))
    for s, v in zip(sums, (np.ones_like(y), y - 1e3, np.square(y - 1e3), wrong), strict=True):
        np.add.at(s, record, v)
    n, s, ss, w = np.einsum("br,crh->cbh", times, sums)
    np.testing.assert_allclose(known.error.numpy(), (1 - w / (ss - s * s / n)).std(0), rtol=0.2)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("logistic", "boolean"),
        ("lda", "boolean"),
        ("mass_mean", "boolean"),
        ("sparse(k := 4)", "boolean"),
        ("random", "boolean"),
        ("linear", "number"),
        ("logistic", "category"),
    ],
)
def test_intervals_hold_what_a_probe_of_all_records_reaches(call, kind):
    """At least as often as they say, but for what chance allows: 0.05 + 3 standard deviations of 40 draws."""
    data = Planted()
    whole = data.scores(call, kind).group_score
    rng, hits, widths = np.random.default_rng(2), [], []
    for _ in range(40):
        found = data.scores(call, kind, rng.permutation(600)[:240])
        low, high = interval(found.group_score[:, None], found.spread, measures([call])[0].error_scale, LEVEL, 0.6)
        known = ~np.isnan(low[:, 0])
        hits.append(np.mean(((low[:, 0] <= whole) & (whole <= high[:, 0]))[known]))
        widths.append(np.mean((high - low)[known, 0]))
    assert np.nanmean(hits) > 1 - LEVEL - 3 * np.sqrt(LEVEL / 40)
    assert 0 < np.mean(widths) < 0.7


def test_held_out_records_alone_do_not_tell_what_a_probe_that_overfits_will_gain(monkeypatch):
    """120 records are few for 300 units: what the training rows say is needed."""
    data, rng = Planted(units=300, noise=5.0, seed=3), np.random.default_rng(4)
    whole, draws = data.scores("lda").group_score, [rng.permutation(600)[:120] for _ in range(12)]

    def covered():
        hits = []
        for records in draws:
            found = data.scores("lda", records=records)
            low, high = interval(found.group_score[:, None], found.spread, "plain", LEVEL, 0.8)
            hits.append(((low[:, 0] <= whole) & (whole <= high[:, 0]))[:3])
        return np.mean(hits)

    assert covered() > 0.9
    monkeypatch.setattr(learning, "GAIN", 0.0)
    monkeypatch.setattr(learning, "DOUBT", 0.0)
    assert covered() < 0.8


@pytest.mark.parametrize("call", PROBES)
def test_every_probe_has_a_spread_or_says_why_not(call):
    data = Planted(records=150)
    call = "sparse(k := 2)" if call == "sparse" else call
    (measure,) = measures([call])
    for kind in measure.takes:
        found = data.scores(call, kind)
        targets = len(found.group_score)
        assert found.spread.error.shape == (targets, 1)
        assert found.spread.freedom.shape == (targets,)
        assert found.spread.missing.startswith("no interval: ")
        assert (found.spread.error > 0)[~np.isnan(found.spread.error)].all()


def test_few_records_that_carry_a_hypothesis_have_no_interval():
    data = Planted(rates=(0.5, 0.004), longest=8)
    found = data.scores("lda", records=np.arange(200))
    assert np.isnan(found.spread.error[:, 0]).tolist() == [False, True]
    assert found.spread.missing == "no interval: fewer than 10 held-out records carry the hypothesis"


def test_few_records_at_all_have_no_interval():
    found = Planted().scores("linear", "number", records=np.arange(40))
    assert np.isnan(found.spread.error).all()
    assert np.isfinite(found.group_score).all()


def test_a_score_at_its_end_has_no_interval():
    data = Planted()
    data.x[:, 0] = 20 * data.yes[:, 0]
    found = data.scores("lda")
    assert found.group_score[0] == 1
    assert np.isnan(found.spread.error[0, 0])
    assert "the groups of held-out records do not differ" in found.spread.missing


def test_constant_hypotheses_and_units_that_are_nan_or_still_do_no_harm():
    data = Planted()
    data.yes[:, 0] = 1
    x = data.x.copy()
    x[:, 0], x[5, 1] = 3.0, np.nan
    found, plain = data.scores("lda", x=x), data.scores("lda")
    assert np.isnan(found.group_score[0])
    assert np.isnan(found.spread.error[0, 0])
    assert np.isfinite(found.spread.error[1:]).all()
    assert np.isfinite(plain.spread.error[1:]).all()


@pytest.mark.parametrize(
    ("call", "kind"), [("logistic(c := 0.0001)", "boolean"), ("linear(alpha := 100000)", "number")]
)
def test_a_strong_penalty_leaves_no_interval(call, kind):
    found = Planted().scores(call, kind)
    assert np.isnan(found.spread.error).all()
    assert "the penalty is strong for so few rows" in found.spread.missing


def test_a_fit_that_has_not_converged_leaves_no_interval(monkeypatch):
    """A perceptron has one epoch, a logistic probe one pass."""
    from deepbase.measures.probes import elastic, probes

    monkeypatch.setattr(probes, "Training", lambda **given: probes.mlp.__globals__["Training"](epochs=1, **given))
    fit = elastic.fit_logistic
    monkeypatch.setattr(elastic, "fit_logistic", lambda *a, **k: fit(*a, **{**k, "max_passes": 1}))
    for call in ("mlp(width := 2)", "logistic"):
        found = Planted(records=150).scores(call)
        assert np.isfinite(found.group_score).any()
        assert np.isnan(found.spread.error).all()
        assert "the fit has not converged" in found.spread.missing


def test_a_code_has_no_interval():
    found = Planted(records=100).scores("mdl")
    assert np.isnan(found.spread.error).all()
    assert found.spread.missing == "no interval: a code of more records is longer, by how much only they tell"


def test_values_that_few_records_carry_widen_the_interval_of_a_category():
    data = Planted()
    plain = data.scores("logistic", "category").spread.error[0, 0]
    data.which[:, 2] = 0
    data.which[::300, 2] = 1
    data.which[:, 1] = 1 - data.which[:, [0, 2]].max(1)
    data.which[::300, 0] = 0
    assert data.scores("logistic", "category").spread.error[0, 0] > max(plain, 0.29 / 3)
