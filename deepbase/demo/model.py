"""A small recurrent network that completes SQL queries, character by character.

It is the kind of network that the paper inspects (Sellam et al., DeepBase, SIGMOD 2019, section 2): an embedding, two
LSTM layers and a linear decoder that gives the next character. The hidden state of every LSTM cell is a unit; the
layers are `lstm.0` and `lstm.1`. Their weights ship with the package and were made by `deepbase.demo.train`.

One character is one symbol, so any text works; a character that the grammar never writes is read as `UNKNOWN`, whose
embedding is zero. There is no start character: what the network says of the second character, it says having read the
first. It has learnt nothing but the queries of `sql.pcfg`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import nn

if TYPE_CHECKING:
    from deepbase.models.base import Model

PAD, UNKNOWN = 0, 1
"""The ids that are no character. `PAD` fills sequences up, and is what the network predicts at the end of a query."""

WEIGHTS = "sql_lstm.safetensors"
"""The name of the weights in the package; their metadata says how they were made."""


class SqlLSTM(nn.Module):
    """Embedding, LSTM layers, linear decoder.

    Args:
        characters: how many ids there are, `PAD` and `UNKNOWN` included.
        width: how many cells each LSTM layer has.
        layers: how many LSTM layers.
        embedding: how many dimensions the embedding has.
    """

    def __init__(self, characters: int, width: int = 160, layers: int = 2, embedding: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding, padding_idx=UNKNOWN)
        widths = [embedding] + [width] * layers
        self.lstm = nn.ModuleList(nn.LSTM(widths[i], width, batch_first=True) for i in range(layers))
        self.decoder = nn.Linear(width, characters)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Predict at every position the character after it.

        Args:
            ids: int64[sequence, position], filled up with `PAD` on the right.

        Returns:
            float32[sequence, position, character], logits.
        """
        hidden = self.embedding(ids)
        for lstm in self.lstm:
            hidden, _ = lstm(hidden)
        logits: torch.Tensor = self.decoder(hidden)
        return logits


def tokenizer(vocabulary: str) -> Callable[[str], list[tuple[int, int, int]]]:
    """The function that cuts a text into characters: `(id, start, end)` for each.

    Args:
        vocabulary: the characters in the order of their ids, of which the first is 2.

    >>> tokenizer("abc")("ca?")
    [(4, 0, 1), (2, 1, 2), (1, 2, 3)]
    """
    ids = {character: number for number, character in enumerate(vocabulary, start=UNKNOWN + 1)}

    def tokenize(text: str) -> list[tuple[int, int, int]]:
        return [(ids.get(character, UNKNOWN), at, at + 1) for at, character in enumerate(text)]

    return tokenize


class Metadata(TypedDict):
    """What the weights say of themselves.

    It is one JSON text under the key `about`, because safetensors writes several keys in no certain order.

    Attributes:
        seed: what they were trained from.
        accuracy: the share of the next characters of held-out queries that they predict.
        vocabulary: the characters in the order of their ids, of which the first is 2.
        sizes: the sizes of the `SqlLSTM`.
    """

    seed: int
    accuracy: float
    vocabulary: str
    sizes: dict[str, int]


@cache
def metadata() -> Metadata:
    """The metadata of the weights in the package."""
    from safetensors import safe_open

    with as_file(files("deepbase.demo") / WEIGHTS) as path, safe_open(path, framework="pt") as weights:
        about: Metadata = json.loads(weights.metadata()["about"])
        return about


def network() -> SqlLSTM:
    """The trained network, in evaluation mode, on the CPU."""
    from safetensors.torch import load

    about = metadata()
    net = SqlLSTM(len(about["vocabulary"]) + UNKNOWN + 1, **about["sizes"])
    net.load_state_dict(load((files("deepbase.demo") / WEIGHTS).read_bytes()))
    return net.eval()


def model() -> Model:
    """The trained network with its tokenizer, to be registered or inspected as it is."""
    from deepbase.models.base import Model

    return Model(network(), tokenize=tokenizer(metadata()["vocabulary"]), padding="right", pad_id=PAD)
