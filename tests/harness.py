"""One harness for every registered measure: however the symbols come, the scores are those of a float64 reference.

`hard_data` is made of what breaks a streaming sum: means of 1e4, tiny spreads, saturated and sparse units, heavy tails,
ties, constants, NaN and infinities on the side of the units; rare classes, NULLs in several patterns, constants, and
next to no values on the side of the hypotheses. `folded` brings it into a state in any number of blocks and batches,
with other pilot values and null classes in each block, merged in the order of any tree. `check` compares all pairs with
`REFERENCES`, which are SciPy's, or NumPy's in float64, and with the conventions for pairs that have no score.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.stats
import sklearn.metrics
import torch

from deepbase.blocks import Floats, Ints, Kind, LabelBehavior
from deepbase.measures.base import (
    AbstractMeasure,
    AbstractState,
    Target,
    Values,
)
from deepbase.measures.batch import BatchLabels

CPU = torch.device("cpu")
TOLERANCE = 1e-5

FEW = "fewer than 2 symbols have a value of the hypothesis"
NOT_FINITE = "unit has NaN or infinite activations"
CONSTANT_UNIT = "unit is constant"
CONSTANT_HYPOTHESIS = "hypothesis is constant"
WRONG_KIND = "measure needs another kind of hypothesis"
NEEDS = "measure needs a {} hypothesis"
FEW_POSITIVES = "hypothesis has fewer than 2 positives"
FEW_NEGATIVES = "hypothesis has fewer than 2 negatives"
MEANS_ARE_ZERO = "both means are 0"
TOO_FEW_SYMBOLS = "fewer than 2 symbols"
PLENTY = 2**40
"""Bytes: more than any state of the tests asks for."""
LITTLE = 2**14
"""Bytes: too little for the rows of most of the tests."""
NO_VARIATION = "no variation within the classes"


@dataclass(frozen=True)
class Data:
    """Symbols with everything that is known of them.

    Attributes:
        units: float32[symbol, unit], by name.
        hypotheses: float64[symbol] with NaN for NULL, by name; a category has whole numbers from 0 up.
        kinds: of the hypotheses.
        values: how many values each category has.
        records: int64[symbol], the record of each symbol; three symbols each without.
        textbook: the scores and notes that are known already, by measure, unit and hypothesis.
    """

    units: dict[str, npt.NDArray[np.float32]]
    hypotheses: dict[str, Floats]
    kinds: dict[str, Kind]
    values: dict[str, int] = field(default_factory=dict)
    records: Ints | None = None
    textbook: dict[tuple[str, str, str], tuple[float | None, str | None]] = field(default_factory=dict, repr=False)

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
        return tuple("number" if t.kind == "number" else "boolean" for t in self.targets.values() for _ in t.columns)

    @property
    def record(self) -> Ints:
        return np.arange(self.symbols) // 3 if self.records is None else self.records

    @property
    def x(self) -> npt.NDArray[np.float32]:
        return np.stack(list(self.units.values()), axis=1)

    @property
    def y(self) -> Floats:
        """float64[symbol, column]."""
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
        return len(self.x)

    def rows(self, first: int, end: int) -> Data:
        return Data(
            {k: v[first:end] for k, v in self.units.items()},
            {k: v[first:end] for k, v in self.hypotheses.items()},
            self.kinds,
            self.values,
            self.record[first:end],
        )


def hard_data(symbols: int = 240, seed: int = 0) -> Data:
    """Units and hypotheses of all sorts; most of them have something to do with each other."""
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


def _with(values: npt.ArrayLike, where: npt.NDArray[np.bool_], value: float) -> Floats:
    return np.where(where, value, np.asarray(values, dtype=np.float64))


def label_behavior(data: Data, rng: np.random.Generator | None = None) -> LabelBehavior:
    """The hypotheses of a block; those that are NULL together are in one null class, unless a generator splits some."""
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
    return LabelBehavior(np.where(valid, y, 0.0), valid[:, firsts], null_class, data.record, data.column_kinds)


def label_shift(data: Data, rng: np.random.Generator | None = None) -> Floats:
    """Pilot values of the hypotheses: 0 for booleans, somewhere near the mean for numbers."""
    shifts = []
    for y, kind in zip(data.y.T, data.column_kinds, strict=True):
        known = y[~np.isnan(y)]
        if kind == "boolean" or not len(known):
            shifts.append(0.0)
        else:
            shifts.append(known.mean() + (0 if rng is None else float(rng.uniform(-1, 1)) * known.std()))
    return np.array(shifts)


def block_state(
    kind: type[AbstractState],
    block: Data,
    cuts: Sequence[int] = (),
    *,
    shift: Floats | None = None,
    rng: np.random.Generator | None = None,
    like: AbstractState | None = None,
    memory: int = PLENTY,
) -> AbstractState:
    """The state of one block.

    Args:
        kind: the type of the state.
        block: its symbols.
        cuts: where its batches begin and end; empty batches are left out, as the engine does.
        shift: the pilot values of the hypotheses; 0 without.
        rng: splits null classes at random.
        like: a state whose pilot values are used; without, those of the first batch are.
        memory: bytes that the state may take.
    """
    labels = label_behavior(block, rng)
    shift = np.zeros(len(labels.kinds)) if shift is None else shift
    bounds = sorted({0, block.symbols, *(min(c, block.symbols) for c in cuts)})
    state: AbstractState | None = None
    units = torch.from_numpy(block.x)
    for first, end in zip(bounds[:-1] or [0], bounds[1:] or [0], strict=True):
        batch = BatchLabels.of(labels, first, end - first, shift, CPU)
        if state is None and like is not None:
            state = like.empty_like(batch)
        state = kind.first(units[first:end], batch, memory) if state is None else state.update(units[first:end], batch)
    assert state is not None
    return state


def merged(states: Sequence[AbstractState], order: Sequence[int]) -> AbstractState:
    """Merge two of the states, then two of what is left, and so on; `order` says which."""
    left = list(states)
    picks = iter([*order, *[0] * (2 * len(left))])
    while len(left) > 1:
        a = left.pop(next(picks) % len(left))
        b = left.pop(next(picks) % len(left))
        left.append(a.merge(b))
    return left[0]


def textbook_pearson(x: Floats, y: Floats, kind: Kind) -> float:
    """SciPy's."""
    if kind == "boolean":
        return float(scipy.stats.pointbiserialr(y.astype(bool), x).statistic)
    return float(scipy.stats.pearsonr(x, y).statistic)


def textbook_mean_difference(x: Floats, y: Floats, _: Kind) -> float:
    """NumPy's."""
    return float(x[y == 1].mean() - x[y == 0].mean())


def textbook_cohens_d(x: Floats, y: Floats, kind: Kind) -> float:
    """With the pooled standard deviation of Cohen 1988; see `CohensD` about its error for a large d."""
    true, false = x[y == 1], x[y == 0]
    squares = ((true - true.mean()) ** 2).sum() + ((false - false.mean()) ** 2).sum()
    if len(x) <= 2 or squares <= 1e-12 * ((x - x.mean()) ** 2).sum():
        return float("nan")
    return textbook_mean_difference(x, y, kind) / float(np.sqrt(squares / (len(x) - 2)))


def textbook_class_selectivity(x: Floats, y: Floats, _: Kind) -> float:
    """NumPy's."""
    true, false = x[y == 1].mean(), x[y == 0].mean()
    return float((true - false) / (abs(true) + abs(false))) if true or false else float("nan")


def textbook_correlation_ratio(x: Floats, y: Floats, _: Kind) -> float:
    """From what varies within the values of a category."""
    groups = [x[y == v] for v in np.unique(y)]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    return float(np.sqrt(max(0, 1 - within / ((x - x.mean()) ** 2).sum())))


def textbook_f1(x: Floats, y: Floats, _: Kind) -> float:
    """The best along scikit-learn's curve, whose last point takes nothing for true."""
    precision, recall, _thresholds = sklearn.metrics.precision_recall_curve(y, x)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-300)).max())


def textbook_accuracy(x: Floats, y: Floats, _: Kind) -> float:
    """The best along scikit-learn's curve, which begins where nothing is taken for true."""
    false, true, _thresholds = sklearn.metrics.roc_curve(y, x, drop_intermediate=False)
    return float((true * y.sum() + (1 - false) * (1 - y).sum()).max() / len(y))


def textbook_jaccard(x: Floats, y: Floats, _: Kind, top: float = 0.05) -> float:
    """scikit-learn's, of what is above NumPy's quantile."""
    threshold = np.sort(x)[max(int(np.ceil(round((1 - top) * len(x), 6))), 1) - 1]
    return float(sklearn.metrics.jaccard_score(y == 1, x > threshold))


def quantile_bins(x: Floats, bins: int = 16) -> Ints:
    """int64[symbol]: bins by the number of lesser values."""
    return (scipy.stats.rankdata(x, "min").astype(np.int64) - 1) * bins // len(x)


def textbook_mutual_information(x: Floats, y: Floats, kind: Kind, bins: int = 16, corrected: bool = True) -> float:
    """scikit-learn's, in bits, with the bias of Miller and Madow."""
    binned = quantile_bins(x, bins)
    return information(binned, quantile_bins(y, bins) if kind == "number" else y, corrected)


def information(x: npt.NDArray[np.generic], y: npt.NDArray[np.generic], corrected: bool = True) -> float:
    """scikit-learn's, in bits, with the bias of Miller and Madow."""
    cells = len(np.unique(np.stack([x, y]), axis=1).T) - len(np.unique(x)) - len(np.unique(y)) + 1
    nats = sklearn.metrics.mutual_info_score(x, y) - corrected * cells / (2 * len(x))
    return float(max(nats, 0) / np.log(2))


@dataclass(frozen=True)
class Reference:
    """The textbook value of a measure.

    Attributes:
        score: of x, y and the kind of y, for symbols where both have a value; NaN where it is not defined. Of a fact,
            y is x.
        kinds: of the hypotheses that it takes.
        undefined: the note that stands for NaN.
        error: how much a score may be off, given the textbook value and the unit.
    """

    score: Callable[[Floats, Floats, Kind], float]
    kinds: tuple[Kind, ...]
    undefined: str
    error: Callable[[float, Floats], float]


REFERENCES = {
    "pearson": Reference(textbook_pearson, ("boolean", "number"), "", lambda _, __: TOLERANCE),
    "mean_difference": Reference(
        textbook_mean_difference, ("boolean",), "", lambda d, x: TOLERANCE * max(abs(d), float(x.std()))
    ),
    "cohens_d": Reference(
        textbook_cohens_d, ("boolean",), NO_VARIATION, lambda d, _: max(TOLERANCE * max(abs(d), 1), 1e-6 * abs(d) ** 3)
    ),
    "class_selectivity": Reference(textbook_class_selectivity, ("boolean",), MEANS_ARE_ZERO, lambda _, __: TOLERANCE),
    "correlation_ratio": Reference(textbook_correlation_ratio, ("category",), "", lambda _, __: TOLERANCE),
    "spearman": Reference(
        lambda x, y, _: float(scipy.stats.spearmanr(x, y).statistic), ("boolean", "number"), "", lambda _, __: TOLERANCE
    ),
    "kendall": Reference(
        lambda x, y, _: float(scipy.stats.kendalltau(x, y).statistic),
        ("boolean", "number"),
        "",
        lambda _, __: TOLERANCE,
    ),
    "auroc": Reference(
        lambda x, y, _: float(sklearn.metrics.roc_auc_score(y, x)), ("boolean",), "", lambda _, __: TOLERANCE
    ),
    "average_precision": Reference(
        lambda x, y, _: float(sklearn.metrics.average_precision_score(y, x)), ("boolean",), "", lambda _, __: TOLERANCE
    ),
    "mutual_information": Reference(
        textbook_mutual_information, ("boolean", "number", "category"), "", lambda _, __: TOLERANCE
    ),
    "jaccard": Reference(textbook_jaccard, ("boolean",), "", lambda _, __: TOLERANCE),
    "f1": Reference(textbook_f1, ("boolean",), "", lambda _, __: TOLERANCE),
    "accuracy": Reference(textbook_accuracy, ("boolean",), "", lambda _, __: TOLERANCE),
    "density": Reference(lambda x, *_: float((x > 0).mean()), (), "", lambda _, __: TOLERANCE),
    "mean": Reference(lambda x, *_: float(x.mean()), (), "", lambda m, x: TOLERANCE * max(abs(m), float(x.std()))),
    "standard_deviation": Reference(lambda x, *_: float(x.std()), (), "", lambda s, _: TOLERANCE * s),
    "kurtosis": Reference(
        lambda x, *_: float(scipy.stats.kurtosis(x)), (), "", lambda k, _: TOLERANCE * max(abs(k), 1)
    ),
    "minimum": Reference(lambda x, *_: float(x.min()), (), "", lambda _, __: 0),
    "maximum": Reference(lambda x, *_: float(x.max()), (), "", lambda _, __: 0),
}
NO_CONSTANTS = ("kurtosis",)
"""The facts that a constant unit does not have."""


def expected(measure: str, data: Data, unit: str, hypothesis: str) -> tuple[float | None, str | None]:
    """The textbook score of a pair, or the note that stands in its place; of a fact, the hypothesis is empty."""
    reference = REFERENCES[measure]
    whole = data.units[unit].astype(np.float64)
    if not hypothesis:
        return _expected_fact(reference, whole, measure in NO_CONSTANTS)
    kind, y = data.kinds[hypothesis], data.hypotheses[hypothesis]
    x, y = whole[~np.isnan(y)], y[~np.isnan(y)]
    if len(y) < 2:
        return None, FEW
    if not np.isfinite(whole).all():
        return None, NOT_FINITE
    if _is_constant(x):
        return None, CONSTANT_UNIT
    if (y == y[0]).all():
        return None, CONSTANT_HYPOTHESIS
    if kind not in reference.kinds:
        return None, NEEDS.format(reference.kinds[0]) if len(reference.kinds) == 1 else WRONG_KIND
    if kind == "boolean" and min(y.sum(), len(y) - y.sum()) < 2:
        return None, FEW_POSITIVES if y.sum() < 2 else FEW_NEGATIVES
    score = reference.score(x, y, kind)
    return (None, reference.undefined) if np.isnan(score) else (score, None)


def _expected_fact(reference: Reference, x: Floats, no_constants: bool) -> tuple[float | None, str | None]:
    if len(x) < 2:
        return None, TOO_FEW_SYMBOLS
    if not np.isfinite(x).all():
        return None, NOT_FINITE
    if no_constants and _is_constant(x):
        return None, CONSTANT_UNIT
    return reference.score(x, x, "number"), None


def _is_constant(x: Floats) -> bool:
    return bool((x == x[0]).all() or x.std() <= max(2.0**-23 * abs(x.mean()), 1e-18))


def targets_of(measure: AbstractMeasure, data: Data) -> dict[str, Target]:
    """What a measure is tried on, by name: categories only where it takes them."""
    if not measure.kinds:
        return {"": Target(None)}
    return {n: t for n, t in data.targets.items() if t.kind != "category" or "category" in measure.kinds}


def check(measure: AbstractMeasure, state: AbstractState, data: Data, *, approximate: bool = False) -> None:
    """Compare every score of a state with its textbook value or its note.

    Args:
        measure: whose scores.
        state: of some data.
        data: these.
        approximate: whether a note may say that a score is only near its textbook value, and how near.
    """
    values = scores(measure, state, data)
    wrong = []
    for h, hypothesis in enumerate(targets_of(measure, data)):
        for u, unit in enumerate(data.units):
            pair = (measure.name, unit, hypothesis)
            if pair not in data.textbook:
                data.textbook[pair] = expected(measure.name, data, unit, hypothesis)
            score, note = data.textbook[pair]
            found, said = float(values.unit_score[h, u]), values.notes[values.note[h, u]]
            if approximate and score is not None and said is not None:
                right = _near(measure, found, said, score, data, hypothesis)
            elif score is None or said is not None:
                right = np.isnan(found) and said == note
            else:
                x = data.units[unit].astype(np.float64)
                x = x[~np.isnan(data.hypotheses[hypothesis])] if hypothesis else x
                right = abs(found - score) <= REFERENCES[measure.name].error(score, x)
                right &= measure.range[0] <= found <= measure.range[1]
            if not right:
                wrong.append(f"{unit} / {hypothesis}: {found} ({said}) instead of {score} ({note})")
    assert not wrong, f"{measure.name}: {len(wrong)} wrong scores\n" + "\n".join(wrong[:10])


def _near(measure: AbstractMeasure, found: float, said: str, score: float, data: Data, hypothesis: str) -> bool:
    """Whether a score is as near to its textbook value as its note says; one without a score is."""
    if said.startswith("too little memory"):
        return np.isnan(found)
    within = re.fullmatch(r"approximate: within (\S+) of the exact value", said)
    off = re.fullmatch(r"approximate: the borders of the bins are off by at most (\S+) of the symbols", said)
    assert within or off, said
    if within:
        bound = float(within[1])
    else:
        y = data.hypotheses[hypothesis]
        values = 16 if data.kinds[hypothesis] == "number" else len(np.unique(y[~np.isnan(y)]))
        bound = _information_moved(float(off[1]), 16, values, int((~np.isnan(y)).sum()))
    return abs(found - score) <= bound + TOLERANCE and measure.range[0] <= found <= measure.range[1]


def _information_moved(off: float, bins: int, values: int, n: int) -> float:
    """The most bits by which mutual information moves if so many symbols at each border change their cell.

    The entropy of K cells moves by `d log2(K - 1) + h(d)` at most, if a share d of the symbols moves (Zhang 2007,
    "Estimating mutual information via Kolmogorov distance"); that of the margins and of the cells do. The correction
    of the bias moves by as many cells as may become empty or be filled.
    """
    moved = min(off * (bins - 1) * (2 if values == bins else 1), 0.5)
    binary = -(moved * np.log2(moved) + (1 - moved) * np.log2(1 - moved)) if moved else 0.0
    return 3 * float(moved * np.log2(bins * values - 1) + binary) + bins * values / (2 * n * np.log(2))


def scores(measure: AbstractMeasure, state: AbstractState, data: Data) -> Values:
    return measure.compute(state, list(targets_of(measure, data).values()))


def classes_of(state: Ints) -> list[list[int]]:
    """A partition as sorted lists, whatever the classes are called."""
    return sorted(np.flatnonzero(state == c).tolist() for c in np.unique(state))
