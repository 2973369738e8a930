"""Words: where they are in a text, and which of them a token belongs to.

A record's words are either given (CoNLL-U, or a list column of words) or they are the maximal runs of characters that
are no white space. White space is what `str.isspace` says of Unicode; it is written down here once, for Python, NumPy
and DuckDB, whose own `\\s` knows only ASCII.

Everything is linear in the text, and works on whole blocks: the texts of a block are laid one after another with a
space between them, so that words never run together and one sorted array of word bounds serves all records.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepbase.blocks import Bools, Ints

_SPACE_RANGES = (
    (0x09, 0x0D),
    (0x1C, 0x20),
    (0x85, 0x85),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
)

NON_SPACES = "[^" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _SPACE_RANGES) + "]+"
"""A regular expression for a word of a text without given words; Python and DuckDB (RE2) read it alike."""

_WORD = re.compile(NON_SPACES)

_IS_SPACE: Bools = np.zeros(_SPACE_RANGES[-1][1] + 2, dtype=bool)
for _first, _last in _SPACE_RANGES:
    _IS_SPACE[_first : _last + 1] = True


def split(text: str) -> list[str]:
    """The words of a text whose words are not given.

    >>> split("to be,\\u3000or")
    ['to', 'be,', 'or']
    """
    return _WORD.findall(text)


def runs(codes: npt.NDArray[np.uint32]) -> tuple[Ints, Ints]:
    """The starts and ends of the words in uint32[character] of code points."""
    word = ~_IS_SPACE[np.minimum(codes, len(_IS_SPACE) - 1)]
    edges = np.flatnonzero(np.diff(word, prepend=False, append=False))
    return edges[0::2], edges[1::2]


def locate(text: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Where the words are in the text, one after another; shorter than `words` if one cannot be found.

    Taking the leftmost place each time finds all words whenever that is possible at all.

    >>> locate("do not, do", ["do", "not", "do"])
    [(0, 2), (3, 6), (8, 10)]
    >>> locate("do not", ["do", "don't", "not"])
    [(0, 2)]
    """
    spans = []
    end = 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or not word:
            break
        end = start + len(word)
        spans.append((start, end))
    return spans


def share(surface: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """How the words of a multiword token share out the characters of its surface.

    Exactly if the words spell it, else in proportion to their lengths; a word may be left with no character.

    >>> share("don't", ["do", "n't"])
    [(0, 2), (2, 5)]
    >>> share("del", ["de", "el"])
    [(0, 2), (2, 3)]
    """
    total = max(sum(map(len, words)), 1)
    spans = []
    start = spelled = 0
    for word in words:
        spelled += len(word)
        end = (2 * spelled * len(surface) + total) // (2 * total)
        spans.append((start, end))
        start = end
    return spans


def align(start: Ints, end: Ints, word_start: Ints, word_end: Ints) -> Ints:
    """The word to which each token belongs: the one that shares most characters with it, the first of equals.

    Args:
        start: int64[token], first characters of the tokens, in any order.
        end: int64[token], one past their last characters; no token is empty.
        word_start: int64[word], ascending.
        word_end: int64[word]; words do not overlap, but may be empty.

    Returns:
        int64[token], indices into the words; -1 for a token that touches no word.
    """
    low = np.searchsorted(word_end, start, side="right")
    high = np.searchsorted(word_start, end, side="left")
    candidates = np.maximum(high - low, 0)
    tokens = np.flatnonzero(candidates)
    word = np.full(len(start), -1, dtype=np.int64)
    if not len(tokens):
        return word
    token = np.repeat(tokens, candidates[tokens])
    first = np.cumsum(candidates[tokens]) - candidates[tokens]
    candidate = low[token] + np.arange(len(token)) - np.repeat(first, candidates[tokens])
    overlap = np.minimum(end[token], word_end[candidate]) - np.maximum(start[token], word_start[candidate])
    best = np.maximum.reduceat(overlap, first)
    winners = np.flatnonzero((overlap == np.repeat(best, candidates[tokens])) & (overlap > 0))[::-1]
    word[token[winners]] = candidate[winners]  # backwards, so that the first of equals is written last
    return word
