"""A model and a tokenizer that count what they are asked for, and records of which everything is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

import deepbase

TAGS = ("DET", "NOUN", "VERB", "X")


@dataclass
class Work:
    """What was asked of a model and its tokenizer."""

    texts: list = field(default_factory=list)
    forwards: int = 0
    sequences: int = 0
    layers: list = field(default_factory=list)

    def clear(self):
        self.texts.clear()
        self.layers.clear()
        self.forwards = self.sequences = 0


class Named(nn.Linear):
    """A layer that says when it runs."""

    def __init__(self, width, name, work):
        super().__init__(width, width)
        self.name, self.work = name, work

    def forward(self, values):
        self.work.layers.append(self.name)
        return super().forward(values)


class Net(nn.Module):
    """Three layers; what a symbol gives depends on itself alone."""

    def __init__(self, work):
        super().__init__()
        self.work = work
        self.embed = nn.Embedding(128, 5)
        self.low = Named(5, "low", work)
        self.high = Named(5, "high", work)

    def forward(self, ids):
        self.work.forwards += 1
        self.work.sequences += len(ids)
        return self.high(torch.tanh(self.low(self.embed(ids))))


@dataclass
class Counted:
    """A database with the model `m` and the dataset `d`, and what is known of them."""

    db: deepbase.Database
    work: Work
    module: Net
    records: list

    def value(self, layer, text):
        """float32[character, unit], by hand."""
        with torch.no_grad():
            embedded = self.module.embed.weight[[min(ord(c), 127) for c in text]]
            low = embedded @ self.module.low.weight.T + self.module.low.bias
            high = torch.tanh(low) @ self.module.high.weight.T + self.module.high.bias
        return {"embed": embedded, "low": low, "high": high}[layer].numpy()

    def rows(self, layer, unit):
        """What `unit_activations` has to show, character by character."""
        return [
            (record, position, row["text"][position], float(value))
            for record, row in enumerate(self.records)
            for position, value in enumerate(self.value(layer, row["text"])[:, unit])
        ]


def make_records(number):
    """Records of words of different lengths, and of a few words only."""
    rng = np.random.default_rng(3)
    words = ["a", "cat", "dog", "ran", "off", "over", "there"]
    found = []
    for i in range(number):
        chosen = [words[j] for j in rng.integers(0, len(words), 1 + i % 4)]
        tags = [TAGS[len(w) % 4] for w in chosen]
        found.append({"text": " ".join(chosen), "words": chosen, "upos": tags, "good": i % 3 == 0, "size": len(chosen)})
    return found


@pytest.fixture
def make():
    """`make(records, path=None)`: a `Counted` of so many records."""
    opened = []

    def build(number=6, path=None, records=None):
        torch.manual_seed(0)
        work = Work()
        module = Net(work)

        def characters(text):
            work.texts.append(text)
            return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text)]

        db = deepbase.connect(path)
        opened.append(db)
        db.register_model("m", deepbase.Model(module, characters))
        rows = make_records(number) if records is None else records
        db.register_dataset("d", rows)
        work.clear()
        return Counted(db, work, module, rows)

    yield build
    for db in opened:
        db.close()


@pytest.fixture
def few(make):
    return make()
