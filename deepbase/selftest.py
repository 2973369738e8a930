"""Does this installation find what is there? Concepts planted in a small module, inspected through the public face.

The module is a lookup table: for every character it has units that *are* concepts (a vowel, a digit, the character's
rank), mixtures of a concept and noise, constants, noise, and one unit that is NaN. So the exact score of every unit is
known, from NumPy in float64 over the same characters, and a planted unit has a score of exactly 1. If an installation
(another torch, another DuckDB, another device) moves a score by more than 1e-5, or finds another unit first, this says
so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from deepbase.errors import InspectionError

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "
CONCEPTS = ("is_vowel", "is_number", "character_rank")
TOLERANCE = 1e-5
UNITS = 12
RECORDS = 200


def run_selftest() -> Iterator[str]:
    """Run the checks, and say what held.

    Yields:
        One line a check that held.

    Raises:
        InspectionError: names the first check that did not.
    """
    import deepbase

    texts = _texts()
    table = _table()
    symbols = "".join(texts)
    values = table[[CHARACTERS.index(c) for c in symbols]]
    labels = {name: np.array([_label(name, c) for c in symbols]) for name in CONCEPTS}
    found = deepbase.inspect(
        _module(table),
        texts,
        hypotheses=_hypotheses(),
        measures=["pearson", "mean_difference", "cohens_d"],
        device="cpu",
        exact=True,
    )
    rows = found.scores.fetchall()
    columns = found.scores.columns
    scores = {}
    for row in rows:
        fields = dict(zip(columns, row, strict=True))
        scores[fields["measure"], fields["hypothesis"], fields["unit"]] = (fields["unit_score"], fields["note"])
    for unit, name in enumerate(CONCEPTS):
        best = max(
            (k for k in scores if k[:2] == ("pearson", name)),
            key=lambda k: abs(scores[k][0] or 0),
        )
        _check(best[2] == unit, f"the unit that encodes {name} is found", f"unit {best[2]} came first")
        score = scores["pearson", name, unit][0]
        _check(score is not None and abs(score - 1) < 1e-9, f"its score is exactly 1: {score}", "it is not")
        yield f"ok: unit {unit} encodes {name}, and is found with a Pearson of {score:.10f}"
    pairs = 0
    for (measure, name, unit), (score, note) in scores.items():
        expected, reason = _expected(measure, values[:, unit], labels[name])
        what = f"{measure} of unit {unit} and {name}"
        _check((score is None) == (expected is None), what, f"{score} ({note}) instead of {expected} ({reason})")
        if expected is not None and score is not None:
            close = abs(score - expected) <= TOLERANCE * max(1, abs(expected))
            _check(close, what, f"{score} instead of {expected}")
        else:
            _check(note == reason, what, f"the note is {note!r} instead of {reason!r}")
        pairs += 1
    _check(pairs == 3 * len(CONCEPTS) * UNITS, "every pair has a row", f"there are {pairs}")
    yield f"ok: {pairs} scores equal their float64 values, the constant and the NaN unit included"
    seen = found.run["symbols_seen"]
    _check(seen == len(symbols), "every symbol is seen", f"{seen} of {len(symbols)}")
    yield f"ok: all {seen:,} symbols of {RECORDS} records were seen once"


def _texts() -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list(CHARACTERS), rng.integers(1, 60))) for _ in range(RECORDS)]


def _table() -> np.ndarray:
    """float32[character, unit]: the planted concepts first, then mixtures, constants, noise, and NaN."""
    rng = np.random.default_rng(1)
    planted = np.array([[_label(name, c) for name in CONCEPTS] for c in CHARACTERS])
    table = rng.normal(size=(len(CHARACTERS), UNITS))
    table[:, :3] = planted
    table[:, 3:6] = planted + rng.normal(size=planted.shape)
    table[:, 6] = 0.0
    table[:, 7] = 1e4
    table[:, 8] += 1e4
    table[3, 9] = np.nan
    table[:, 10] = -planted[:, 0] + 0.5 * table[:, 10]
    return table.astype(np.float32)


def _module(table: np.ndarray) -> Any:
    import torch
    from torch import nn

    import deepbase

    class Planted(nn.Module):
        """A table of units by character."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.from_numpy(np.nan_to_num(table)))
            self.units = nn.Identity()

        def forward(self, ids: torch.Tensor) -> Any:
            values = self.get_buffer("table")[ids]
            spoiled = (ids == 3)[..., None] & (torch.arange(UNITS, device=ids.device) == 9)
            return self.units(torch.where(spoiled, torch.nan, values))

    def tokenize(text: str) -> list[tuple[int, int, int]]:
        return [(CHARACTERS.index(c), i, i + 1) for i, c in enumerate(text)]

    return deepbase.Model(Planted(), tokenize)


def _hypotheses() -> list[Any]:
    import deepbase

    def is_vowel(token: str) -> bool:
        return token in "aeiou"

    def character_rank(token: str) -> float:
        return float(CHARACTERS.index(token))

    def is_number(token: str) -> bool:
        return token.isdigit()

    return [deepbase.hypothesis(f) for f in (is_vowel, is_number, character_rank)]


def _label(name: str, character: str) -> float:
    if name == "is_vowel":
        return float(character in "aeiou")
    if name == "is_number":
        return float(character.isdigit())
    return float(CHARACTERS.index(character))


def _expected(measure: str, x: np.ndarray, y: np.ndarray) -> tuple[float | None, str | None]:
    """The textbook value in float64, or the note that stands in its place."""
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        return None, "unit has NaN or infinite activations"
    if x.std() == 0:
        return None, "unit is constant"
    if measure == "pearson":
        return float(np.corrcoef(x, y)[0, 1]), None
    if set(np.unique(y)) != {0.0, 1.0}:
        return None, "measure needs a boolean hypothesis"
    positive, negative = x[y == 1], x[y == 0]
    difference = float(positive.mean() - negative.mean())
    if measure == "mean_difference":
        return difference, None
    within = float(((positive - positive.mean()) ** 2).sum() + ((negative - negative.mean()) ** 2).sum())
    if within == 0:
        return None, "no variation within the classes"
    return difference / float(np.sqrt(within / (len(x) - 2))), None


def _check(holds: bool, what: str, otherwise: str) -> None:
    if not holds:
        raise InspectionError(f"the self-test failed: {what}: {otherwise}", "Report this with the output of pip list.")
