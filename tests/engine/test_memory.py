"""The memory that a run is given for what measures keep of the data."""

from __future__ import annotations

import string

import pytest

import deepbase
from deepbase.errors import QueryError

LETTERS = string.ascii_letters + string.digits
TEXTS = ["".join(LETTERS[(i * j + j) % len(LETTERS)] for j in range(20)) for i in range(200)]


def scores(db, measure, memory):
    found = db.inspect("net", "lines", "is_vowel", [measure], memory=memory)
    rows = found.scores.project("unit, unit_score, note").order("unit").fetchall()
    return [(unit, score) for unit, score, _ in rows], {note for *_, note in rows}


@pytest.fixture
def db(model_file):
    with deepbase.connect() as db:
        db.register_model("net", f"{model_file}:net")
        db.register_dataset("lines", "SELECT unnest($$" + "\n".join(TEXTS) + "$$.split(chr(10))) AS text")
        yield db


def test_less_memory_is_less_exact_and_says_so(db):
    exact, nothing = scores(db, "auroc", 2.0)
    counted, notes = scores(db, "auroc", 5e-6)
    assert nothing == {None}
    assert any("approximate" in (note or "") for note in notes)
    assert counted != exact
    for (_, a), (_, b) in zip(exact, counted, strict=True):
        assert b is None or a == pytest.approx(b, abs=0.05)


@pytest.mark.parametrize("memory", [0, -1, True, "2", float("inf"), float("nan")])
def test_memory_is_a_number_of_gigabytes(db, memory):
    with pytest.raises(QueryError, match="Give a number of gigabytes above 0"):
        db.inspect("net", "lines", "is_vowel", memory=memory)


def test_kinds_of_states_that_keep_rows_share_the_memory(db, monkeypatch):
    from deepbase.measures.order.state import PairOrder
    from deepbase.measures.rows import Rows

    given = {}
    for kind in (PairOrder, Rows):
        first = kind.first.__func__

        def told(cls, units, labels, memory, first=first):
            given[cls] = memory
            return first(cls, units, labels, memory)

        monkeypatch.setattr(kind, "first", classmethod(told))
    db.inspect("net", "lines", "is_vowel", ["auroc", "lda", "pearson"], memory=1, layers="*")
    both = dict(given)
    db.inspect("net", "lines", "is_vowel", ["auroc", "pearson"], memory=1, layers="*")
    assert both[PairOrder] == both[Rows] == given[PairOrder] // 2
