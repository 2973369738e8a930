"""Probes with a hidden layer: each is trained as it would be alone, by torch's own Adam and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probe_designs import BOTH, close, design_of, problem, standardized

from deepbase.measures.probes.mlp import Perceptrons, Training, mlp
from deepbase.measures.probes.rows import columns
from deepbase.measures.probes.scores import accuracy, count, errors, r2

SMALL = Training(width=8, batch=32, epochs=4, rate=0.01)


def every_fifth(first, end):
    return torch.arange(first, end) % 5 == 0


def no_row(first, end):
    return torch.zeros(end - first, dtype=torch.bool)


def reference(x, y, held, training, numbers=False):
    """One hypothesis, trained by the book: the predictions, and how many epochs it took to the best one."""
    x, y, held = torch.tensor(x).float(), torch.tensor(y).float(), held(0, len(x))
    first = mlp(design_of(x[:0], y[:0, None]), no_row, Training(width=training.width, epochs=0))
    weights = [torch.nn.Parameter(w[0].clone()) for w in first.parts()]
    loss = torch.nn.MSELoss() if numbers else torch.nn.BCEWithLogitsLoss()
    adam = torch.optim.Adam(weights, lr=training.rate)
    mean, scale = (y[~held].mean(), y[~held].std(correction=0)) if numbers else (0.0, 1.0)
    target = (y - mean) / scale

    def predict():
        return (torch.relu(x @ weights[0] + weights[1]) @ weights[2] + weights[3])[:, 0]

    best, least, waited, epochs = None, torch.inf, 0, 0
    for epoch in range(training.epochs):
        for batch in (~held).nonzero()[:, 0].split(training.batch):
            adam.zero_grad()
            value = loss(predict()[batch], target[batch]) / (2 if numbers else 1)
            (value + training.l2 / 2 * (weights[0].square().sum() + weights[2].square().sum())).backward()
            adam.step()
        now = loss(predict()[held], target[held]).item() if held.any() else -epoch
        waited += 1
        if now < least:
            best, least, waited, epochs = (predict() * scale + mean).detach(), now, 0, epoch
        if waited == training.patience:
            break
    return best.double(), epochs


@pytest.mark.parametrize("held", [every_fifth, no_row])
def test_all_hypotheses_are_trained_as_each_would_be_alone(held):
    design, x, y = problem(400)
    z = mlp(design, held, SMALL)(torch.tensor(x).float())
    for h in range(len(BOTH)):
        close(z[:, h], reference(x, y[:, h], held, SMALL)[0], 1e-4)


def test_numbers_are_trained_on_their_squared_errors_and_predicted_on_their_own_scale():
    design, x, y = problem(400, ["number", "far", "constant"])
    z = mlp(design, every_fifth, SMALL, numbers=True)(torch.tensor(x).float())
    for h in range(2):
        close(z[:, h], reference(x, y[:, h], every_fifth, SMALL, numbers=True)[0], 1e-4)
    close(z[:, 2], np.full(400, 2.5))


def test_a_hypothesis_stops_when_its_validation_loss_has_not_become_less_and_keeps_its_best_epoch():
    training = Training(width=32, batch=16, epochs=60, rate=0.02, patience=2)
    design, x, y = problem(150)
    z = mlp(design, every_fifth, training)(torch.tensor(x).float())
    stopped = []
    for h in range(len(BOTH)):
        expected, epochs = reference(x, y[:, h], every_fifth, training)
        stopped.append(epochs)
        close(z[:, h], expected, 1e-3)
    assert len(set(stopped)) > 1
    assert max(stopped) < 57


def test_what_no_linear_probe_finds_is_found():
    rng = np.random.default_rng(0)
    x = standardized(rng.normal(size=(3000, 3)))
    y = np.stack([x[:, 0] * x[:, 1] > 0, x[:, 2] > 0], axis=1).astype(float)
    training = Training(width=32, rate=0.01, batch=64, epochs=30)
    probe = mlp(design_of(x[:2000], y[:2000]), every_fifth, training)
    assert accuracy(count(design_of(x[2000:], y[2000:]), probe)).value.min() > 0.95
    number = np.abs(x[:, 0])
    probe = mlp(design_of(x[:2000], number[:2000]), every_fifth, training, numbers=True)
    assert r2(errors(design_of(x[2000:], number[2000:]), probe)).value.item() > 0.95


def test_the_seed_decides():
    design, x, _ = problem(300)
    x = torch.tensor(x).float()
    first, second = (mlp(design, every_fifth, SMALL)(x) for _ in range(2))
    assert torch.equal(first, second)
    other = mlp(design, every_fifth, Training(width=8, batch=32, epochs=4, rate=0.01, seed=1))(x)
    assert (first - other).abs().max() > 0.01


def test_chunks_the_other_hypotheses_and_the_memory_change_nothing():
    design, x, y = problem(300)
    x = torch.tensor(x).float()
    whole = mlp(design, every_fifth, SMALL)(x)
    close(mlp(design_of(x, y, (300,)), every_fifth, SMALL)(x), whole, 1e-4)
    close(mlp(columns(design, torch.tensor([2])), every_fifth, SMALL)(x)[:, 0], whole[:, 2], 1e-4)
    one_at_a_time = Training(width=8, batch=32, epochs=4, rate=0.01, memory=1)
    close(mlp(design, every_fifth, one_at_a_time)(x), whole, 1e-4)


def test_a_hypothesis_of_one_class_and_one_without_rows_end_without_an_error():
    design, x, _ = problem(300, ["none", "all"])
    z = mlp(design, every_fifth, Training(width=8, batch=32, epochs=10, rate=0.01))(torch.tensor(x).float())
    assert (z[:, 0] < 0).all()
    assert (z[:, 1] > 0).all()
    probe = mlp(design_of(np.zeros((0, 3)), np.zeros((0, 2))), no_row, SMALL)
    assert isinstance(probe, Perceptrons)
    assert probe(torch.zeros(5, 3)).tolist() == [[0, 0]] * 5
