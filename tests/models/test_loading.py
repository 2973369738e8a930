"""Loading gives what was saved, quietly, or says in one line what is wrong, where, and what to do."""

import json
import os
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from deepbase.errors import ModelError
from deepbase.models import Model, inspectable, load

SOURCES = "A model is a registered name, a Hugging Face directory or hub id, or file.py:name"
TOKENIZERS = "Give tokenizer=: a directory, a hub id, a fast tokenizer, or a function of a text"


def _fails(text, *args, **options):
    with pytest.raises(ModelError) as raised:
        load(*args, **options)
    assert str(raised.value) == text
    return raised.value


def _edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (content | changes).items() if value is not ...}))


def _letters(text):
    return [(ord(letter) % 10, i, i + 1) for i, letter in enumerate(text)]


def test_the_base_model_and_its_tokenizer_are_loaded(saved):
    model = load(str(saved("bert")))
    assert type(model.module).__name__ == "BertModel"
    assert not model.module.training
    assert model.tokenize("the cat")["input_ids"] == [2, 4, 5, 3]


def test_what_an_inspectable_model_says_of_itself(opened):
    model = opened("bert")
    assert model.architecture == "BertModel"
    assert model.parameters == sum(parameter.numel() for parameter in model._model.module.parameters())
    assert [layer.layer_index for layer in model.layers] == list(range(len(model.layers)))
    assert model.device == torch.device("cpu")
    assert model.tokenize("the")["input_ids"] == [2, 4, 3]


def test_half_precision_checkpoints_are_loaded_as_float32(saved):
    place = saved("bert")
    transformers.AutoModel.from_pretrained(place, dtype=torch.float16).save_pretrained(place)
    assert load(place).module.dtype == torch.float32
    assert load(place, dtype=torch.float16).module.dtype == torch.float16


@pytest.mark.parametrize(
    ("family", "context"), [("bert", 40), ("roberta", 39), ("gpt2", 64), ("llama", 128), ("t5", None), ("bart", 40)]
)
def test_the_context_is_the_models_own_limit(saved, opened, family, context):
    assert opened(family).input_format.context == context


def test_lengths_that_a_tokenizer_states_are_no_limit(saved):
    place = saved("t5")
    _edit(place / "config.json", n_positions=8)
    _edit(place / "tokenizer_config.json", model_max_length=4)
    assert inspectable(load(place), np.array([4, 5])).input_format.context is None


def test_an_encoder_decoder_is_its_encoder(saved):
    assert type(load(saved("t5")).module).__name__ == "T5EncoderModel"
    assert type(load(saved("bart")).module).__name__ == "BartEncoder"


def test_nothing_is_printed(build, tokenizer, tmp_path):
    build("bert", transformers.AutoModelForMaskedLM).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    code = (
        "import numpy, sys; from deepbase.models import load, inspectable;"
        "inspectable(load(sys.argv[1]), numpy.array([4, 5, 6]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_transformers_logs_as_before_afterwards(saved):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(saved("bert"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_importing_deepbase_loads_no_torch():
    code = "import sys, deepbase; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_pickle_is_read_only_when_asked_for(saved):
    place = saved("bert")
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    os.remove(place / "model.safetensors")
    _fails(
        f"The weights of {place} are a pickle, which can execute code when it is read. "
        "Convert them to safetensors (save_pretrained does), or pass --allow-pickle (allow_pickle=True)",
        place,
    )
    assert load(place, allow_pickle=True).module.dtype == torch.float32


def test_a_pickle_that_executes_code_is_never_read(saved, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    place = saved("bert")
    os.remove(place / "model.safetensors")
    torch.save({"weights": Evil()}, place / "pytorch_model.bin")
    with pytest.raises(ModelError, match=f"^The weights of {place} cannot be read: "):
        load(place, allow_pickle=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_directory_is_not_run_and_nobody_is_asked(saved, tmp_path, monkeypatch, known):
    place = saved("bert")
    (place / "mine.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\nclass Config: pass\nclass Net: pass\n")
    changes = {"auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Net"}}
    _edit(place / "config.json", **changes, **({} if known else {"model_type": "mine"}))

    def ask(*_):
        raise AssertionError("asked")

    monkeypatch.setattr("builtins.input", ask)
    _fails(
        f"{place} brings its own code to run it. Read that code, then pass --trust-remote-code "
        "(trust_remote_code=True); or remove `auto_map` from its config.json where transformers has the architecture "
        "itself",
        place,
    )
    assert not (tmp_path / "owned").exists()


def _drop(place, *names):
    weights = load_file(place / "model.safetensors")
    for name in names:
        del weights[name]
    save_file(weights, place / "model.safetensors", {"format": "pt"})


def test_missing_weights_are_listed(saved):
    place = saved("bert")
    _drop(place, "encoder.layer.1.output.dense.weight", "pooler.dense.bias", "embeddings.position_embeddings.weight")
    with pytest.raises(ModelError) as raised:
        load(place)
    assert "encoder.layer.1.output.dense.weight (missing)" in raised.value.message
    assert "embeddings.position_embeddings.weight (missing)" in raised.value.message


def test_one_missing_weight_is_named_alone(saved):
    place = saved("bert")
    _drop(place, "encoder.layer.1.output.dense.weight", "pooler.dense.bias")
    _fails(
        f"{place} does not hold all weights of BertModel: encoder.layer.1.output.dense.weight (missing). "
        "Its config.json and its weights do not belong together: take both from one place",
        place,
    )


def test_a_missing_table_of_positions_is_no_small_thing(saved):
    place = saved("bert")
    _drop(place, "embeddings.position_embeddings.weight")
    _fails(
        f"{place} does not hold all weights of BertModel: embeddings.position_embeddings.weight (missing). "
        "Its config.json and its weights do not belong together: take both from one place",
        place,
    )


def test_weights_of_another_shape_are_listed(saved):
    place = saved("bert")
    weights = load_file(place / "model.safetensors")
    name = "encoder.layer.0.intermediate.dense.weight"
    weights[name] = weights[name][:5].contiguous()
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    _fails(
        f"{place} does not hold all weights of BertModel: {name} ((5, 16) instead of (32, 16)). "
        "Its config.json and its weights do not belong together: take both from one place",
        place,
    )


def test_a_missing_weight_of_an_encoder_is_named(saved):
    place = saved("bart")
    _drop(place, "decoder.layers.0.fc1.weight")
    load(place)
    _drop(place, "encoder.layers.0.fc1.weight")
    _fails(
        f"{place} does not hold all weights of BartEncoder: layers.0.fc1.weight (missing). "
        "Its config.json and its weights do not belong together: take both from one place",
        place,
    )


def test_weights_that_are_not_finite_are_named(saved):
    place = saved("bert")
    weights = load_file(place / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][0, :2] = float("inf")
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    _drop(place, "pooler.dense.bias")
    _fails(
        "The weights 'encoder.layer.0.output.dense.weight' of BertModel hold 2 NaN or infinite values out of 512. "
        "Its training diverged or its file is damaged: take another checkpoint",
        place,
    )


@pytest.mark.parametrize("size", [0, 5, 2000, 20000])
def test_a_file_cut_short(saved, size):
    place = saved("bert")
    os.truncate(place / "model.safetensors", size)
    with pytest.raises(ModelError, match=f"^The weights of {place} cannot be read: [^\n]*$") as raised:
        load(place)
    assert raised.value.hint == "If a file is damaged or cut short, copy or download it again"
    assert raised.value.__cause__ is not None


def test_a_directory_without_weights(saved):
    place = saved("bert")
    os.remove(place / "model.safetensors")
    _fails(
        f"{place} has no weights. It needs model.safetensors, whole or in parts with model.safetensors.index.json",
        place,
    )


def test_a_directory_without_a_config(saved):
    place = saved("bert")
    os.remove(place / "config.json")
    _fails(f"{place} has no config.json. Give the directory that a model was saved to", place)


@pytest.mark.parametrize("text", ["{", "[]", '{"hidden_size": 3}', '{"model_type": "nobody-knows"}'])
def test_a_config_that_says_nothing(saved, text):
    place = saved("bert")
    (place / "config.json").write_text(text)
    with pytest.raises(ModelError, match=f"^The config.json of {place} cannot be used: [^\n]*$") as raised:
        load(place)
    assert raised.value.hint == "It has to be a config of a transformers model, with its model_type"


def test_a_directory_without_a_tokenizer(saved, tokenizer):
    place = saved("bert")
    os.remove(place / "tokenizer.json")
    os.remove(place / "tokenizer_config.json")
    _fails(f"{place} has no tokenizer, or an empty one. {TOKENIZERS}", place)
    assert load(place, tokenizer=tokenizer).tokenize is tokenizer
    assert load(place, tokenizer=_letters).tokenize is _letters
    assert load(place, tokenizer=saved("gpt2")).tokenize("cat")["input_ids"] == [2, 5, 3]


def test_a_tokenizer_is_what_its_file_states(saved):
    place = saved("bert")
    os.remove(place / "tokenizer_config.json")
    assert load(place).tokenize("the cat Cat")["input_ids"] == [2, 4, 5, 1, 3]


def test_a_broken_tokenizer(saved):
    place = saved("bert")
    (place / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=f"^{place} has no tokenizer that can be read: [^\n]*{TOKENIZERS}$"):
        load(place)


def test_a_slow_tokenizer(saved, tmp_path):
    slow = transformers.ByT5Tokenizer()
    place = saved("bert")
    os.remove(place / "tokenizer.json")
    slow.save_pretrained(place)
    text = "is a slow one (ByT5Tokenizer): it does not tell which characters a token stands for"
    _fails(f"The tokenizer of {place} {text}. {TOKENIZERS}", place)
    with pytest.raises(ModelError) as raised:
        Model(torch.nn.Linear(1, 1), slow)
    assert str(raised.value) == (
        "The tokenizer ByT5Tokenizer is a slow one: it does not tell which characters a token stands for. "
        "Give a Hugging Face fast tokenizer, or a function tokenize(text) -> [(id, start, end), ...]"
    )


def test_a_directory_that_is_not_there(tmp_path):
    _fails(f"There is no directory '{tmp_path}/nothing'. {SOURCES}", tmp_path / "nothing")
    _fails(f"There is no directory './nothing'. {SOURCES}", "./nothing")


def test_a_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    _fails(
        "There is no directory 'nobody/nothing', and the Hugging Face hub cannot be reached (offline mode is on). "
        f"{SOURCES}; download the model first where there is no network",
        "nobody/nothing",
    )


def test_a_file_in_place_of_a_directory(saved):
    file = saved("bert") / "model.safetensors"
    _fails(f"{file} is a file, not a model directory. Give the directory that it is in", file)


PROGRAM = """
from __future__ import annotations
import dataclasses
import torch
import deepbase.models
from neighbour import SIZE

@dataclasses.dataclass
class Settings:
    size: int = SIZE

def letters(text):
    return [(ord(letter) % 10, i, i + 1) for i, letter in enumerate(text)]

def tagger():
    return deepbase.models.Model(torch.nn.Sequential(torch.nn.Embedding(10, Settings().size)), letters, context=7)

def bare():
    return deepbase.models.Model(torch.nn.Embedding(10, 3))

def nothing():
    return None

def broken():
    raise ValueError("no luck")

constant = 3
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "neighbour.py").write_text("SIZE = 6\n")
    (tmp_path / "mine.py").write_text(PROGRAM)
    yield tmp_path / "mine.py"
    sys.modules.pop("neighbour", None)


def test_a_model_from_a_python_file(program):
    before = list(sys.path)
    model = inspectable(load(f"{program}:tagger", padding="none"), np.array([1, 2, 3]))
    assert [layer.width for layer in model.layers] == [6]
    assert (model.input_format.context, model.input_format.padding) == (7, "none")
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nothing", "gives no model: nothing returned a NoneType. Define nothing() -> deepbase.Model"),
        ("constant", "gives no model: constant is not a function in it. Define constant() -> deepbase.Model"),
        ("absent", "gives no model: absent is not a function in it. Define absent() -> deepbase.Model"),
        ("broken", "failed: ValueError: no luck"),
    ],
)
def test_a_python_file_that_gives_no_model(program, name, text):
    _fails(f"{program}:{name} {text}", f"{program}:{name}")


def test_a_python_file_that_is_not_there_or_has_no_name(program):
    _fails(f"There is no file '{program.parent}/other.py'. {SOURCES}", f"{program.parent}/other.py:tagger")
    _fails(
        f"{program} is a file, not a model directory. Write {program}:name, where name() returns a deepbase.Model",
        str(program),
    )


def test_a_model_without_a_tokenizer(program):
    _fails(f"The model Embedding has no tokenizer. {TOKENIZERS}", f"{program}:bare")
    assert load(f"{program}:bare", tokenizer=_letters).tokenize is _letters
    assert load(torch.nn.Embedding(10, 3), tokenizer=_letters).tokenize is _letters
