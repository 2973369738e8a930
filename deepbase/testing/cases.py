"""Small data that each show one thing, beside the hard data that show all."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from deepbase.blocks import Kind
from deepbase.testing.data import Data, group_data, hard_data

hard = lru_cache(maxsize=8)(hard_data)
planted = lru_cache(maxsize=8)(group_data)
"""The same data, made once."""


@lru_cache(maxsize=2)
def silent_units(seed: int) -> Data:
    """Units that are constant where a hypothesis has a value: the rounding of the rest must not pass for variation."""
    rng = np.random.default_rng(seed + 3)
    fires = rng.random(600) < 0.3
    y = (rng.random(600) < 0.5).astype(float)
    units = {
        f"{level} or more": (level + fires * rng.random(600)).astype(np.float32)
        for level in (0.0, 0.1, -3.7, 1e4, 1e-6)
    }
    often = rng.random(600) < 0.8
    units["7.0 or more, often"] = (7 + often * rng.random(600)).astype(np.float32)
    hypotheses = {
        "where it is silent": np.where(fires, np.nan, y),
        "where it is often silent": np.where(often, np.nan, y),
        "everywhere": y,
    }
    return Data(units, hypotheses, dict.fromkeys(hypotheses, "boolean"))


@lru_cache(maxsize=2)
def outliers(seed: int) -> Data:
    """As with the activations of GPT-2 at the first token, 1,000 times those of others."""
    rng = np.random.default_rng(seed + 4)
    first = rng.random(8000) < 0.05
    y = (rng.random(8000) < 0.3).astype(float)
    x = rng.normal(size=8000) + y + 3000 * first
    hypotheses = {"all": y, "not on outliers": np.where(first, np.nan, y)}
    return Data({"with outliers": x.astype(np.float32)}, hypotheses, dict.fromkeys(hypotheses, "boolean"))


@lru_cache(maxsize=1)
def detectors() -> Data:
    """Units that are the hypothesis, its opposite, or nearly."""
    position = np.arange(500)
    y = (position % 5 == 0).astype(float)
    units = {
        "the hypothesis itself": y.astype(np.float32),
        "its negation at 1e4": (1e4 - y).astype(np.float32),
        **{f"0.1 or {i}.7": np.where(y == 1, i + 0.7, 0.1).astype(np.float32) for i in range(20)},
        "hardly blurred": (y + 1e-2 * np.sin(position)).astype(np.float32),
    }
    return Data(units, {"y": y}, {"y": "boolean"})


@lru_cache(maxsize=2)
def itself(seed: int) -> Data:
    """Numbers that are a unit, and that unit and its negation: rounding must not lead out of the range."""
    x = np.random.default_rng(seed).normal(3, 1, (150, 20)).astype(np.float32)
    units = {f"{sign:+d} times {i}": sign * x[:, i] for i in range(20) for sign in (1, -1)}
    numbers = {str(i): x[:, i].astype(np.float64) for i in range(20)}
    return Data(units, numbers, dict.fromkeys(numbers, "number"))


@lru_cache(maxsize=2)
def of_words(seed: int) -> Data:
    """A boolean, a number and a category that are NULL at the same symbols; units without conventions."""
    data = hard_data(240, seed)
    null = np.isnan(data.hypotheses["of words"])
    names = ("plain", "mean of 1e4", "saturated", "ties", "heavy tails", "follows the rare class")
    hypotheses = {n: np.where(null, np.nan, data.hypotheses[n]) for n in ("half", "number", "year", "thirds")}
    kinds: dict[str, Kind] = {n: data.kinds[n] for n in hypotheses}
    return Data({n: data.units[n] for n in names}, hypotheses, kinds, {"thirds": 3}, np.arange(240) // 3)


@lru_cache(maxsize=2)
def handfuls(seed: int) -> list[tuple[Data, int]]:
    """Data of 2 to 12 symbols, each twice, and where to cut them into blocks."""
    rng = np.random.default_rng(seed)
    return [(_handful(n, rng), int(rng.integers(1, n + 1))) for n in (*range(2, 13), *range(2, 13))]


def _handful(symbols: int, rng: np.random.Generator) -> Data:
    """A few small whole numbers as units, and hypotheses that are NULL about everywhere."""
    units = {f"unit {i}": rng.integers(-3, 4, symbols).astype(np.float32) for i in range(5)}
    hypotheses = {f"boolean {i}": rng.choice([0.0, 1.0, np.nan], symbols) for i in range(3)}
    hypotheses |= {f"number {i}": rng.choice([-1.0, 0.0, 2.5, np.nan], symbols) for i in range(2)}
    hypotheses |= {"category": rng.choice([0.0, 1.0, 2.0, np.nan], symbols)}
    kinds: tuple[Kind, ...] = ("boolean", "boolean", "boolean", "number", "number", "category")
    return Data(units, hypotheses, dict(zip(hypotheses, kinds, strict=True)), {"category": 3})
