"""Tiny random models of several families, saved with a small tokenizer, and batches made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from deepbase.blocks import Batch, SliceRows
from deepbase.models import inspectable, load

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    "a",
    "dog",
    "ran",
    "far",
    "away",
    "from",
    "it",
]
WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def _config(family):
    size = {"vocab_size": len(WORDS), "pad_token_id": 0}
    ends = {"bos_token_id": 2, "eos_token_id": 3}
    return {
        "bert": lambda: transformers.BertConfig(**size, **WIDE, max_position_embeddings=40),
        "roberta": lambda: transformers.RobertaConfig(**{**size, **ends, **WIDE}, max_position_embeddings=40),
        "albert": lambda: transformers.AlbertConfig(**size, **ends, **WIDE, embedding_size=8),
        "gpt2": lambda: transformers.GPT2Config(**size, **ends, n_embd=16, n_layer=2, n_head=2, n_positions=64),
        "llama": lambda: transformers.LlamaConfig(**size, **ends, **WIDE, max_position_embeddings=128),
        "t5": lambda: transformers.T5Config(
            **size, eos_token_id=3, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
        ),
        "bart": lambda: transformers.BartConfig(
            **size, **ends, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=40,
        ),
    }[family]()  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="session")
def build():
    """`build(family)`: a random module without a head, large enough in its weights for mistakes to show."""

    def make(family, auto=transformers.AutoModel):
        torch.manual_seed(1)
        module = auto.from_config(_config(family)).eval()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(8)
        return module

    return make


@pytest.fixture(scope="session")
def _saved(tmp_path_factory, build, tokenizer):
    places = {}

    def save(family):
        if family not in places:
            places[family] = tmp_path_factory.mktemp(family)
            build(family).save_pretrained(places[family])
            tokenizer.save_pretrained(places[family])
        return places[family]

    return save


@pytest.fixture
def saved(_saved, tmp_path):
    """`saved(family)`: a fresh directory with the model and its tokenizer, to break as one likes."""

    def copy(family):
        place = tmp_path / family
        place.mkdir()
        for file in _saved(family).iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        return place

    return copy


@pytest.fixture
def opened(saved):
    """`opened(family)`: the model loaded and probed."""

    def make(family, **options):
        return inspectable(load(saved(family), **options), np.array([2, 4, 5, 6, 7, 3]))

    return make


@pytest.fixture(scope="session")
def batch():
    """`batch(rows, side)`: sequences of ids as a padded batch, all of whose tokens are symbols."""

    def make(rows, side="right", pad_id=0):
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=np.bool_)
        for i, row in enumerate(rows):
            where = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
            ids[i, where] = row
            mask[i, where] = True
        take = np.flatnonzero(mask)
        for array in (ids, mask, take):
            array.setflags(write=False)
        return Batch(ids, mask, take, np.arange(len(take)), 0, len(take), (SliceRows(0, 0, len(take)),))

    return make


@pytest.fixture(scope="session")
def collect():
    """`collect(model, batch, layers)`: the values of layers, all of them by default, in the order of the visits."""

    def run(model, batch, layers=None):
        got = {}
        model.run(batch, [layer.layer for layer in model.layers] if layers is None else layers, got.__setitem__)
        return got

    return run
