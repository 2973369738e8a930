"""What a careful person would compute by hand, in float64 NumPy, sharing no code with DeepBase."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Scores = dict[str, dict[str, dict[str, np.ndarray]]]
"""By layer, measure and value of the column: float64[unit]."""
MODULES = re.compile(r"embeddings|encoder\.layer\.\d+(\.intermediate|\.attention\.output)?")


def scores(model: Path, data: Path, column: str) -> Scores:
    """The scores of every module of interest."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    module = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    outputs: dict[str, list[np.ndarray]] = {}
    kept: np.ndarray = np.empty(0)
    for name, part in module.named_modules():
        if MODULES.fullmatch(name):

            def keep(_m: Any, _i: Any, output: Any, name: str = name) -> None:
                values = output[0] if isinstance(output, tuple) else output
                outputs.setdefault(name, []).append(values[0].numpy()[kept])

            part.register_forward_hook(keep)
    labels: list[str] = []
    for text, words in records(data, column):
        encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, truncation=False)
        assert len(encoding["input_ids"]) <= 512
        found = []
        for i, ((start, end), special) in enumerate(
            zip(encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
        ):
            shared = [max(0, min(end, e) - max(start, s)) for s, e, _ in words]
            if not special and shared and max(shared) > 0:
                found.append((i, words[shared.index(max(shared))][2]))
        kept = np.array([i for i, _ in found], dtype=int)
        labels += [label for _, label in found]
        with torch.inference_mode():
            module(input_ids=torch.tensor([encoding["input_ids"]]))
    values = sorted(set(labels))
    y = np.array(labels)[:, None] == np.array(values)[None, :]
    return {name: _scores(np.concatenate(outputs.pop(name)).astype(np.float64), y, values) for name in list(outputs)}


def _scores(x: np.ndarray, y: np.ndarray, values: list[str]) -> dict[str, dict[str, np.ndarray]]:
    n, positives = len(x), y.sum(0)[:, None]
    sums = y.T.astype(np.float64) @ x
    centred = x - x.mean(0)
    y_centred = y - y.mean(0)
    norms = np.sqrt((y_centred**2).sum(0))[:, None] * np.sqrt((centred**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        pearson = (y_centred.T @ centred) / norms
    difference = sums / positives - (x.sum(0) - sums) / (n - positives)
    within = (centred**2).sum(0) - positives * (n - positives) / n * difference**2
    with np.errstate(invalid="ignore", divide="ignore"):
        cohens_d = difference / np.sqrt(within / (n - 2))
    by_value = {"pearson": pearson, "mean_difference": difference, "cohens_d": cohens_d}
    return {name: dict(zip(values, matrix, strict=True)) for name, matrix in by_value.items()}


def records(data: Path, column: str) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Texts with their words as (start, end, value of the column)."""
    if data.suffix == ".conllu":
        yield from _conllu(data)
        return
    for line in data.read_text("utf-8").splitlines():
        record = json.loads(line)
        words, at = [], 0
        for word, value in zip(record["words"], record[column], strict=True):
            words.append((at, at + len(word), value))
            at += len(word) + 1
        yield " ".join(record["words"]), words


def _conllu(data: Path) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    for sentence in data.read_text("utf-8").strip().split("\n\n"):
        lines = sentence.split("\n")
        text = next(x for x in lines if x.startswith("# text = "))[len("# text = ") :]
        rows = [x.split("\t") for x in lines if x and not x.startswith("#")]
        words: list[tuple[int, int, str]] = []
        at, inside = 0, 0
        for number, form, upos in [(r[0], r[1], r[3]) for r in rows if "." not in r[0]]:
            if inside and "-" not in number:  # a word of a multiword token: its share of the surface is laid out below
                inside -= 1
                continue
            start = text.index(form, at)
            at = start + len(form)
            if "-" not in number:
                words.append((start, at, upos))
                continue
            first, last = map(int, number.split("-"))
            inside = last - first + 1
            parts = [r for r in rows if r[0].isdigit() and first <= int(r[0]) <= last]
            total = sum(len(p[1]) for p in parts)
            ends = np.round(np.cumsum([len(p[1]) for p in parts]) / total * len(form)).astype(int)
            for begin, end, part in zip([0, *ends[:-1]], ends, parts, strict=True):
                words.append((start + int(begin), start + int(end), part[3]))
        yield text, words


def batches(module: Any, inspect: Any) -> list[dict[str, Any]]:
    """What a run puts through a torch module, forward by forward."""
    seen: list[dict[str, Any]] = []
    hook = module.register_forward_pre_hook(lambda _m, _a, kwargs: seen.append(kwargs), with_kwargs=True)
    inspect()
    hook.remove()
    return seen
