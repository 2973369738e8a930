"""Layers and models compared with each other in a run: in Python, on the command line and in SQL."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import deepbase
from deepbase.errors import MeasureError, QueryError

LETTERS = list("aeioubcdfgh")


def characters(text):
    return [(min(ord(c), 127), i, i + 1) for i, c in enumerate(text) if c != " "]


def pieces(text):
    """Up to two characters of a word, of which the first says which piece it is."""
    found, at = [], 0
    while at < len(text):
        end = at + 1 + (at + 1 < len(text) and text[at + 1] != " " and text[at] in "aeiou")
        if text[at] != " ":
            found.append((min(ord(text[at]), 127), at, end))
        at = end
    return found


def module(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(128, 6), nn.Tanh(), nn.Linear(6, 4))


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)

    def word():
        return "".join(rng.choice(LETTERS, size=rng.integers(1, 8)))

    return [" ".join(word() for _ in range(rng.integers(1, 7))) for _ in range(100)]


@pytest.fixture
def db(texts):
    with deepbase.connect() as database:
        database.register_model("net", deepbase.Model(module(0), characters))
        database.register_model("same", deepbase.Model(module(0), characters))
        database.register_model("other", deepbase.Model(module(1), pieces))
        place = [("north", "south")[i % 2] for i in range(len(texts))]
        database.register_dataset("texts", pa.table({"text": texts, "place": place}))
        yield database


def at_tokens(texts, layer=2):
    tokens = [t for text in texts for t, *_ in characters(text)]
    with torch.no_grad():
        return module(0)[: layer + 1](torch.tensor(tokens)).double().numpy()


def at_words(texts, seed, tokenize):
    """float64[word, unit] of the last layer, the means over the tokens of each word."""
    with torch.no_grad():
        found = [
            module(seed)(torch.tensor([t for t, *_ in tokenize(word)])).double().mean(0).numpy()
            for text in texts
            for word in text.split()
        ]
    return np.array(found)


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    shares = np.square(y.T @ x).sum(0) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return shares.sum(), shares


def rows(found, *columns):
    return found.scores.project(", ".join(columns)).fetchall()


def test_the_layers_of_a_model_are_compared_without_hypotheses(db, texts):
    found = db.inspect("net", "texts", measures=["cka"], layers="*")
    x = {str(i): at_tokens(texts, i) for i in range(3)}
    pairs = {(a, b) for a in x for b in x if a != b}
    assert {(a, b) for a, b in rows(found, "layer", "hypothesis")} == pairs
    for a, b, unit, score, share, p, symbols, records, note in rows(
        found,
        "layer, hypothesis, unit, group_score, unit_score, p_value, symbols, records, note",
    ):
        whole, shares = cka(x[a], x[b])
        assert score == pytest.approx(whole, abs=1e-5)
        assert share == pytest.approx(shares[unit], abs=1e-5)
        assert (p, symbols, records, note) == (None, len(x["0"]), 100, None)
    assert len(rows(found, "unit")) == 2 * (6 + 6 + 4)


def test_batches_change_nothing(db):
    calls = ["cka", "cca", "cka(unbiased := true)"]
    every = []
    for size, seed in ((32, 0), (3, 0), (32, 5)):
        options = {"layers": "*", "at": "word", "batch_size": size, "seed": seed}
        found = db.inspect(["net", "other"], "texts", measures=calls, **options)
        every.append(rows(found, "measure, model, layer, unit, hypothesis, group_score, unit_score"))
    plain = {r[:5]: r[5:] for r in every[0]}
    for again in every[1:]:
        assert {r[:5] for r in again} == set(plain)
        for *key, score, share in again:
            assert (score, share) == pytest.approx(plain[tuple(key)], abs=1e-5)


def test_models_are_compared_at_words_whatever_their_tokens_are(db, texts):
    found = db.inspect(["net", "other"], "texts", measures=["cka"], layers="2", at="word")
    x, y = at_words(texts, 0, characters), at_words(texts, 1, pieces)
    values = {
        (model, other, unit): (score, share)
        for model, other, unit, score, share in rows(found, "model, hypothesis, unit, group_score, unit_score")
    }
    assert {(model, other) for model, other, _ in values} == {("net", "other:2"), ("other", "net:2")}
    for model, other, (whole, shares) in (("net", "other:2", cka(x, y)), ("other", "net:2", cka(y, x))):
        for unit, share in enumerate(shares):
            assert values[model, other, unit] == pytest.approx((whole, share), abs=1e-5)


def test_models_of_other_tokens_are_not_compared_at_tokens(db):
    found = db.inspect(["net", "same", "other"], "texts", measures=["cka"], layers="2")
    for model, other, score, note in rows(found, "model, hypothesis, group_score, note"):
        if "other" in (model, other.partition(":")[0]):
            assert score is None
            assert note == "models have different symbols: compare them at words (at word)"
        else:
            assert (score, note) == (pytest.approx(1), None)


def test_whole_models_are_compared(db, texts):
    found = db.inspect(["net", "same"], "texts", measures=["cka(group := 'model')", "lda"], hypotheses=["place=north"])
    several = [r for r in rows(found, "measure, model, layer, hypothesis, group_score") if r[0] != "lda"]
    assert {r[1:4] for r in several} >= {("net", "2", "same"), ("same", "2", "net")}
    assert {r[3] for r in several} == {"net", "same"}
    assert [r[4] for r in several] == pytest.approx([1] * len(several))
    assert db.sql("SELECT hypothesis FROM run_hypotheses").fetchall() == [("place=north",)]


def test_slices_are_compared_each_by_itself(db, texts):
    found = db.inspect("net", "texts", measures=["cka"], layers=["1", "2"], group_by="place")
    for part, place in enumerate(("north", "south")):
        chosen = texts[part::2]
        score, _ = cka(at_tokens(chosen, 1), at_tokens(chosen, 2))
        own = [r[1:] for r in rows(found, "slice, group_score, records") if r[0] == place]
        assert own[0] == (pytest.approx(score, abs=1e-5), 50)


def test_the_first_symbol_of_a_record_is_left_out_of_derivatives(db, texts):
    found = db.inspect("net", "texts", measures=["cka"], layers=["1", "2"], behavior="derivative", batch_size=3)
    x = [np.concatenate([np.diff(at_tokens([t], i), axis=0) for t in texts]) for i in (1, 2)]
    score, _ = cka(*x)
    assert rows(found, "group_score, symbols")[0] == (pytest.approx(score, abs=1e-5), len(x[0]))


def test_in_sql(db, texts):
    score, _ = cka(at_tokens(texts, 1), at_tokens(texts, 2))
    query = (
        "SELECT DISTINCT layer, hypothesis, group_score FROM inspect(model := 'net', dataset := 'texts', "
        "measures := ['cka', 'cca(held_out := 0)'], layers := ['1', '2']) WHERE measure = 'cka' ORDER BY layer"
    )
    near = pytest.approx(score, abs=1e-5)
    assert db.sql(query).fetchall() == [("1", "2", near), ("2", "1", near)]
    with pytest.raises(QueryError) as error:
        db.sql(
            "SELECT S.unit INSPECT U.unit AND H.hypothesis USING cka(unbiased := true) OVER D.record AS S "
            "FROM units U, hypotheses H, inputs D"
        )
    assert "measure 'cka' compares groups of units, and needs no hypothesis" in str(error.value)
    query = (
        "SELECT DISTINCT S.layer, S.hypothesis, S.group_score INSPECT U.unit USING cka OVER D.record AS S "
        "FROM units U, inputs D WHERE U.layer IN ('1', '2') AND U.model = 'net' AND D.dataset = 'texts' "
        "ORDER BY S.layer"
    )
    assert db.sql(query).fetchall() == [("1", "2", near), ("2", "1", near)]


def test_on_the_command_line(cli, write, model_file, text_file):
    write("net.py", model_file.read_text())
    write("texts.txt", text_file.read_text())
    shown = cli("inspect", "net.py:net", "texts.txt", "-m", "cka", "-m", "cca(held_out := 0)", "--layers", "*")
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["hypothesis", "measure", "layer", "group_score", "unit", "unit_score", "symbols", "records"]
    assert [line[:3] for line in lines[1:] if line[1] == "cka"] == [["embed", "cka", "mix"], ["mix", "cka", "embed"]]
    assert cli("inspect", "net", "texts", "-m", "cka", "--layers", "*", "--format", "json").exit_code == 0
    every = json.loads(cli("sql", "FROM scores WHERE measure = 'cka' AND run = 2", "--format", "json").stdout)
    assert len(every) == 4 + 3
    assert sum(r["unit_score"] for r in every if r["layer"] == "mix") == pytest.approx(
        every[0]["group_score"], abs=1e-5
    )


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ({"model": "net", "measures": ["cka"], "layers": "2"}, "cka compares each layer with the others"),
        ({"model": "net", "measures": ["cca(group := 'model')"]}, "cca compares each model with the others"),
    ],
)
def test_one_group_has_nothing_to_be_compared_with(db, request_, what):
    with pytest.raises(MeasureError) as error:
        db.inspect(dataset="texts", **request_)
    assert str(error.value) == f"{what}, and there is only one. Inspect several layers, or several models."
