"""Symbols that are made to be hard: what breaks a streaming sum, a rank, or a class that forgot a case.

On the side of the units: means of 1e4, tiny spreads, saturated and sparse units, heavy tails, ties, constants, NaN and
infinities. On the side of the hypotheses: rare classes, NULLs in several patterns, constants, numbers far from 0, and
next to no values. Everything is made from a seed, so that what fails fails again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deepbase.blocks import Bools, Floats, Ints, Kind, LabelBehavior
from deepbase.measures.base import Target

LENGTH = 7
"""Symbols of a record of `group_data`."""


@dataclass(frozen=True, eq=False)
class Data:
    """Symbols with everything that is known of them.

    Attributes:
        units: float32[symbol, unit] as columns, by name.
        hypotheses: float64[symbol] with NaN for NULL, by name; a boolean has 0 and 1, a category whole numbers from 0.
        kinds: of the hypotheses.
        values: how many values each category has.
        records: int64[symbol], the record of each symbol; three symbols each without.
        words: int64[symbol], a number for the word of each symbol, which control tasks need; None without.
    """

    units: dict[str, npt.NDArray[np.float32]]
    hypotheses: dict[str, Floats]
    kinds: dict[str, Kind]
    values: dict[str, int] = field(default_factory=dict)
    records: Ints | None = None
    words: Ints | None = None

    @cached_property
    def targets(self) -> dict[str, Target]:
        """The hypotheses as columns of labels."""
        found, columns = {}, 0
        for name, kind in self.kinds.items():
            count = self.values.get(name, 1)
            found[name] = Target(kind, tuple(range(columns, columns + count)))
            columns += count
        return found

    @property
    def column_kinds(self) -> tuple[Kind, ...]:
        """The kind of each column of labels, `boolean` or `number`."""
        return tuple("number" if t.kind == "number" else "boolean" for t in self.targets.values() for _ in t.columns)

    @property
    def record(self) -> Ints:
        """int64[symbol], the record of each symbol."""
        return np.arange(self.symbols) // 3 if self.records is None else self.records

    @property
    def starts(self) -> Ints:
        """int64[record], the symbol at which each record begins."""
        return np.flatnonzero(np.diff(self.record, prepend=-1)).astype(np.int64)

    @cached_property
    def x(self) -> npt.NDArray[np.float32]:
        """float32[symbol, unit]."""
        return np.stack(list(self.units.values()), axis=1)

    @cached_property
    def y(self) -> Floats:
        """float64[symbol, column]; NaN for NULL."""
        columns = []
        for name, values in self.hypotheses.items():
            if self.kinds[name] == "category":
                codes = np.arange(self.values[name])
                columns += list(np.where(np.isnan(values), np.nan, values == codes[:, None]))
            else:
                columns.append(values)
        return np.stack(columns, axis=1)

    @property
    def symbols(self) -> int:
        """How many there are."""
        return len(self.x)

    def rows(self, first: int, end: int) -> Data:
        """Some of the symbols."""
        return self.take(np.arange(first, min(end, self.symbols)))

    def take(self, rows: Ints) -> Data:
        """Some of the symbols, in this order."""
        return replace(
            self,
            units={k: v[rows] for k, v in self.units.items()},
            hypotheses={k: v[rows] for k, v in self.hypotheses.items()},
            records=self.record[rows],
            words=None if self.words is None else self.words[rows],
        )


def hard_data(symbols: int = 240, seed: int = 0) -> Data:
    """Units and hypotheses of all sorts; most of them have something to do with each other.

    Args:
        symbols: how many, in records of three.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=symbols)
    half = (signal + rng.normal(size=symbols) > 0).astype(float)
    rare = np.zeros(symbols)
    rare[rng.choice(symbols, 3, replace=False)] = 1
    words = rng.random(symbols) < 0.7  # where word annotations have a value
    position = np.arange(symbols)

    def noise() -> Floats:
        return signal + rng.normal(size=symbols)

    units = {
        "plain": noise(),
        "mean of 1e4": 1e4 + noise(),
        "mean of -1e4, spread of 0.1": -1e4 + 0.1 * noise(),
        "spread of 1e-6 around 1": 1 + 1e-6 * noise(),
        "spread of 1e-12": 1e-12 * noise(),
        "saturated": 0.9999 + 1e-4 * np.tanh(noise()),
        "sparse": np.maximum(noise() - 2, 0),
        "ties": np.round(noise()),
        "heavy tails": rng.standard_cauchy(symbols) + signal,
        "follows the rare class": rare + 0.5 * noise(),
        "huge": 1e12 * noise(),
        "spread of 1e-30": 1e-30 * noise(),
        "one rounding step at 1e4": 1e4 + 2.0**-10 * (noise() > 0),
        "constant 0": np.zeros(symbols),
        "constant 0.1": np.full(symbols, 0.1),
        "constant 1e4": np.full(symbols, 1e4),
        "NaN once": _with(noise(), position == symbols // 2, np.nan),
        "NaN": np.full(symbols, np.nan),
        "inf once": _with(noise(), position == symbols // 3, np.inf),
        "-inf at first": _with(noise(), position == 0, -np.inf),
        "inf and -inf": np.where(position % 2, np.inf, -np.inf),
    }
    booleans = {
        "half": half,
        "rare": rare,
        "of words": _with(half, ~words, np.nan),
        "of words, too": _with(noise() > 0.5, ~words, np.nan),
        "of its own symbols": _with(half, rng.random(symbols) < 0.5, np.nan),
        "not at the beginning": _with(half, position < symbols // 3, np.nan),
        "always": np.ones(symbols),
        "never": np.zeros(symbols),
        "always, of words": _with(np.ones(symbols), ~words, np.nan),
        "NULL": np.full(symbols, np.nan),
        "once": _with(half, position != symbols // 2, np.nan),
    }
    numbers = {
        "number": noise(),
        "number around 1e4": 1e4 + noise(),
        "number of words": _with(noise(), ~words, np.nan),
        "year": 2020.0 + rng.integers(-3, 4, symbols) + np.round(signal),
        "seconds since 1970": 1.7e9 + noise(),
        "number with heavy tails": rng.standard_cauchy(symbols),
        "number at the end": _with(1e5 + noise(), position < symbols - symbols // 4, np.nan),
        "the number 0.1": np.full(symbols, 0.1),
        "the number -7 of words": _with(np.full(symbols, -7.0), ~words, np.nan),
        "no number": np.full(symbols, np.nan),
    }
    thirds = np.digitize(noise(), [-1.0, 1.0]).astype(float)
    categories = {
        "thirds": thirds,
        "thirds of words": _with(thirds, ~words, np.nan),
        "a value that is rare, and two that never come": _with(4 * half, rare == 1, 1.0),
        "one value": _with(np.ones(symbols), ~words, np.nan),
        "no category": np.full(symbols, np.nan),
    }
    kinds: dict[str, Kind] = {
        **dict.fromkeys(booleans, "boolean"),
        **dict.fromkeys(numbers, "number"),
        **dict.fromkeys(categories, "category"),
    }
    return Data(
        {k: v.astype(np.float32) for k, v in units.items()},
        {**booleans, **numbers, **categories},
        kinds,
        {**dict.fromkeys(categories, 3), "a value that is rare, and two that never come": 5},
    )


def _with(values: npt.ArrayLike, where: Bools, value: float) -> Floats:
    return np.where(where, value, np.asarray(values, dtype=np.float64))


def group_data(records: int = 60, seed: int = 0) -> Data:
    """Records of seven symbols, and units of which the first three carry what the hypotheses say.

    Args:
        records: how many.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    n = records * LENGTH
    x = rng.normal(size=(n, 6)) * [1, 10, 1e-3, 1, 1, 1] + [0, 1e4, 0, 0, 0, 0]
    z = x[:, 0] + (x[:, 1] - 1e4) / 10 - x[:, 2] * 1e3
    words = rng.random(n) < 0.8
    first = np.arange(n) == 0
    names = ("plain", "mean of 1e4", "spread of 1e-3", "noise", "more noise", "noise, too")
    units = {name: x[:, i] for i, name in enumerate(names)}
    units |= {"constant": np.full(n, 3.0), "NaN once": np.where(first, np.nan, x[:, 3] + x[:, 4])}
    hypotheses = {
        "yes": (z > 0).astype(float),
        "yes, of words": np.where(words, z > 0.5, np.nan),
        "how much": 1e6 + z,
        "which": np.digitize(z, [-1, 1]).astype(float),
        "always": np.ones(n),
        "the number 7": np.full(n, 7.0),
        "once": first.astype(float),
        "NULL": np.full(n, np.nan),
        "one value": np.zeros(n),
    }
    kinds: dict[str, Kind] = dict.fromkeys(hypotheses, "boolean")
    kinds |= {"how much": "number", "the number 7": "number", "which": "category", "one value": "category"}
    record = np.repeat(np.arange(records) * 10 + 3, LENGTH)
    columns = {k: v.astype(np.float32) for k, v in units.items()}
    return Data(columns, hypotheses, kinds, {"which": 3, "one value": 3}, record, rng.integers(0, 20, n))


def label_behavior(data: Data, rng: np.random.Generator | None = None) -> LabelBehavior:
    """The hypotheses of a block, as measures see them.

    Args:
        data: the symbols of the block.
        rng: splits some null classes; without, those hypotheses that are NULL together are in one.
    """
    y = data.y
    if rng is not None:  # the columns of a category stay together
        halves = rng.integers(2, size=len(data.kinds)).tolist()
        splits = [s for t, s in zip(data.targets.values(), halves, strict=True) for _ in t.columns]
    valid = ~np.isnan(y)
    classes: dict[tuple[bytes, int], int] = {}
    null_class = np.array(
        [
            classes.setdefault((valid[:, h].tobytes(), 0 if rng is None else splits[h]), len(classes))
            for h in range(y.shape[1])
        ]
    )
    firsts = [int(np.argmax(null_class == c)) for c in range(len(classes))]
    values = np.where(valid, y, 0.0)
    words = None if data.words is None else data.words.copy()
    return LabelBehavior(values, valid[:, firsts], null_class, data.record.copy(), data.column_kinds, words)


def label_shift(data: Data, rng: np.random.Generator | None = None) -> Floats:
    """Pilot values of the hypotheses, float64[column]: 0 for booleans, for numbers somewhere near the mean.

    Args:
        data: the symbols.
        rng: moves them by up to a standard deviation; without, they are the means.
    """
    shifts = []
    for y, kind in zip(data.y.T, data.column_kinds, strict=True):
        known = y[~np.isnan(y)]
        if kind == "boolean" or not len(known):
            shifts.append(0.0)
        else:
            shifts.append(known.mean() + (0 if rng is None else float(rng.uniform(-1, 1)) * known.std()))
    return np.array(shifts)
