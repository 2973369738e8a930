"""A model without weights to speak of, whose units are known for every character."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import deepbase


@pytest.fixture
def letters():
    """A model whose four units are a random table by character."""
    torch.manual_seed(0)

    class Letters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units = nn.Embedding(128, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.units(ids)

    return deepbase.Model(Letters(), lambda text: [(ord(c) % 128, i, i + 1) for i, c in enumerate(text)])
