"""Probes with one hidden layer, for what is in a layer but not linearly: trained, not solved.

For a hypothesis y and units x: `z = outer . relu(inner' x + bias) + outer_bias`, with the logistic loss for booleans
and half the squared error for numbers, plus `l2 / 2` times the squares of the weights (no penalty on the biases). It is
the MLP-1 of Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks", section 3, for one
hypothesis.

Trained by Adam (Kingma and Ba 2015, algorithm 1) on batches of rows, in the order of the design: a file is not
shuffled, so the order of its records has to be random before. After each epoch the loss of the validation rows is
taken; a hypothesis whose loss has not become less for `patience` epochs stops, and keeps the weights of its best epoch.

All hypotheses are trained together, as one batched product, and independently: they start from the same seeded weights
and have optimizers and stops of their own, so that the result of one does not depend, beyond rounding, on which others
are asked for, nor on how the chunks are cut. This is an approximate measure: another seed gives another probe. The same
seed gives the same one.

Cost: per epoch some `6 * rows * units * width` operations a hypothesis. Memory: `24 * width * units` bytes a hypothesis
(the weights, the best, the gradient, the moments of Adam); hypotheses that do not fit `memory` together take passes of
their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.rows import Mask, batches, columns, device, portions, where
from deepbase.measures.probes.scores import Spread

DECAY = (0.9, 0.999)
EPSILON = 1e-8
"""The constants of Adam, as its paper recommends."""


@final
@dataclass(frozen=True)
class Training:
    """How a perceptron is trained.

    Attributes:
        width: hidden units.
        l2: weight of the penalty.
        rate: Adam's step.
        batch: rows a step.
        epochs: at most so many.
        patience: epochs without a lesser validation loss after which a hypothesis stops.
        seed: of the first weights.
        memory: bytes of weights that are trained together.
    """

    width: int = 64
    l2: float = 1e-4
    rate: float = 1e-3
    batch: int = 256
    epochs: int = 50
    patience: int = 3
    seed: int = 0
    memory: int = 1 << 29


@final
@dataclass(frozen=True)
class Perceptrons:
    """Probes with one hidden layer; a `Predict`.

    Attributes:
        inner: float32[hypothesis, unit, hidden].
        inner_bias: float32[hypothesis, 1, hidden].
        outer: float32[hypothesis, hidden, 1].
        outer_bias: float32[hypothesis, 1, 1].
        converged: bool[hypothesis], whether the validation loss had stopped to become less before the epochs ended;
            none of probes that come from elsewhere.
    """

    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor
    converged: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    def __call__(self, x: Tensor) -> Tensor:
        """Of float32[row, unit], float64[row, hypothesis]; above 0 means yes. For numbers, the predicted ones."""
        hidden = torch.matmul(x, self.inner).add_(self.inner_bias).relu_()
        return (torch.bmm(hidden, self.outer) + self.outer_bias)[:, :, 0].T.double()

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four tensors of weights."""
        return self.inner, self.inner_bias, self.outer, self.outer_bias


def mlp(design: Design, validation: Mask, training: Training | None = None, numbers: bool = False) -> Perceptrons:
    """Probes with one hidden layer for all hypotheses.

    Args:
        design: the training rows; the hypotheses are boolean, or numbers.
        validation: which of them only say when to stop. Rows of one record should be on one side. If there are none,
            all epochs are run and the last weights kept.
        training: how; by default as `Training()`.
        numbers: whether the hypotheses are numbers. They are standardized for the training.

    Returns:
        The probes.
    """
    training = training or Training()
    each = 24 * training.width * (design.units + 2)
    size = max(training.memory // each, 1)
    held, rest = where(design, validation), where(design, lambda first, end: ~validation(first, end))
    spread = Spread.of(rest) if numbers else None
    trained = []
    for first in range(0, design.hypotheses, size):
        which = torch.arange(first, min(first + size, design.hypotheses))
        run = _Run(columns(rest, which), columns(held, which), training, spread and spread.some(which))
        trained.append(run.trained())
    weights = Perceptrons(*(torch.cat(p) for p in zip(*(t.parts() for t in trained), strict=True)))
    return replace(weights, converged=torch.cat([t.converged for t in trained]))


def _first(units: int, training: Training) -> tuple[Tensor, ...]:
    """The first weights of every hypothesis (He et al. 2015, eq. 10, for the layer before the ReLU; zero biases)."""
    random = torch.Generator().manual_seed(training.seed)
    inner = torch.randn(1, units, training.width, generator=random) * (2 / max(units, 1)) ** 0.5
    outer = torch.randn(1, training.width, 1, generator=random) * (1 / training.width) ** 0.5
    return inner, torch.zeros(1, 1, training.width), outer, torch.zeros(1, 1, 1)


class _Run:
    """The training of one group of hypotheses.

    Attributes:
        weights, first, second: of the hypotheses that have not stopped; the weights, and the moments of Adam.
        best: of all hypotheses, the weights of their best epochs.
        active: int64[active], the hypotheses that have not stopped.
    """

    def __init__(self, rest: Design, held: Design, training: Training, spread: Spread | None) -> None:
        self.rest, self.held, self.training, self.spread = rest, held, training, spread
        h, here = rest.hypotheses, device(rest)
        self.weights = [w.to(here).repeat(h, 1, 1) for w in _first(rest.units, training)]
        self.first = [torch.zeros_like(w) for w in self.weights]
        self.second = [torch.zeros_like(w) for w in self.weights]
        self.best = [w.clone() for w in self.weights]
        self.least = torch.full((h,), torch.inf, dtype=torch.float64, device=here)
        self.waited = torch.zeros(h, dtype=torch.int64, device=here)
        self.active = torch.arange(h, device=here)
        self.steps = 0

    def trained(self) -> Perceptrons:
        """The probes, on the scale of the hypotheses."""
        for _ in range(self.training.epochs):
            for x, y in batches(self.rest, self.training.batch):
                self._step(x, self._targets(y))
            self._judge()
            if not len(self.active):
                break
        inner, inner_bias, outer, outer_bias = self.best
        if self.spread is not None:
            scale, mean = self.spread.deviation.float(), self.spread.mean.float()
            outer, outer_bias = outer * scale[:, None, None], outer_bias * scale[:, None, None] + mean[:, None, None]
        converged = self.waited >= self.training.patience
        return Perceptrons(inner, inner_bias, outer, outer_bias, converged)

    def _targets(self, y: Tensor) -> Tensor:
        """float32[active, row, 1]; numbers are standardized."""
        y = y[:, self.active]
        if self.spread is not None:
            scale = self.spread.deviation[self.active]
            y = ((y - self.spread.mean[self.active]) / torch.where(scale > 0, scale, 1.0)).float()
        return y.T[:, :, None]

    def _step(self, x: Tensor, y: Tensor) -> None:
        """One step of Adam on some rows."""
        inner, inner_bias, outer, outer_bias = self.weights
        hidden = torch.matmul(x, inner).add_(inner_bias).relu_()
        z = torch.bmm(hidden, outer) + outer_bias
        error = ((z if self.spread is not None else z.sigmoid()) - y) / len(x)
        back = torch.bmm(error, outer.mT) * (hidden > 0)
        l2 = self.training.l2
        gradients = (
            torch.matmul(x.T, back).add_(inner, alpha=l2),
            back.sum(1, keepdim=True),
            torch.bmm(hidden.mT, error).add_(outer, alpha=l2),
            error.sum(1, keepdim=True),
        )
        self.steps += 1
        a, b = DECAY
        rate = self.training.rate / (1 - a**self.steps)
        scale = (1 - b**self.steps) ** 0.5
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients, strict=True):
            m.lerp_(g, 1 - a)
            v.mul_(b).addcmul_(g, g, value=1 - b)
            w.addcdiv_(m, v.sqrt().div_(scale).add_(EPSILON), value=-rate)

    def _judge(self) -> None:
        """Keep the weights that are the best so far, and stop the hypotheses that have waited long enough."""
        loss = torch.zeros_like(self.least[self.active])
        probe = Perceptrons(*self.weights)
        for x, y in portions(self.held):
            z, target = probe(x), self._targets(y)[:, :, 0].T.double()
            loss += ((z - target).square() / 2 if self.spread is not None else softplus(z) - target * z).sum(0)
        better = (loss < self.least[self.active]) | (self.held.rows == 0)
        where_better = self.active[better]
        self.least[where_better] = loss[better]
        for kept, w in zip(self.best, self.weights, strict=True):
            kept[where_better] = w[better]
        self.waited[self.active] = torch.where(better, 0, self.waited[self.active] + 1)
        on = self.waited[self.active] < self.training.patience
        if not bool(on.all()):
            self.active = self.active[on]
            for state in (self.weights, self.first, self.second):
                state[:] = [s[on] for s in state]
