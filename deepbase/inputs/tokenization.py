"""Texts to token ids, and the characters that each id stands for.

A tokenizer is a fast tokenizer of Hugging Face, which knows its offsets, or any function `text -> [(id, start, end),
...]` with spans in characters. Either way nothing is truncated or padded here: some tokenizer files carry a truncation
length of their own, and a record is cut only where the model has no more positions.

A token is special if the tokenizer says so or if its span is empty: it stands for no part of the text, so that no
hypothesis can say anything of it. The literal text "[SEP]" inside a record is text, whatever its id.

What a tokenizer returns is checked, because a wrong span would silently move every score. Memory: the tokens of the
texts that were passed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np

from deepbase.blocks import Bools, Encodings, Ints
from deepbase.errors import ModelError

Tokenizer = Any | Callable[[str], Iterable[tuple[int, int, int]]]
"""A fast tokenizer of Hugging Face, or a function `text -> [(id, start, end), ...]`."""

_SAMPLE = "The cat sat on the mat."
_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;()[]{}<>+-*/=#_\"'\n"
_SAMPLE_TOKENS = 8


def encode(tokenize: Tokenizer, texts: Sequence[str]) -> Encodings:
    """Encode texts, with the special tokens that the model expects around them.

    Raises:
        ModelError: it is no tokenizer, gives no offsets, fails on a text, or returns ids or spans that cannot be.
    """
    if _is_hugging_face(tokenize):
        encodings = _encode_fast(tokenize, texts)
    elif callable(tokenize):
        encodings = _encode_each(tokenize, texts)
    else:
        raise ModelError(
            f"A {type(tokenize).__name__} is no tokenizer",
            "Pass a fast tokenizer of transformers, or a function text -> [(id, start, end), ...].",
        )
    _check(tokenize, texts, encodings)
    return encodings


def sample_ids(tokenize: Tokenizer) -> Ints:
    """A few token ids that are certainly valid, int64[token], for a trial run of the model.

    They come from a sample sentence, or, for a tokenizer of another alphabet, from the single characters that it takes.

    Raises:
        ModelError: the tokenizer accepts neither.
    """
    try:
        ids = encode(tokenize, [_SAMPLE]).ids[0]
        if len(ids):
            return ids
    except ModelError:
        if _is_hugging_face(tokenize) or not callable(tokenize):
            raise
    found: list[int] = []
    for character in _CHARACTERS:
        try:
            found.extend(encode(tokenize, [character]).ids[0].tolist())
        except ModelError:
            continue
        if len(found) >= _SAMPLE_TOKENS:
            break
    if not found:
        raise ModelError(
            f"The tokenizer {_name(tokenize)} encodes neither a sample sentence nor any single character",
            "Check that it returns [(id, start, end), ...].",
        )
    return np.array(found, dtype=np.int64)


def _is_hugging_face(tokenize: Tokenizer) -> bool:
    transformers = sys.modules.get("transformers")  # nobody holds one of its tokenizers before it was imported
    return transformers is not None and isinstance(tokenize, transformers.PreTrainedTokenizerBase)


def _encode_fast(tokenizer: Any, texts: Sequence[str]) -> Encodings:
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer {type(tokenizer).__name__} does not tell which characters a token stands for",
            "Use its fast version: AutoTokenizer.from_pretrained(..., use_fast=True).",
        )
    if not texts:
        return Encodings([], [], [])
    backend = tokenizer.backend_tokenizer  # called itself, it makes lists of what nobody reads here
    try:
        backend.no_truncation()
        backend.no_padding()
        found = backend.encode_batch(list(texts), add_special_tokens=True)
    except Exception as error:
        raise ModelError(f"The tokenizer {type(tokenizer).__name__} failed: {error}") from error
    ends = list(accumulate(map(len, found), initial=0))
    tokens = ends[-1]
    ids = np.fromiter(chain.from_iterable(e.ids for e in found), np.int64, tokens)
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(e.offsets for e in found)), np.int64, 2 * tokens)
    special = np.fromiter(chain.from_iterable(e.special_tokens_mask for e in found), np.bool_, tokens)
    spans = flat.reshape(-1, 2)
    special |= spans[:, 0] == spans[:, 1]
    pieces = [slice(first, end) for first, end in pairwise(ends)]
    return Encodings([ids[p] for p in pieces], [spans[p] for p in pieces], [special[p] for p in pieces])


def _encode_each(tokenize: Callable[[str], Iterable[tuple[int, int, int]]], texts: Sequence[str]) -> Encodings:
    ids: list[Ints] = []
    spans: list[Ints] = []
    special: list[Bools] = []
    for text in texts:
        try:
            tokens = np.array(list(tokenize(text)))
        except Exception as error:
            raise ModelError(
                f"The tokenizer {_name(tokenize)} failed on {_short(text)}: {type(error).__name__}: {error}"
            ) from error
        if not tokens.size:
            tokens = np.zeros((0, 3), dtype=np.int64)
        if tokens.ndim != 2 or tokens.shape[1] != 3 or tokens.dtype.kind not in "iu":
            raise ModelError(
                f"The tokenizer {_name(tokenize)} returned for {_short(text)} something else than "
                "[(id, start, end), ...] with integers"
            )
        tokens = tokens.astype(np.int64)
        ids.append(tokens[:, 0])
        spans.append(tokens[:, 1:])
        special.append(tokens[:, 1] == tokens[:, 2])
    return Encodings(ids, spans, special)


def _check(tokenize: Tokenizer, texts: Sequence[str], encodings: Encodings) -> None:
    """Raise unless ids are not negative, and spans lie inside their text in ascending order of their starts."""
    if not texts:
        return
    record = np.repeat(np.arange(len(texts)), [len(ids) for ids in encodings.ids])
    ids, spans = np.concatenate(encodings.ids), np.concatenate(encodings.spans)
    length = np.array([len(text) for text in texts])[record]
    if len(ids) and ids.min() < 0:
        token = int(np.argmin(ids))
        raise ModelError(f"The tokenizer {_name(tokenize)} gave the id {ids[token]} in {_short(texts[record[token]])}")
    part = np.flatnonzero(~np.concatenate(encodings.special))
    start, end = spans[part, 0], spans[part, 1]
    outside = (start < 0) | (end < start) | (end > length[part])
    behind = np.zeros(len(part), dtype=bool)
    behind[1:] = (np.diff(start) < 0) & (np.diff(record[part]) == 0)
    wrong = np.flatnonzero(outside | behind)
    if not len(wrong):
        return
    text = texts[record[part[wrong[0]]]]
    why = "which is not inside the text" if outside[wrong[0]] else "which begins before the token in front of it"
    raise ModelError(
        f"The tokenizer {_name(tokenize)} gave the span [{start[wrong[0]]}, {end[wrong[0]]}) of {_short(text)}, "
        f"{len(text)} characters, {why}",
        "Spans are characters [start, end) of the text, in ascending order.",
    )


def _name(tokenize: Tokenizer) -> str:
    return str(getattr(tokenize, "__name__", type(tokenize).__name__))


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
