"""Which modules of an arbitrary model are layers, and which are refused with what reason."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from deepbase.errors import ModelError
from deepbase.models import Model, inspectable

SAMPLE = np.array([1, 2, 3, 4, 5])
ROWS = [[1, 2, 3], [4, 5, 6, 7]]


class Tagger(nn.Module):
    def __init__(self, batch_first=True, bidirectional=False):
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=batch_first, bidirectional=bidirectional)
        self.head = nn.Linear(10 if bidirectional else 5, 3)
        self.batch_first = batch_first

    def forward(self, ids):
        return self.head(self.lstm(self.embed(ids if self.batch_first else ids.T))[0])


class Part(nn.Module):
    """A module without weights whose output is what `make` says of the hidden values."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, hidden):
        return self.make(hidden)


class Odd(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.part = Part(make)

    def forward(self, ids):
        return self.part(self.embed(ids))


@dataclass
class Result:
    loss: torch.Tensor
    states: torch.Tensor


def _open(module, **options):
    return inspectable(Model(module, **options), SAMPLE)


def _shape(model):
    return [(layer.layer, layer.layer_index, layer.width, layer.kind) for layer in model.layers]


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_lstm_is_read_from_its_tuple_whichever_axis_is_first(batch, collect, batch_first):
    module = Tagger(batch_first)
    model = _open(module)
    assert _shape(model) == [("embed", 0, 6, "embedding"), ("lstm", 1, 5, "block output"), ("head", 2, 3, "other")]
    assert model.input_format.padding == "right"
    got = collect(model, batch(ROWS), ["lstm"])["lstm"]
    ids = [torch.tensor([row]) for row in ROWS]
    expected = [module.lstm(module.embed(row if batch_first else row.T))[0].reshape(-1, 5) for row in ids]
    torch.testing.assert_close(got, torch.cat(expected).detach(), atol=1e-6, rtol=0)


def test_a_bidirectional_lstm_reads_padding_so_only_equal_lengths_run_together(batch, collect):
    model = _open(Tagger(bidirectional=True))
    assert model.input_format.padding == "none"
    assert [layer.width for layer in model.layers] == [6, 10, 3]
    together = collect(model, batch([[1, 2, 3], [4, 5, 6]]))
    torch.testing.assert_close(together["lstm"][3:], collect(model, batch([[4, 5, 6]]))["lstm"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("side", "layer"), [("right", "lstm"), ("left", "lstm")])
def test_padding_that_the_user_asked_for_is_checked(side, layer):
    with pytest.raises(ModelError) as raised:
        _open(Tagger(bidirectional=True), padding=side)
    assert str(raised.value) == (
        f"Tagger cannot be padded on the {side}: its layer {layer!r} then has other values. "
        "Leave padding out to find out what is safe"
    )


@pytest.mark.parametrize(
    ("make", "width"),
    [
        (lambda hidden: Result(hidden.sum(), hidden * 2), 6),
        (lambda hidden: {"loss": hidden.sum(), "states": (None, hidden * 2)}, 6),
        (lambda hidden: [hidden.argmax(-1), hidden * 2, hidden * 3], 6),
        (lambda hidden: hidden * 2, 6),
        (lambda hidden: (hidden * 2).transpose(0, 1), 6),
        (lambda hidden: (hidden * 2).transpose(1, 2), 6),
        (lambda hidden: (hidden * 2).reshape(-1, 6), 6),
        (lambda hidden: (hidden * 2).transpose(0, 1).reshape(-1, 6), 6),
        (lambda hidden: (hidden * 2).unflatten(2, (2, 3)).transpose(1, 2), 6),
    ],
    ids=[
        "dataclass",
        "dict",
        "second-of-list",
        "plain",
        "seq-first",
        "channels-first",
        "flat",
        "flat-seq-first",
        "heads",
    ],
)
def test_a_value_per_symbol_is_found_wherever_it_is(batch, collect, make, width):
    module = Odd(make)
    model = _open(module)
    assert [(layer.layer, layer.width) for layer in model.layers] == [("embed", 6), ("part", width)]
    got = collect(model, batch(ROWS))
    torch.testing.assert_close(got["part"], got["embed"] * 2)


def test_one_number_a_symbol_is_a_layer_of_one_unit(batch, collect):
    model = _open(Odd(lambda hidden: hidden.sum(-1).double()))
    got = collect(model, batch(ROWS))
    assert got["part"].dtype == torch.float32
    torch.testing.assert_close(got["part"], got["embed"].sum(-1, keepdim=True))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda hidden: hidden @ hidden.transpose(1, 2),
            "Its output has the shape (5, 4, 4) for 5 x 4 symbols and (3, 9, 9) for 3 x 9",
        ),
        (
            lambda hidden: hidden.mean(1),
            "Its output has the shape (5, 6) for 5 x 4 symbols and (3, 6) for 3 x 9",
        ),
        (
            lambda hidden: hidden.argmax(-1),
            "Its output has the shape (5, 4) of int64 for 5 x 4 symbols and (3, 9) of int64 for 3 x 9",
        ),
        (
            lambda hidden: hidden[:, 1:],
            "Its output has the shape (5, 3, 6) for 5 x 4 symbols and (3, 8, 6) for 3 x 9",
        ),
        (lambda hidden: None, "Its output holds no tensor"),
        (
            lambda hidden: hidden - hidden.mean(0, keepdim=True),
            "Its values for a sequence change from one forward to the next, or with the other sequences of the batch",
        ),
        (
            lambda hidden: hidden + torch.rand_like(hidden),
            "Its values for a sequence change from one forward to the next, or with the other sequences of the batch",
        ),
    ],
    ids=["attention-weights", "pooled", "integers", "shorter", "nothing", "batch-norm", "random"],
)
def test_a_module_without_a_value_per_symbol_is_refused(make, reason):
    model = _open(Odd(make))
    assert [layer.layer for layer in model.layers] == ["embed"]
    assert dict(model.refused) == {"part": reason}


def test_a_model_without_any_layer_is_an_error():
    module = nn.Sequential(Part(lambda ids: ids * 2))
    with pytest.raises(ModelError) as raised:
        _open(module)
    assert str(raised.value) == (
        "No module of Sequential has a value per symbol. "
        "0: Its output has the shape (5, 4) of int64 for 5 x 4 symbols and (3, 9) of int64 for 3 x 9"
    )


def test_a_module_without_parts_is_its_own_only_layer(batch, collect):
    module = nn.Embedding(10, 6)
    model = _open(module)
    assert _shape(model) == [("module", 0, 6, "embedding")]
    torch.testing.assert_close(collect(model, batch([[1, 2]]))["module"], module.weight[1:3].detach())


def test_a_short_context_is_respected():
    class Short(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(10, 6)
            self.position = nn.Embedding(3, 6)

        def forward(self, ids):
            return self.embed(ids) + self.position(torch.arange(ids.shape[1]))

    assert _open(Short(), context=3).input_format.context == 3
    with pytest.raises(ModelError) as raised:
        _open(Short())
    assert str(raised.value) == (
        "Short cannot run on a batch of 5 sequences of 4 positions: index out of range in self. "
        "Check that its tokenizer belongs to it, and how `call` runs it"
    )


def test_a_pad_id_that_the_model_does_not_know():
    with pytest.raises(ModelError) as raised:
        _open(Tagger(), pad_id=99)
    assert str(raised.value) == (
        "Tagger cannot run on a batch of 2 sequences of 9 positions, padded on the right with the id 99: "
        "index out of range in self. Give another pad_id, or padding='none'"
    )
    assert _open(Tagger(), pad_id=99, padding="none").input_format.pad_id == 99


def test_weights_that_are_not_finite_are_named():
    module = Tagger()
    with torch.no_grad():
        module.lstm.weight_hh_l0[1, 2] = float("nan")
    with pytest.raises(ModelError) as raised:
        _open(module)
    assert str(raised.value) == (
        "The weights 'lstm.weight_hh_l0' of Tagger hold 1 NaN or infinite value out of 100. "
        "Its training diverged or its file is damaged: take another checkpoint"
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"module": "bert"},
            "module has to be a torch.nn.Module, not a str. Load a path or a hub id by its name",
        ),
        (
            {"tokenize": 3},
            "tokenize cannot be an int. "
            "Give a Hugging Face fast tokenizer, or a function tokenize(text) -> [(id, start, end), ...]",
        ),
        ({"call": "run"}, "call cannot be a str. Give a function call(module, ids, mask)"),
        ({"context": 1}, "context has to be a whole number of at least 2, not 1"),
        ({"padding": "top"}, "padding cannot be 'top'. It is 'right', 'left', 'none', or None to find out"),
        ({"pad_id": -1}, "pad_id has to be a token id, not -1"),
    ],
)
def test_a_model_of_wrong_things_is_refused(arguments, text):
    with pytest.raises(ModelError) as raised:
        Model(**{"module": nn.Linear(1, 1), **arguments})
    assert str(raised.value) == text
