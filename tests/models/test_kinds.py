"""Each block has one layer of each kind, whatever the family calls it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from deepbase.models import Model, inspectable

SAMPLE = np.array([4, 5, 6, 7])


def _kinds(module):
    return {
        kind: [layer.layer for layer in inspectable(Model(module), SAMPLE).layers if layer.kind == kind]
        for kind in ("embedding", "block output", "attention output", "MLP neurons")
    }


FAMILIES = {
    "bert": ("embeddings", "encoder.layer.{}", "encoder.layer.{}.attention", "encoder.layer.{}.intermediate"),
    "roberta": ("embeddings", "encoder.layer.{}", "encoder.layer.{}.attention", "encoder.layer.{}.intermediate"),
    "gpt2": ("drop", "h.{}", "h.{}.attn", "h.{}.mlp.act"),
    "llama": ("embed_tokens", "layers.{}", "layers.{}.self_attn", "layers.{}.mlp.act_fn"),
    "t5": (
        "encoder.embed_tokens",
        "encoder.block.{}",
        "encoder.block.{}.layer.0.SelfAttention",
        "encoder.block.{}.layer.1.DenseReluDense.act",
    ),
    "bart": ("layernorm_embedding", "layers.{}", "layers.{}.self_attn", "layers.{}.activation_fn"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families(opened, family):
    model = opened(family)
    embedding, block, attention, neurons = FAMILIES[family]
    expected = {embedding: "embedding"}
    for i in range(2):
        expected[attention.format(i)] = "attention output"
        expected[neurons.format(i)] = "MLP neurons"
        expected[block.format(i)] = "block output"
    assert {layer.layer: layer.kind for layer in model.layers if layer.kind != "other"} == expected
    widths = {layer.kind: layer.width for layer in model.layers if layer.kind != "other"}
    wide = 64 if family == "gpt2" else 32
    assert widths == {"embedding": 16, "attention output": 16, "MLP neurons": wide, "block output": 16}


def test_shared_blocks(build):
    group = "encoder.albert_layer_groups.0"
    assert _kinds(build("albert")) == {
        "embedding": ["embeddings"],
        "block output": [group],
        "attention output": [f"{group}.albert_layers.0.attention"],
        "MLP neurons": [f"{group}.albert_layers.0.activation"],
    }


def test_the_layers_of_torch_itself():
    module = nn.Sequential(
        nn.Embedding(10, 8), nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    )
    assert _kinds(module) == {
        "embedding": ["0"],
        "block output": ["1.layers.0", "1.layers.1"],
        "attention output": ["1.layers.0.self_attn", "1.layers.1.self_attn"],
        "MLP neurons": ["1.layers.0.dropout", "1.layers.1.dropout"],
    }


class Mixer(nn.Module):
    """A block whose nonlinearity is a plain function."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 20)
        self.fc2 = nn.Linear(20, 8)

    def forward(self, hidden):
        return hidden + self.fc2(functional.gelu(self.fc1(hidden)))


@pytest.mark.parametrize("container", [nn.ModuleList, lambda items: nn.Sequential(*items)])
def test_blocks_with_a_plain_function(container):
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(10, 8)
            self.blocks = container([Mixer(), Mixer()])

        def forward(self, ids):
            hidden = self.embed(ids)
            for block in self.blocks:
                hidden = block(hidden)
            return hidden

    assert _kinds(Stack()) == {
        "embedding": ["embed"],
        "block output": ["blocks.0", "blocks.1"],
        "attention output": [],
        "MLP neurons": ["blocks.0.fc1", "blocks.1.fc1"],
    }


def test_a_plain_chain_has_only_its_embedding():
    module = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    assert _kinds(module) == {"embedding": ["0"], "block output": [], "attention output": [], "MLP neurons": []}


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_blocks(layer):
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(10, 8)
            self.drop = nn.Dropout(0.1)
            self.layers = nn.ModuleList([layer(8, 8, batch_first=True), layer(8, 8, batch_first=True)])

        def forward(self, ids):
            hidden = self.drop(self.embed(ids))
            for each in self.layers:
                hidden = each(hidden)[0]
            return torch.tanh(hidden)

    assert _kinds(Stacked()) == {
        "embedding": ["embed"],
        "block output": ["layers.0", "layers.1"],
        "attention output": [],
        "MLP neurons": [],
    }
