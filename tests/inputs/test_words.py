"""Where words are, and to which word a token belongs."""

from __future__ import annotations

import doctest
import importlib
import sys

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepbase.inputs import words


@pytest.mark.parametrize("module", ["words", "sequences"])
def test_examples_in_the_documentation(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"deepbase.inputs.{module}")).failed == 0


def test_white_space_is_that_of_unicode_in_python_numpy_and_duckdb() -> None:
    characters = [chr(c) for c in range(1, sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    spaces = [c for c in characters if c.isspace()]
    assert [c for c in characters if not words.split(c)] == spaces
    codes = np.array([ord(c) for c in characters], dtype=np.uint32)
    start, end = words.runs(codes)
    inside = {i for a, b in zip(start, end, strict=True) for i in range(a, b)}
    assert [c for i, c in enumerate(characters) if i not in inside] == spaces
    with duckdb.connect() as con:
        query = f"SELECT list_filter(?::VARCHAR[], lambda c: len(regexp_extract_all(c, '{words.NON_SPACES}')) = 0)"
        assert con.execute(query, [[*spaces, "a", "é", "🙂", "\u200b", "\ufeff"]]).fetchall() == [(spaces,)]


@given(st.text(alphabet="ab \n\u00a0\u3000é🙂"))
def test_runs_are_the_words_of_split(text: str) -> None:
    start, end = words.runs(np.array([ord(c) for c in text], dtype=np.uint32))
    assert [text[a:b] for a, b in zip(start, end, strict=True)] == text.split() == words.split(text)


@given(st.lists(st.text(alphabet="abc", min_size=1), min_size=1), st.text(alphabet="abc", max_size=8))
def test_shares_of_a_multiword_token_cover_it(forms: list[str], surface: str) -> None:
    spans = words.share(surface, forms)
    assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), len(surface)]
    assert all(start <= end for start, end in spans)
    assert words.share("".join(forms), forms) == words.locate("".join(forms), forms)


def most_shared(start: int, end: int, spans: list[tuple[int, int]]) -> int:
    best, found = 0, -1
    for i, (first, last) in enumerate(spans):
        shared = min(end, last) - max(start, first)
        if shared > best:
            best, found = shared, i
    return found


@given(
    bounds=st.lists(st.integers(0, 30), max_size=16),
    tokens=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=12),
)
def test_a_token_belongs_to_the_word_with_which_it_shares_most(
    bounds: list[int], tokens: list[tuple[int, int]]
) -> None:
    bounds = sorted(bounds[: len(bounds) // 2 * 2])
    spans = list(zip(bounds[::2], bounds[1::2], strict=True))
    start = np.array([a for a, _ in tokens], dtype=np.int64)
    end = np.array([a + n for a, n in tokens], dtype=np.int64)
    first, last = np.array(spans, dtype=np.int64).reshape(-1, 2).T
    expected = [most_shared(a, a + n, spans) for a, n in tokens]
    assert words.align(start, end, first, last).tolist() == expected
