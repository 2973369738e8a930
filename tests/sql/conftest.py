"""A small study: three models, two datasets, hypotheses of every kind, and tables of the user's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import deepbase

WORDS = [("the", "DET"), ("cat", "NOUN"), ("sleeps", "VERB"), ("a", "DET"), ("dog", "NOUN"), ("ran", "VERB"),
         ("never", "ADV"), ("London", "PROPN"), ("eleven", "NUM"), ("letters", "NOUN")]  # fmt: skip
GENRES = ("news", "mail", "it's", None)


class Net(nn.Module):
    """Two layers over characters."""

    def __init__(self, seed: int, width: int = 5) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(128, width)
        self.mix = nn.Linear(width, 3)
        self.deep = nn.Linear(3, 4)

    def forward(self, ids):
        return self.deep(torch.tanh(self.mix(self.embed(ids))))


def by_character(text):
    return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text)]


def sentences(count: int, step: int) -> list[dict]:
    records = []
    for i in range(count):
        picked = [WORDS[(i * step + k * (i + 1)) % len(WORDS)] for k in range(2 + i % 4)]
        records.append(
            {
                "text": " ".join(w for w, _ in picked),
                "words": [w for w, _ in picked],
                "upos": [p for _, p in picked],
                "genre": GENRES[i % 4],
                "year": 2000 + i % 3,
            }
        )
    return records


@deepbase.hypothesis
def has_e(word: str) -> bool:
    """The word has an e."""
    return "e" in word


def make_study(path=None):
    db = deepbase.connect(path)
    for name, seed, epoch, corpus in (("small-1", 1, 1, "books"), ("small-2", 2, 2, "books"), ("large", 3, 3, "web")):
        model = deepbase.Model(Net(seed, 9 if name == "large" else 5), by_character)
        db.register_model(name, model, tags={"epoch": epoch, "corpus": corpus})
    db.register_dataset("books", sentences(30, 3))
    db.register_dataset("web", sentences(20, 7))
    db.register_hypotheses(has_e)
    db.register_hypotheses("length(word) > 4", name="long_word")
    db.sql(
        "CREATE TABLE chosen AS FROM (VALUES ('mix', 0, 'upos=NOUN'), ('mix', 2, 'has_e')) t(layer, unit, hypothesis)"
    )
    db.sql("CREATE TABLE notes AS FROM (VALUES ('upos=NOUN', 'things'), ('has_e', 'letters')) t(hypothesis, note)")
    db.sql("CREATE TABLE marked AS SELECT range AS record, range % 2 = 0 AS even FROM range(0, 30, 3)")
    return db


@pytest.fixture(scope="module")
def study():
    """A database in memory that tests may read, inspect and add to."""
    with make_study() as db:
        yield db


@pytest.fixture
def study_file(tmp_path):
    """The same in a file of the test's own."""
    with make_study(tmp_path / "study.duckdb") as db:
        yield db
