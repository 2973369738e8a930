"""Scores from counts are scikit-learn's, missing ones say why, and baselines are the expected values of their draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from probe_designs import close, design_of, problem
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, r2_score

from deepbase.measures.probes import baselines
from deepbase.measures.probes.rows import linear_predictor, part
from deepbase.measures.probes.scores import (
    NOTES,
    Counts,
    Errors,
    Spread,
    accuracy,
    category_accuracy,
    confusion,
    count,
    errors,
    f1,
    macro_f1,
    r2,
)

NAMES = ["half", "linear", "rare", "none", "all"]


def weights(hypotheses, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(hypotheses, 12))), torch.tensor(rng.normal(size=hypotheses))


def notes(scored):
    return [NOTES[i] for i in scored.note.tolist()]


def one_hot(classes, k):
    return np.eye(k)[classes]


def test_counts_give_the_f1_and_the_accuracy_of_scikit_learn():
    design, x, y = problem(400, NAMES)
    w, b = weights(5)
    counts = count(design, linear_predictor((w, b)))
    predicted = x @ w.numpy().T + b.numpy() > 0
    for h, (p, t) in enumerate(zip(predicted.T, y.T, strict=True)):
        table = confusion_matrix(t, p, labels=[0, 1])
        assert [c[h].item() for c in (counts.tn, counts.fp, counts.fn, counts.tp)] == table.ravel().tolist()
        close(accuracy(counts).value[h], accuracy_score(t, p))
        if t.any():
            close(f1(counts).value[h], f1_score(t, p))
    assert notes(f1(counts)) == [None, None, None, "hypothesis holds at no held-out row", None]
    assert f1(counts).value.isnan().tolist() == [False, False, False, True, False]
    assert notes(accuracy(counts)) == [None] * 5


def test_a_probe_that_predicts_no_positive_has_an_f1_of_zero():
    design, *_ = problem(400, ["half", "none"])
    counts = count(design, linear_predictor((torch.zeros(2, 12).double(), torch.tensor([-torch.inf, 0]).double())))
    assert f1(counts).value[0] == 0
    assert notes(f1(counts)) == [None, "hypothesis holds at no held-out row"]
    assert accuracy(counts).value[1] == 1


def test_without_rows_no_score_is_given():
    design = design_of(np.zeros((0, 12)), np.zeros((0, 2)))
    predict = linear_predictor(weights(2))
    counts, table, wrong = count(design, predict), confusion(design, predict), errors(design, predict)
    for scored in (f1(counts), accuracy(counts), macro_f1(table), category_accuracy(table), r2(wrong)):
        assert scored.value.isnan().all()
        assert set(notes(scored)) == {"no held-out rows"}


def test_counts_and_errors_of_parts_merge():
    design, *_ = problem(400, ["linear", "far"])
    predict = linear_predictor(weights(2))
    halves = part(design, 0, 123), part(design, 123, 400)
    a, b = (count(d, predict) for d in halves)
    whole = count(design, predict)
    for name in ("tp", "fp", "fn", "tn"):
        assert torch.equal(getattr(a.merge(b), name), getattr(whole, name))
    c, d = (errors(d, predict) for d in halves)
    close(r2(c.merge(d)).value, r2(errors(design, predict)).value, 1e-12)


def test_a_confusion_table_gives_the_macro_f1_and_the_accuracy_of_scikit_learn():
    design, x, _ = problem(400)
    classes = np.digitize(x[:, 0], [-1, 0, 1])
    design = design_of(x, one_hot(classes, 5))
    w, b = weights(5)
    table = confusion(design, linear_predictor((w, b)))
    predicted = (x @ w.numpy().T + b.numpy()).argmax(1)
    assert set(predicted) == {0, 1, 2, 3, 4}
    assert table.tolist() == confusion_matrix(classes, predicted, labels=range(5)).tolist()
    close(macro_f1(table).value[0], f1_score(classes, predicted, labels=range(4), average="macro"))
    close(category_accuracy(table).value[0], accuracy_score(classes, predicted))
    close(f1(Counts.of(table)).value[:4], f1_score(classes, predicted, labels=range(4), average=None))


def test_errors_give_the_r2_of_scikit_learn():
    design, x, y = problem(400, ["number", "far", "constant"])
    w, b = weights(3)
    scored = r2(errors(design, linear_predictor((w, b))))
    close(scored.value[:2], r2_score(y[:, :2], x @ w.numpy().T[:, :2] + b.numpy()[:2], multioutput="raw_values"))
    assert scored.value[2].isnan()
    assert notes(scored) == [None, None, "hypothesis is constant on the held-out rows"]


@pytest.mark.parametrize("value", [0.1, 12345.678, -1e-30, 0.0])
def test_a_constant_is_known_in_whatever_chunks_it_comes(value):
    assert Spread.of(design_of(np.zeros((300, 1)), np.full(300, value), (1, 7, 50))).constant.all()
    different = np.full(300, value, np.float32)
    different[250] = np.nextafter(np.float32(value), np.float32(9e9))
    assert not Spread.of(design_of(np.zeros((300, 1)), different, (1, 7, 50))).constant.any()


def counts_of(positives, negatives):
    """Counts with this truth; what was predicted does not matter to a baseline."""
    zeros = np.zeros(len(positives))
    return Counts(*torch.tensor(np.array([positives, negatives, zeros, zeros], float)))


def test_the_majority_is_the_class_that_is_more_frequent_in_the_training_rows():
    counts = baselines.majority(torch.tensor([0.2, 0.5, 0.7, 0.7]).double(), counts_of([3, 3, 3, 0], [7, 7, 7, 7]))
    assert f1(counts).value.nan_to_num(-1).tolist() == pytest.approx([0, 0, f1_score([1] * 3 + [0] * 7, [1] * 10), -1])
    assert accuracy(counts).value.tolist() == [0.7, 0.7, 0.3, 0]


@pytest.mark.parametrize(("positives", "negatives", "rate"), [(3, 5, 0.3), (1, 8, 0.05), (7, 1, 0.9), (2, 2, 0.5)])
def test_random_scores_are_the_means_over_all_possible_draws(positives, negatives, rate):
    truth = [1] * positives + [0] * negatives
    draws = [np.array(d) for d in itertools.product([0, 1], repeat=len(truth))]
    chances = [np.prod(np.where(d, rate, 1 - rate)) for d in draws]
    held, q = counts_of([positives], [negatives]), torch.tensor([rate]).double()
    expected = sum(c * f1_score(truth, d, zero_division=0) for c, d in zip(chances, draws, strict=True))
    assert baselines.random_f1(q, held).value.item() == pytest.approx(expected)
    expected = sum(c * accuracy_score(truth, d) for c, d in zip(chances, draws, strict=True))
    assert accuracy(baselines.random(q, held)).value.item() == pytest.approx(expected)


def test_random_f1_of_many_rows_is_near_that_of_the_expected_counts():
    rates = torch.tensor([1e-5, 0.01, 0.3, 0.999, 0, 1]).double()
    held = counts_of([1e4] * 6, [1e6] * 6)
    exact = baselines.random_f1(rates, held).value
    close(exact, f1(baselines.random(rates, held)).value, 1e-6)


def test_random_f1_without_positives_or_rows_says_so():
    scored = baselines.random_f1(torch.tensor([0.5, 0.5]).double(), counts_of([0, 0], [5, 0]))
    assert scored.value.isnan().all()
    assert notes(scored) == ["hypothesis holds at no held-out row", "no held-out rows"]


def test_category_baselines_are_the_means_over_all_possible_draws():
    truth, shares = [0, 0, 1, 2, 2], np.array([0.5, 0.2, 0.3])
    held = torch.zeros(3, 3).double()
    held[:, 1] = torch.tensor([2, 1, 2])
    share = torch.tensor(shares)
    draws = list(itertools.product(range(3), repeat=5))
    chances = [np.prod(shares[list(d)]) for d in draws]
    expected = sum(c * f1_score(truth, d, average="macro") for c, d in zip(chances, draws, strict=True))
    assert baselines.random_macro_f1(share, held).value.item() == pytest.approx(expected)
    expected = sum(c * accuracy_score(truth, d) for c, d in zip(chances, draws, strict=True))
    assert category_accuracy(baselines.random_table(share, held)).value.item() == pytest.approx(expected)
    majority = baselines.majority_table(share, held)
    assert macro_f1(majority).value.item() == pytest.approx(f1_score(truth, [0] * 5, average="macro"))
    assert category_accuracy(majority).value.item() == pytest.approx(0.4)


def test_number_baselines_are_the_mean_and_the_mean_over_all_draws():
    train, held = np.array([1.0, 2.0, 6.0]), np.array([2.0, 5.0, 5.5, 0.5])
    spread = Spread.of(design_of(np.zeros((3, 1)), train))
    truth = Errors(Spread.of(design_of(np.zeros((4, 1)), held)), torch.zeros(1).double())
    close(r2(baselines.mean_errors(spread, truth)).value[0], r2_score(held, np.full(4, train.mean())))
    draws = list(itertools.product(train, repeat=4))
    close(r2(baselines.random_errors(spread, truth)).value[0], np.mean([r2_score(held, d) for d in draws]))
