"""A fingerprint follows what a model computes, and nothing else."""

import json

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from deepbase.models import Model, inspectable, load
from deepbase.models.fingerprint import fingerprint


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 6)

    def forward(self, ids):
        return self.embed(ids)


class Doubler(Tagger):
    def forward(self, ids):
        return self.embed(ids) * 2


def letters(text):
    return [(ord(letter) % 10, i, i + 1) for i, letter in enumerate(text)]


def capitals(text):
    return [(ord(letter) % 7, i, i + 1) for i, letter in enumerate(text)]


def _tagger(cls=Tagger):
    torch.manual_seed(0)
    return cls()


def test_it_is_hex_and_what_an_inspectable_model_has():
    model = Model(_tagger(), letters)
    digest = fingerprint(model)
    assert len(digest) == 32
    assert int(digest, 16)
    assert inspectable(model, np.array([1, 2])).fingerprint == digest
    assert fingerprint(Model(_tagger(), letters)) == digest


def test_another_directory_or_shards_or_precision_of_the_file_do_not_matter(saved, tmp_path):
    first = load(saved("bert"))
    digest = fingerprint(first)
    first.module.save_pretrained(tmp_path / "again", max_shard_size="5KB")
    first.tokenize.save_pretrained(tmp_path / "again")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    again = load(tmp_path / "again")
    assert fingerprint(again) == digest


def test_a_head_in_the_checkpoint_does_not_matter(build, tokenizer, tmp_path):
    module = build("gpt2", transformers.AutoModelForCausalLM)
    module.save_pretrained(tmp_path / "head")
    tokenizer.save_pretrained(tmp_path / "head")
    module.transformer.save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    assert fingerprint(load(tmp_path / "head")) == fingerprint(load(tmp_path / "bare"))


def test_weights_that_no_layer_needs_are_the_same_at_every_load(build, tokenizer, tmp_path):
    build("bert", transformers.AutoModelForMaskedLM).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    first, second = load(tmp_path), load(tmp_path)
    assert first.module.pooler.dense.weight.abs().max() == 0
    assert fingerprint(first) == fingerprint(second)


def test_a_single_weight_matters():
    module = _tagger()
    digest = fingerprint(Model(module))
    with torch.no_grad():
        module.embed.weight[0, 0] += 1e-6
    assert fingerprint(Model(module)) != digest


@pytest.mark.parametrize("setting", [{"hidden_act": "relu"}, {"num_attention_heads": 4}, {"layer_norm_eps": 0.1}])
def test_a_setting_that_changes_the_values_matters(saved, setting):
    place = saved("bert")
    digest = fingerprint(load(place))
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | setting))
    assert fingerprint(load(place)) != digest


def test_the_code_of_a_module_and_of_its_call_matters():
    digests = [
        fingerprint(Model(_tagger())),
        fingerprint(Model(_tagger(Doubler))),
        fingerprint(Model(_tagger(), call=lambda module, ids, mask: module(ids * 0))),
    ]
    assert len(set(digests)) == 3


def test_the_tokenizer_matters_but_not_its_truncation(tokenizer, saved):
    place = saved("bert")
    digest = fingerprint(load(place))
    content = json.loads((place / "tokenizer.json").read_text())
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (place / "tokenizer.json").write_text(json.dumps(content))
    assert fingerprint(load(place)) == digest
    content["model"]["vocab"] |= {"cat": 6, "sat": 5}
    (place / "tokenizer.json").write_text(json.dumps(content))
    assert fingerprint(load(place)) != digest


def test_a_tokenizing_function_counts_by_its_code():
    module = _tagger()
    assert fingerprint(Model(module, letters)) == fingerprint(Model(module, letters))
    assert fingerprint(Model(module, letters)) != fingerprint(Model(module, capitals))
    scope: dict = {}
    exec("def one(text): return [(1, 0, 1)]\ndef two(text): return [(2, 0, 1)]", scope)
    assert fingerprint(Model(module, scope["one"])) != fingerprint(Model(module, scope["two"]))
