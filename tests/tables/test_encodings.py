"""Encodings that are kept: the same as fresh ones, and no more of them than there is room for."""

from __future__ import annotations

import numpy as np

from deepbase.inputs.tokenization import encode
from deepbase.tables.encodings import Remembered

TEXTS = ["a cat", "", "dogs", "a cat", "日本"]


class Characters:
    """A tokenizer that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, text):
        self.calls += 1
        return [(ord(c) % 100, i, i + 1) for i, c in enumerate(text)]


def same(one, other):
    for name in ("ids", "spans", "special"):
        pairs = zip(getattr(one, name), getattr(other, name), strict=True)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_what_is_kept_is_what_would_be_made():
    kept, tokenize = Remembered(), Characters()
    fresh = encode(Characters(), TEXTS)
    same(kept.encode("m", tokenize, TEXTS), fresh)
    calls = tokenize.calls
    same(kept.encode("m", tokenize, TEXTS[::-1]), encode(Characters(), TEXTS[::-1]))
    assert tokenize.calls == calls
    same(kept.encode("m", tokenize, [*TEXTS, "new"]), encode(Characters(), [*TEXTS, "new"]))
    assert tokenize.calls == calls + 1
    kept.encode("another", tokenize, TEXTS)
    assert tokenize.calls > calls + 1


def test_the_oldest_go_first():
    kept, tokenize = Remembered(2000), Characters()
    for text in ("one", "two", "three", "four"):
        kept.encode("m", tokenize, [text])
    calls = tokenize.calls
    kept.encode("m", tokenize, ["four"])
    assert tokenize.calls == calls
    kept.encode("m", tokenize, ["one"])
    assert tokenize.calls == calls + 1


def test_what_is_too_large_is_not_kept():
    kept, tokenize = Remembered(500), Characters()
    for _ in range(2):
        same(kept.encode("m", tokenize, ["x" * 100]), encode(Characters(), ["x" * 100]))
    assert tokenize.calls == 2
