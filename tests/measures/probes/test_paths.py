"""Probes of one family are fitted in one computation, and each is what it is alone."""

from __future__ import annotations

import numpy as np
import pytest
from probe_groups import DATA, matrices, rows_of
from sklearn.linear_model import LogisticRegression, Ridge

from deepbase.measures.probes import classifiers, probes
from deepbase.measures.probes.group import UnitGroup
from deepbase.measures.registry import MEASURES, measures

TARGETS = list(DATA.targets.values())
FAMILIES = {
    "l2": "logistic(c := {}{})",
    "l1": "logistic(penalty := 'l1', c := {}{})",
    "elasticnet": "logistic(penalty := 'elasticnet', c := {}{})",
    "linear": "linear(alpha := {}{})",
}


def together(several, targets=TARGETS):
    return several[0].compute_path(UnitGroup(rows_of(DATA)), targets, several)


@pytest.mark.parametrize("options", ["", ", control := true"])
@pytest.mark.parametrize("name", FAMILIES)
def test_each_is_what_it_is_alone(name, options):
    several = measures([FAMILIES[name].format(s, options) for s in (0.1, 1, 10)])
    assert len({m.family for m in several}) == 1
    for measure, found in zip(several, together(several), strict=True):
        alone = measure.compute_group(UnitGroup(rows_of(DATA)), TARGETS)
        np.testing.assert_allclose(found.unit_score, alone.unit_score, atol=2e-2 if name != "linear" else 1e-9)
        np.testing.assert_allclose(found.group_score, alone.group_score, atol=1e-9)
        np.testing.assert_array_equal(found.note, alone.note)
        if options:
            np.testing.assert_allclose(found.control_score, alone.control_score, atol=1e-9)
            np.testing.assert_allclose(found.shuffled_score, alone.shuffled_score, atol=1e-9)


def test_sparse_probes_of_several_sizes_are_those_alone():
    several = measures(["sparse"])
    for measure, found in zip(several, together(several), strict=True):
        alone = measure.compute_group(UnitGroup(rows_of(DATA)), TARGETS)
        np.testing.assert_allclose(found.unit_score, alone.unit_score, atol=1e-6)
        np.testing.assert_allclose(found.group_score, alone.group_score)


@pytest.mark.parametrize("name", ["l2", "l1", "elasticnet"])
def test_one_fit_is_for_all_strengths(monkeypatch, name):
    calls = []

    def counted(design, strengths, l1_ratio):
        calls.append(list(strengths))
        return fit(design, strengths, l1_ratio)

    fit = classifiers.fit_elastic
    monkeypatch.setattr(classifiers, "fit_elastic", counted)
    together(measures([FAMILIES[name].format(c, "") for c in (0.1, 1, 10)]), [DATA.targets["yes"]])
    assert calls == [[0.1, 1.0, 10.0]]


def test_one_gram_matrix_is_for_all_strengths(monkeypatch):
    reads = []
    gram = probes.gram
    monkeypatch.setattr(probes, "gram", lambda design: reads.append(1) or gram(design))
    together(measures([FAMILIES["linear"].format(a, "") for a in (0.1, 1, 10)]), [DATA.targets["how much"]])
    assert reads == [1]


def test_each_strength_has_the_optimum_of_scikit_learn():
    (fold,) = UnitGroup(rows_of(DATA)).folds(DATA.targets["yes"].columns, 0.2, 0)
    x, y = matrices(fold.train)

    def objective(w, c, l1_ratio):  # of the best intercept, which a score does not tell
        b = 0.0
        for _ in range(50):
            p = 1 / (1 + np.exp(-(x @ w + b)))
            b -= (p - y[:, 0]).sum() / (p * (1 - p)).sum()
        z = x @ w + b
        loss = np.logaddexp(0, z).sum() - z @ y[:, 0]
        return c * loss + (1 - l1_ratio) / 2 * w @ w + l1_ratio * np.abs(w).sum()

    for name, l1_ratio in (("l2", 0.0), ("l1", 1.0), ("elasticnet", 0.5)):
        several = measures([FAMILIES[name].format(c, "") for c in (0.1, 1, 10)])
        for measure, found in zip(several, together(several, [DATA.targets["yes"]]), strict=True):
            solver = "saga" if l1_ratio else "lbfgs"
            reference = LogisticRegression(
                C=measure.c, l1_ratio=l1_ratio, solver=solver, tol=1e-6, max_iter=100_000, random_state=0
            ).fit(x, y[:, 0])
            w = np.nan_to_num(found.unit_score[0])
            best = objective(reference.coef_[0], measure.c, l1_ratio)
            assert objective(w, measure.c, l1_ratio) <= best * (1 + 1e-3)


def test_each_alpha_has_the_weights_of_scikit_learn():
    (fold,) = UnitGroup(rows_of(DATA)).folds(DATA.targets["how much"].columns, 0.2, 0)
    x, y = matrices(fold.train)
    several = measures([FAMILIES["linear"].format(a, "") for a in (0.1, 10, 1000)])
    for measure, found in zip(several, together(several, [DATA.targets["how much"]]), strict=True):
        expected = Ridge(alpha=measure.alpha).fit(x, y[:, 0]).coef_ / y[:, 0].std()
        np.testing.assert_allclose(np.nan_to_num(found.unit_score[0]), expected, atol=1e-5)


def test_a_path_is_an_option():
    for measure in MEASURES.values():
        path = getattr(measure, "path", "")
        assert not path or path in measure.__dataclass_fields__


def test_probes_that_differ_in_more_are_of_other_families():
    calls = ["logistic", "logistic(penalty := 'l1')", "logistic(held_out := 0.3)", "linear", "mdl", "mdl(c := 2)"]
    assert len({m.family for m in measures(calls)}) == len(calls)
