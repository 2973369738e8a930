import json
from importlib.resources import files
from itertools import islice

import pytest
import torch

from deepbase.demo import grammar, train
from deepbase.demo import model as demo

PACKAGE = files("deepbase.demo")


@pytest.fixture(scope="module")
def network():
    return demo.network()


@pytest.fixture(scope="module")
def figures():
    return json.loads((PACKAGE / "sql_lstm.json").read_text(encoding="utf-8"))


def test_the_weights_are_small_and_say_how_they_were_made(figures):
    assert len((PACKAGE / demo.WEIGHTS).read_bytes()) < 2_000_000
    about = demo.metadata()
    assert about["vocabulary"] == grammar.sql_grammar().characters
    assert about["seed"] == figures["seed"]
    assert about["accuracy"] == figures["held_out_accuracy"]


def test_the_recorded_accuracy_is_reached_on_fresh_queries(network, figures):
    texts = [d.text for d in islice(grammar.derivations(seed=77), 200)]
    fresh = train.evaluate(network, train.encode(texts, demo.metadata()["vocabulary"]))
    assert fresh.accuracy == pytest.approx(figures["held_out_accuracy"], abs=0.03)
    assert fresh.predictions == sum(map(len, texts))


def test_the_network_is_nearly_as_good_as_the_grammar_allows(figures):
    assert figures["grammar_loss"] <= figures["held_out_loss"] + 0.005
    assert figures["held_out_loss"] < figures["grammar_loss"] + 0.02


def test_the_tokenizer_gives_every_character_an_id_and_a_span():
    tokenize = demo.tokenizer(demo.metadata()["vocabulary"])
    text = "SELECT é\n'ΩA'"
    tokens = tokenize(text)
    assert [text[start:end] for _, start, end in tokens] == list(text)
    ids = [number for number, _, _ in tokens]
    assert [c for c, i in zip(text, ids, strict=True) if i == demo.UNKNOWN] == ["é", "\n", "Ω"]
    assert demo.PAD not in ids
    assert tokenize("") == []


def test_every_character_of_the_grammar_has_its_own_id():
    vocabulary = demo.metadata()["vocabulary"]
    ids = [number for number, _, _ in demo.tokenizer(vocabulary)(vocabulary)]
    assert ids == list(range(2, 2 + len(vocabulary)))


@torch.inference_mode()
def test_padding_on_the_right_changes_nothing(network):
    tokenize = demo.tokenizer(demo.metadata()["vocabulary"])
    ids = torch.tensor([[number for number, _, _ in tokenize("SELECT name FROM users")]])
    padded = torch.nn.functional.pad(ids, (0, 30), value=demo.PAD)
    assert network(padded).shape == (1, 52, len(demo.metadata()["vocabulary"]) + 2)
    torch.testing.assert_close(network(padded)[:, :22], network(ids))


@torch.inference_mode()
def test_it_completes_a_query(network):
    vocabulary = demo.metadata()["vocabulary"]
    text = "SELECT name FROM users WHERE cit"
    for _ in range(4):
        ids = torch.tensor([[number for number, _, _ in demo.tokenizer(vocabulary)(text)]])
        text += vocabulary[int(network(ids)[0, -1].argmax()) - 2]
    assert text.startswith("SELECT name FROM users WHERE city ")


def test_it_is_a_model_of_deepbase():
    from deepbase.models.base import Model

    assert isinstance(demo.model(), Model)
