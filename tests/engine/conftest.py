"""Tiny models whose scores can be computed by hand: of torch modules with a table of pieces, and of Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

import deepbase

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "Cat", "sat", "on", "a", "mat", "Dog", "ran", "far", "away"]
WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _told_of_blocks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no word from inside a block, unless a test asks for it."""
    monkeypatch.setattr("deepbase.engine.driver.PROGRESS_SECONDS", 1e9)


class Reader(nn.Module):
    """A module with memory: what it says of a token depends on those in front of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(200, 5)
        self.memory = nn.GRU(3, 4, batch_first=True)
        self.wide = nn.Linear(4, 6)
        self.act = nn.ReLU()
        with torch.no_grad():
            self.table.weight[:, 1] += 100
            self.table.weight[:, 2] = 3.0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.act(self.wide(self.memory(self.table(ids)[..., [0, 3, 4]])[0]))


def pieces(text: str) -> list[tuple[int, int, int]]:
    """A special token, then every word in pieces of two characters; white space and `#` are no tokens."""
    found = [(0, 0, 0)]
    for word in re.finditer(r"[^\s#]+", text):
        for start in range(word.start(), word.end(), 2):
            end = min(start + 2, word.end())
            found.append((1 + sum(map(ord, text[start:end])) % 199, start, end))
    return found


@pytest.fixture
def reader() -> Callable[..., deepbase.Model]:
    """`reader(context=...)`: the module above as a model."""
    return lambda **options: deepbase.Model(Reader(), pieces, **options)


@pytest.fixture(scope="session")
def corpus() -> pa.Table:
    """`corpus`: records of 0 to 9 words with a tag for each word, a genre and a number."""
    return make_corpus(80)


def make_corpus(records: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    vocabulary = ["Anna", "sees", "a", "Bear,", "bears", "see", "ANNA", "x1", "###", "née", "🦆s", "incomprehensible"]
    words = [[vocabulary[i] for i in rng.integers(len(vocabulary), size=rng.integers(1, 10))] for _ in range(records)]
    words[3] = words[17 % records] = []
    tags = [[None if w[0] in "#x" else "X" if w[0].isupper() else "y" for w in ws] for ws in words]
    return pa.table(
        {
            "text": ["  ".join(ws) for ws in words],
            "tag": pa.array(tags, pa.list_(pa.string())),
            "genre": [("news", "blog", None)[i] for i in rng.integers(3, size=records)],
            "year": pa.array(rng.integers(1990, 2030, records), pa.int64(), mask=rng.random(records) < 0.2),
        }
    )


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Callable[[str], Path]:
    """`saved(family)`: a random model of `bert` or `gpt2`, with a tokenizer of words, in a folder."""
    made: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            _config_and_tokenizer(family, made[family])
        return made[family]

    return save


def _config_and_tokenizer(family: str, place: Path) -> None:
    size = {"vocab_size": len(WORDS), "pad_token_id": 0}
    config = {
        "bert": lambda: transformers.BertConfig(**size, **WIDE, max_position_embeddings=40),
        "gpt2": lambda: transformers.GPT2Config(
            **size, bos_token_id=2, eos_token_id=3, n_embd=16, n_layer=2, n_head=2, n_positions=40
        ),
    }[family]()
    torch.manual_seed(1)
    module = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    module.save_pretrained(place)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(place)
