"""A run reads what it was asked for, stops there, and leaves the module as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from deepbase.errors import ModelError
from deepbase.models import Model, inspectable

SAMPLE = np.array([1, 2, 3, 4])
ROWS = [[1, 2, 3], [4, 5, 6, 7]]


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.first = nn.Linear(6, 8)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 4)
        self.extra = nn.Linear(8, 8)

    def forward(self, ids):
        hidden = self.drop(self.act(self.first(self.embed(ids))))
        if ids.shape[0] == 4:
            hidden = self.extra(hidden)
        if ids.shape[1] == 8:
            raise RuntimeError("eight is too much.\nmore text")
        return self.last(hidden)


@pytest.fixture
def chain():
    return inspectable(Model(Chain()), SAMPLE)


def _hooks(model):
    return sum(len(part._forward_hooks) for part in model._model.module.modules())


def _calls(model, name):
    calls = []
    dict(model._model.module.named_modules())[name].register_forward_pre_hook(lambda *_: calls.append(name))
    return calls


def test_the_forward_stops_after_the_deepest_layer_asked_for(chain, batch, collect):
    later = _calls(chain, "last")
    assert list(collect(chain, batch(ROWS), ["first", "embed"])) == ["embed", "first"]
    assert not later
    collect(chain, batch(ROWS), ["last"])
    assert later == ["last"]


def test_a_stop_inside_transformers_leaves_no_trace(opened, batch, collect):
    model = opened("gpt2")
    module = model._model.module
    ids = torch.tensor([[4, 5, 6]])
    before = module(input_ids=ids, output_hidden_states=True)
    later = _calls(model, "h.1")
    collect(model, batch(ROWS), ["h.0.mlp.act"])
    assert not later
    after = module(input_ids=ids, output_hidden_states=True)
    assert len(after.hidden_states) == len(before.hidden_states)
    torch.testing.assert_close(after.last_hidden_state, before.last_hidden_state)


def test_a_module_that_overwrites_its_input_does_not_change_the_layer_before(chain, batch, collect):
    got = collect(chain, batch(ROWS))
    assert (got["first"] < 0).any()
    torch.testing.assert_close(got["act"], got["first"].relu())


def test_dropout_and_training_mode_are_left_as_they_were(chain, batch, collect):
    module = chain._model.module
    module.embed.eval()
    got = collect(chain, batch(ROWS))
    torch.testing.assert_close(got["drop"], got["act"])
    assert module.training
    assert module.drop.training
    assert not module.embed.training


def test_what_the_visitor_raises_comes_out_as_it_is(chain, batch):
    error = ValueError("mine")

    def visit(layer, values):
        raise error

    with pytest.raises(ValueError, match="mine") as raised:
        chain.run(batch(ROWS), ["first"], visit)
    assert raised.value is error
    assert _hooks(chain) == 0


def test_no_hook_is_left_after_a_run_or_a_failure(chain, batch, collect):
    collect(chain, batch(ROWS), ["first"])
    assert _hooks(chain) == 0
    with pytest.raises(ModelError) as raised:
        collect(chain, batch([[1] * 8]), ["last"])
    assert str(raised.value) == "Chain failed on a batch of 1 sequences of 8 positions: eight is too much"
    assert _hooks(chain) == 0


def test_asking_for_nothing_runs_nothing(chain, batch, collect):
    calls = _calls(chain, "embed")
    assert collect(chain, batch(ROWS), []) == {}
    assert not calls


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("frist", "Chain has no layer 'frist'. Did you mean 'first'?"),
        ("extra", "Chain has no layer 'extra'. There are: embed, first, act, drop, last."),
    ],
)
def test_an_unknown_layer_is_an_error(chain, batch, collect, layer, text):
    with pytest.raises(ModelError) as raised:
        collect(chain, batch(ROWS), [layer])
    assert str(raised.value) == text


def test_a_refused_layer_says_why(opened, batch, collect):
    with pytest.raises(ModelError) as raised:
        collect(opened("bert"), batch(ROWS), ["pooler.dense"])
    assert str(raised.value) == (
        "The layer 'pooler.dense' of BertModel has no value per symbol. "
        "Its output has the shape (5, 16) for 5 x 4 symbols and (3, 16) for 3 x 9"
    )


class Fickle(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.maybe = nn.Linear(6, 6)
        self.cut = nn.Identity()

    def forward(self, ids):
        hidden = self.embed(ids)
        self.cut(hidden[:, :20])
        return hidden if ids.shape[1] == 10 else self.maybe(hidden)


def test_a_layer_that_takes_no_part_in_this_forward_is_named(batch, collect):
    model = inspectable(Model(Fickle()), SAMPLE)
    with pytest.raises(ModelError) as raised:
        collect(model, batch([[1] * 10]), ["embed", "maybe"])
    assert str(raised.value) == (
        "The forward of Fickle did not reach 'maybe'. Leave out layers that depend on the input"
    )


def test_a_shape_that_the_probe_did_not_see_is_an_error(batch, collect):
    model = inspectable(Model(Fickle()), SAMPLE)
    with pytest.raises(ModelError) as raised:
        collect(model, batch([[1] * 30]), ["cut"])
    assert str(raised.value) == (
        "The layer 'cut' cannot be read: the output has the shape (1, 20, 6) for 1 sequences of 30 positions, "
        "which is not 6 units a symbol"
    )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, ids, mask):
        return self.encoder(self.embed(ids), src_key_padding_mask=~mask)


def test_values_do_not_depend_on_which_other_layers_are_asked_for(batch, collect):
    model = inspectable(Model(Encoder(), call=lambda module, ids, mask: module(ids, mask)), SAMPLE)
    assert model.input_format.padding == "right"
    everything = collect(model, batch(ROWS))
    for layer, values in everything.items():
        torch.testing.assert_close(collect(model, batch(ROWS), [layer])[layer], values, atol=0, rtol=0)


def test_moving_to_a_device_that_is_not_there(chain):
    assert chain.to("cpu") is chain
    assert chain.device == torch.device("cpu")
    with pytest.raises(
        ModelError, match=r"^The model cannot be moved to the device 'abacus': .*\. Use 'cpu' or 'auto'$"
    ):
        chain.to("abacus")
