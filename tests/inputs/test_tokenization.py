"""What tokenizers may be, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from deepbase.errors import ModelError
from deepbase.inputs.tokenization import encode, sample_ids

Triples = list[tuple[int, int, int]]


@pytest.fixture(scope="module")
def bert() -> PreTrainedTokenizerFast:
    """A word piece tokenizer whose file asks for truncation and padding, as those of sentence encoders do."""
    pieces = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "un", "##happy", "cat", "é", "."]
    inner = tokenizers.Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    inner.enable_truncation(4)
    inner.enable_padding(length=4)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=4
    )


def characters(text: str) -> Triples:
    return [(ord(c), i, i + 1) for i, c in enumerate(text)]


def test_fast_tokenizer_is_taken_as_it_is_but_truncates_nothing(
    bert: PreTrainedTokenizerFast, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    found = encode(bert, ["unhappy cat.", "", "é [SEP] 🙂"])
    assert [ids.tolist() for ids in found.ids] == [[1, 4, 5, 6, 8, 2], [1, 2], [1, 7, 2, 0, 2]]
    assert [s.tolist() for s in found.spans] == [
        [[0, 0], [0, 2], [2, 7], [8, 11], [11, 12], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 1], [2, 7], [8, 9], [0, 0]],
    ]
    assert [s.tolist() for s in found.special] == [
        [True, False, False, False, False, True],
        [True, True],
        [True, False, False, False, True],
    ]
    assert not caplog.records
    assert not recwarn.list


def test_function_with_its_own_special_tokens() -> None:
    found = encode(lambda text: [(1, 0, 0), *characters(text), (2, len(text), len(text))], ["aé", ""])
    assert [ids.tolist() for ids in found.ids] == [[1, 97, 233, 2], [1, 2]]
    assert [s.tolist() for s in found.special] == [[True, False, False, True], [True, True]]
    assert found.ids[0].dtype == found.spans[0].dtype == np.int64


def test_no_texts(bert: PreTrainedTokenizerFast) -> None:
    for tokenize in (bert, characters):
        found = encode(tokenize, [])
        assert list(found.ids) == list(found.spans) == list(found.special) == []


def fails(text: str) -> Triples:
    raise KeyError(text[:2])


ORDER = "Spans are characters [start, end) of the text, in ascending order."


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([(1, 0, 9)], f"gave the span [0, 9) of 'abc', 3 characters, which is not inside the text. {ORDER}"),
        ([(1, -1, 2)], f"gave the span [-1, 2) of 'abc', 3 characters, which is not inside the text. {ORDER}"),
        ([(1, 2, 1)], f"gave the span [2, 1) of 'abc', 3 characters, which is not inside the text. {ORDER}"),
        (
            [(1, 1, 2), (1, 0, 1)],
            f"gave the span [0, 1) of 'abc', 3 characters, which begins before the token in front of it. {ORDER}",
        ),
        ([(-4, 0, 1)], "gave the id -4 in 'abc'"),
        ([(1.5, 0, 1)], "returned for 'abc' something else than [(id, start, end), ...] with integers"),
        ([1, 2], "returned for 'abc' something else than [(id, start, end), ...] with integers"),
    ],
)
def test_impossible_tokens(tokens: Any, message: str) -> None:
    def split(text: str) -> Any:
        return tokens

    with pytest.raises(ModelError) as caught:
        encode(split, ["abc"])
    assert str(caught.value) == f"The tokenizer split {message}"


@pytest.mark.parametrize(
    ("tokenize", "message"),
    [
        (fails, "The tokenizer fails failed on 'A text of more than forty characters ...': KeyError: 'A '"),
        (
            "bert",
            "A str is no tokenizer. Pass a fast tokenizer of transformers, or a function text -> [(id, start, end), "
            "...].",
        ),
        (
            lambda text: None,
            "The tokenizer <lambda> failed on 'A text of more than forty characters ...': TypeError: 'NoneType' object "
            "is not iterable",
        ),
    ],
)
def test_no_tokenizer(tokenize: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        encode(tokenize, ["A text of more than forty characters in one line"])
    assert str(caught.value) == message


def test_slow_tokenizer_knows_no_offsets() -> None:
    class Slow(PreTrainedTokenizer):  # type: ignore[misc]
        vocab_size = 1

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    with pytest.raises(ModelError) as caught:
        encode(Slow(), ["a"])
    assert str(caught.value) == (
        "The tokenizer Slow does not tell which characters a token stands for. Use its fast version: "
        "AutoTokenizer.from_pretrained(..., use_fast=True)."
    )


def only(alphabet: str) -> Callable[[str], Triples]:
    def tokenize(text: str) -> Triples:
        return [(alphabet.index(c), i, i + 1) for i, c in enumerate(text)]

    return tokenize


def test_sample_ids_are_valid(bert: PreTrainedTokenizerFast) -> None:
    assert sample_ids(bert).tolist()[0] == 1
    assert sample_ids(characters).tolist() == [ord(c) for c in "The cat sat on the mat."]
    assert sample_ids(only("xyz")).tolist() == [0, 1, 2]
    with pytest.raises(ModelError) as caught:
        sample_ids(only("あ"))
    assert str(caught.value) == (
        "The tokenizer tokenize encodes neither a sample sentence nor any single character. Check that it returns "
        "[(id, start, end), ...]."
    )
