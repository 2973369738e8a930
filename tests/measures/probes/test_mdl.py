"""Online code lengths: closed forms, and the definition with scikit-learn's probes."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from probe_designs import close, design_of, problem
from sklearn.linear_model import LogisticRegression

from deepbase.measures.probes.mdl import FRACTIONS, online_code
from deepbase.measures.probes.rows import batches

PERCENT = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25, 50, 100)


def rows_of(design):
    x, y = next(batches(design, max(design.rows, 1)))
    return x.double().numpy(), y.double().numpy()


def logistic(design):
    """L2 logistic regressions, one a hypothesis."""
    x, y = rows_of(design)
    fits = [LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(x, column) for column in y.T]
    return torch.tensor(np.vstack([f.coef_ for f in fits])), torch.tensor(np.hstack([f.intercept_ for f in fits]))


def softmax(design):
    """One multinomial regression; of two classes the scores of both."""
    x, y = rows_of(design)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = LogisticRegression(tol=1e-10, max_iter=2000).fit(x, y.argmax(1))
    if y.shape[1] == 2:
        return torch.tensor(np.vstack([-fit.coef_, fit.coef_]) / 2), torch.tensor([-1, 1]) * fit.intercept_[0] / 2
    return torch.tensor(fit.coef_), torch.tensor(fit.intercept_)


def majority(design):
    """Probes that do not look at the units: the log odds of the rows so far."""
    _, y = rows_of(design)
    rate = torch.tensor(y.mean(0))
    return torch.zeros(y.shape[1], design.units, dtype=torch.float64), (rate / (1 - rate)).log()


def never(design):
    raise AssertionError("there was nothing to fit")


def test_the_cuts_are_those_of_the_paper_moved_to_ends_of_blocks():
    design = design_of(np.zeros((100_000, 1)), np.zeros(100_000), (50_000,))
    exact = online_code(design, [1] * 100_000, never).cuts
    assert exact == tuple(round(1000 * p) for p in PERCENT)
    assert len(FRACTIONS) == 11
    assert online_code(design, [300] * 333 + [100], never).cuts == (
        300, 600, 900, 1800, 3300, 6300, 12600, 25200, 50100, 100_000,
    )  # fmt: skip


def test_a_share_of_the_rows_that_is_a_whole_number_is_cut_there():
    assert 0.07 * 100 > 7
    code = online_code(design_of(np.zeros((100, 1)), np.zeros(100)), [1] * 100, never, fractions=(0.07,))
    assert code.cuts == (7, 100)


def test_a_single_block_is_sent_with_the_uniform_code():
    y = np.eye(5)[np.arange(300) % 5]
    code = online_code(design_of(np.zeros((300, 2)), y), [300], never)
    assert code.bits.tolist() == [300] * 5
    code = online_code(design_of(np.zeros((300, 2)), y), [300], never, categories=True)
    close(code.bits, [300 * np.log2(5)], 1e-12)
    close(code.compression, [1.0], 1e-12)


def test_the_majority_alone_costs_the_cross_entropy_of_each_part_with_the_rate_before():
    design, _, y = problem(1000, ["half", "linear", "rare"])
    y[:10] = y[:10][::-1]
    y[:2] = [[0, 0, 0], [1, 1, 1]]
    design = design_of(np.zeros((1000, 1)), y)
    code = online_code(design, [1] * 1000, majority, fractions=(0.002, 0.1, 0.5, 1))
    assert code.cuts == (2, 100, 500, 1000)
    for h in range(3):
        bits = 2.0
        for a, b in ((2, 100), (100, 500), (500, 1000)):
            p = y[:a, h].mean()
            ones = y[a:b, h].sum()
            bits -= ones * np.log2(p) + (b - a - ones) * np.log2(1 - p)
        assert code.bits[h].item() == pytest.approx(bits, rel=1e-9)
    assert code.compression[0].item() == pytest.approx(1, abs=0.02)
    assert code.compression[2] > 3


@pytest.mark.parametrize("value", [0, 1])
def test_a_hypothesis_of_one_class_costs_what_the_rule_of_succession_says(value):
    design = design_of(np.ones((1000, 1)), np.full(1000, value))
    code = online_code(design, [1] * 1000, never)
    cuts = [1, 2, 4, 8, 16, 32, 63, 125, 250, 500, 1000]
    expected = 1 + sum((b - a) * np.log2((a + 2) / (a + 1)) for a, b in itertools.pairwise(cuts))
    close(code.bits, [expected], 1e-12)
    close(code.compression, [1000 / expected], 1e-12)


def test_what_a_unit_says_costs_next_to_nothing():
    rng = np.random.default_rng(0)
    y = (rng.random((2000, 2)) < 0.5).astype(float)
    y[:2] = [[0, 0], [1, 1]]
    design = design_of(np.stack([2 * y[:, 0] - 1, rng.normal(size=2000)], axis=1), y)

    def sure(part):
        return torch.tensor([[1000.0, 0], [0, 0]]).double(), torch.zeros(2).double()

    code = online_code(design, [1] * 2000, sure)
    close(code.bits, [2, 2000], 1e-9)
    fitted = online_code(design, [1] * 2000, logistic)
    assert fitted.compression[0] > 25
    assert fitted.compression[1] == pytest.approx(0.97, abs=0.03)


def test_code_lengths_are_those_of_the_definition():
    design, x, y = problem(1200, ["half", "linear", "separable"])
    code = online_code(design, [4] * 300, logistic)
    cuts = [4, 8, 12, 20, 40, 76, 152, 300, 600, 1200]
    assert code.cuts == tuple(cuts)
    assert code.uniform == 1200
    for h in range(3):
        bits = cuts[0]
        for a, b in itertools.pairwise(cuts):
            seen = y[:a, h]
            if 0 < seen.sum() < a:
                fit = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(x[:a], seen)
                p = fit.predict_proba(x[a:b])[:, 1]
            else:
                p = np.full(b - a, (seen.sum() + 1) / (a + 2))
            bits -= np.where(y[a:b, h] == 1, np.log2(p), np.log2(1 - p)).sum()
        assert code.bits[h].item() == pytest.approx(bits, rel=1e-6)


def test_categories_are_sent_with_a_softmax_and_new_ones_with_the_share_that_is_kept_for_them():
    _, x, _ = problem(600)
    classes = np.digitize(x[:, 1], [-1, 0.2, 1.5])
    classes[:12] = [1, 1, 1, 1, 2, 1, 2, 1, 2, 1, 2, 1]
    code = online_code(
        design_of(x, np.eye(4)[classes]), [1] * 600, softmax, categories=True, fractions=(0.005, 0.02, 0.1, 1)
    )
    assert code.cuts == (3, 12, 60, 600)
    one_seen = np.where(classes[3:12] == 1, (3 + 1) / (3 + 4), 1 / (3 + 4))
    bits = 3 * np.log2(4) - np.log2(one_seen).sum()
    for a, b in ((12, 60), (60, 600)):
        known = np.unique(classes[:a])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = LogisticRegression(tol=1e-10, max_iter=2000).fit(x[:a], classes[:a])
        p = np.full((b - a, 4), 1 / (a + 4))
        p[:, known] = fit.predict_proba(x[a:b]) * (a + len(known)) / (a + 4)
        np.testing.assert_allclose(p.sum(1), 1)
        bits -= np.log2(p[np.arange(b - a), classes[a:b]]).sum()
    assert code.bits.tolist() == pytest.approx([bits], rel=1e-4)
    assert code.compression.item() == pytest.approx(1200 / bits, rel=1e-4)


def test_no_rows_cost_nothing_and_have_no_compression():
    code = online_code(design_of(np.zeros((0, 2)), np.zeros((0, 3))), [], never)
    assert code.bits.tolist() == [0, 0, 0]
    assert code.compression.isnan().all()
