"""Logistic probes of all hypotheses in one computation: what does it save over scikit-learn's fits one by one?

    python benchmarks/probes.py [EWT.conllu] [--solvers lbfgs32 liblinear ...] [--hypotheses 100] [--repeats 3]

The rows are the tokens of the text with the units of one block of MiniLM, standardized; the hypotheses are values of
its annotation columns, from common to rare. A tenth of the records is held out. For each solver of scikit-learn, all in
one process on one thread, the merged fit and all of its fits take turns:

* *ratio*: the time of the merged fit over the summed time of the fits, the median of the repeats and their range;
* *gap*: the greatest relative distance of an objective from the lowest that any solver found, in float64;
* *F1*: the greatest difference of a probe's F1 on the held-out records from that of scikit-learn's.

Solvers of L2 probes: `lbfgs` in float32 and float64, `newton-cg`, `newton-cholesky`, with `tol=1e-6`. Of L1 probes:
`liblinear` with its default `tol`, its intercept scaled by 100, so that it is hardly penalized.

Then it asks what strengths of the penalty together save: 20 hypotheses and five strengths on 8,000 rows, by the probes
that a run would use, scored on the rows that are held out; all strengths at once against one after the other.

Without a CoNLL-U file the text is Python's standard library, as in `minilm.py`, with the kinds of its tokens and its
most frequent words as hypotheses.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import minilm
import numpy as np

if TYPE_CHECKING:
    from deepbase.measures.probes.group import Fold

LAYER = "encoder.layer.3"
CHUNK = 4096
FEWEST = 8
SOLVERS = {
    "lbfgs32": ("float32", {"solver": "lbfgs", "tol": 1e-6, "max_iter": 20_000}),
    "lbfgs64": ("float64", {"solver": "lbfgs", "tol": 1e-6, "max_iter": 20_000}),
    "newton-cg": ("float64", {"solver": "newton-cg", "tol": 1e-6, "max_iter": 1000}),
    "newton-cholesky": ("float64", {"solver": "newton-cholesky", "tol": 1e-6, "max_iter": 1000}),
    "liblinear": ("float64", {"solver": "liblinear", "l1_ratio": 1, "max_iter": 1000, "intercept_scaling": 100}),
}
DEFAULT = ["lbfgs32", "lbfgs64", "liblinear"]
PATHS = {
    "logistic": ["logistic(c := {})", [0.01, 0.1, 1, 10, 100]],
    "l1": ["logistic(penalty := 'l1', c := {})", [0.01, 0.1, 1, 10, 100]],
    "linear": ["linear(alpha := {})", [1, 10, 100, 1000, 10_000]],
}
PATH_ROWS, PATH_HYPOTHESES = 8000, 20


@dataclass
class Data:
    """float32[row, unit] and bool[row, hypothesis], for the fits and held out."""

    x: np.ndarray
    y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray


@dataclass
class Fit:
    """float64[hypothesis, unit], float64[hypothesis], and the seconds of each repeat."""

    weights: np.ndarray
    intercepts: np.ndarray
    seconds: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="a CoNLL-U file")
    parser.add_argument("--solvers", nargs="*", choices=SOLVERS, default=DEFAULT)
    parser.add_argument("--paths", nargs="*", choices=PATHS, default=["logistic", "linear"])
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    import threadpoolctl
    import torch

    threadpoolctl.threadpool_limits(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = options.data or minilm.standard_library(Path(folder) / "stdlib.jsonl")
        data = rows(source, options.hypotheses)
    count = data.y.sum(0)
    print(
        f"data: {source.name}, {LAYER}: {data.x.shape[0]:,} rows of {data.x.shape[1]} units, {len(data.held_x):,} more"
    )
    print(f"hypotheses: {data.y.shape[1]}, true at {count.min():,} to {count.max():,} rows")
    for l1_ratio in (0, 1):
        names = [name for name in options.solvers if SOLVERS[name][1].get("l1_ratio", 0) == l1_ratio]
        if names:
            compare(data, names, l1_ratio, options.repeats)
    for name in options.paths:
        compare_path(data, name, options.repeats)


def rows(source: Path, hypotheses: int) -> Data:
    """What the model computes on the text."""
    import deepbase

    columns = ["upos", "xpos", "deprel"] if source.suffix == ".conllu" else ["kind", "word"]
    labelled = f"symbols('data', 'minilm') WHERE {columns[0]} IS NOT NULL"
    with deepbase.connect() as db:
        db.register_model("minilm", str(minilm.model_path()))
        db.register_dataset("data", source)
        units = db.sql(
            f"SELECT activation FROM activations('minilm', 'data') WHERE layer = '{LAYER}' ORDER BY record, position"
        ).to_arrow_table()
        symbols = db.sql(f"SELECT * FROM {labelled} ORDER BY record, position").to_arrow_table()
        every = db.sql(f"SELECT {columns[0]} FROM symbols('data', 'minilm') ORDER BY record, position").to_arrow_table()
    x = units["activation"].combine_chunks().flatten().to_numpy().reshape(len(units), -1)
    x = x[every[0].combine_chunks().is_valid().to_numpy(zero_copy_only=False)]
    held = symbols["record"].to_numpy() % 10 == 0
    values = [np.array(symbols[column].to_pylist(), dtype=object) for column in columns]
    found = [v == value for v in values for value in sorted({str(value) for value in v})]
    y = np.stack([f for f in found if f[~held].sum() >= FEWEST and f[held].any() and not f[~held].all()], 1)
    y = y[:, np.argsort(-y.sum(0), kind="stable")]
    if y.shape[1] > hypotheses:
        y = y[:, np.linspace(0, y.shape[1] - 1, hypotheses).round().astype(int)]
    mean, deviation = x[~held].mean(0, dtype=np.float64), x[~held].std(0, dtype=np.float64)
    x = ((x - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    return Data(x[~held], y[~held], x[held], y[held])


def compare(data: Data, names: list[str], l1_ratio: int, repeats: int) -> None:
    merged, reads = merged_fit(data, l1_ratio)
    ours = Fit(np.empty(0), np.empty(0), [])
    others = {name: Fit(np.empty(0), np.empty(0), []) for name in names}
    for _ in range(repeats):
        timed(ours, merged)
        for name in names:
            timed(others[name], lambda name=name: one_by_one(data, name))
    objectives = {name: objective(data, fit, l1_ratio) for name, fit in {"merged": ours, **others}.items()}
    best = np.min(list(objectives.values()), 0)
    gap = {name: (values / best - 1).max() for name, values in objectives.items()}
    print(f"L{1 if l1_ratio else 2}, merged: {spread(ours.seconds, 's')}, {reads[-1]} reads, gap {gap['merged']:.1e}")
    for name, fit in others.items():
        ratios = [a / b for a, b in zip(ours.seconds, fit.seconds, strict=True)]
        difference = np.abs(f1(data, ours) - f1(data, fit)).max()
        print(f"  {name}: {spread(fit.seconds, 's')}, gap {gap[name]:.1e}; ratio {spread(ratios)}; F1 {difference:.3f}")


def timed(fit: Fit, run: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
    start = time.perf_counter()
    fit.weights, fit.intercepts = run()
    fit.seconds.append(time.perf_counter() - start)


def merged_fit(data: Data, l1_ratio: int) -> tuple[Callable[[], tuple[np.ndarray, np.ndarray]], list[int]]:
    """The fit of all hypotheses; and how often each call of it read the rows."""
    import torch

    from deepbase.measures.probes.design import Chunk, Design
    from deepbase.measures.probes.elastic import fit_elastic

    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y.astype(np.float32))
    reads: list[int] = []

    def read() -> Iterator[Chunk]:
        reads[-1] += 1
        yield from zip(x.split(CHUNK), y.split(CHUNK), strict=True)

    def run() -> tuple[np.ndarray, np.ndarray]:
        reads.append(0)
        (fit,) = fit_elastic(Design(read, len(x), x.shape[1], y.shape[1]), [1.0], float(l1_ratio))
        assert fit.converged.all()
        return fit.coefficients.numpy(), fit.intercept.numpy()

    return run, reads


def compare_path(data: Data, name: str, repeats: int) -> None:
    """Strengths in one computation against one after the other."""
    from deepbase.measures.registry import measures

    call, strengths = PATHS[name]
    several = measures([call.format(s) for s in strengths])
    kind = several[0].takes[0]
    rows = np.linspace(0, len(data.x) - 1, min(PATH_ROWS, len(data.x))).round().astype(int)
    columns = [i for i in range(data.y.shape[1]) if FEWEST <= data.y[rows, i].sum() <= len(rows) - FEWEST]
    columns = [columns[i] for i in np.linspace(0, len(columns) - 1, PATH_HYPOTHESES).round().astype(int)]
    train, test = (data.x[rows], data.y[rows][:, columns]), (data.held_x, data.held_y[:, columns])
    if kind == "number":
        noise = np.random.default_rng(0)
        train, test = ((x, y + noise.normal(size=y.shape)) for x, y in (train, test))
    fold = fold_of(train, test)
    seconds: dict[str, list[float]] = {"merged": [], "one by one": []}
    for _ in range(repeats):
        start = time.perf_counter()
        merged = several[0].fit_path(fold, kind, several)
        seconds["merged"].append(time.perf_counter() - start)
        start = time.perf_counter()
        alone = [probe.fit(fold, kind) for probe in several]
        seconds["one by one"].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    apart = max(float((a.score - b.score).abs().nan_to_num(0).max()) for a, b in zip(merged, alone, strict=True))
    what = f"{len(columns)} hypotheses, {len(several)} strengths, {len(rows):,} rows"
    shown = ", ".join(f"{n} {spread(several, 's')}" for n, several in seconds.items())
    print(f"{name}, {what}: {shown}; ratio {spread(ratios)}; scores apart by {apart:.1e}")


def fold_of(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Fold:
    """Rows as a probe gets them."""
    import torch

    from deepbase.measures.probes.design import Design
    from deepbase.measures.probes.group import Fold

    def design(x: np.ndarray, y: np.ndarray) -> Design:
        units, labels = torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))
        chunks = list(zip(units.split(CHUNK), labels.split(CHUNK), strict=True))
        return Design(lambda: iter(chunks), len(x), x.shape[1], y.shape[1])

    one = np.ones(1, dtype=np.int64)
    columns = tuple(range(train[1].shape[1]))
    nothing = np.zeros(train[0].shape[1], dtype=np.int64)
    return Fold(columns, design(*train), design(*test), (one, one), (one[:0], one[:0]), nothing)


def one_by_one(data: Data, name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    kind, options = SOLVERS[name]
    x = data.x.astype(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where a line search meets the limits of its precision
        fits = [LogisticRegression(C=1.0, **options).fit(x, y) for y in data.y.T]
    weights = np.concatenate([fit.coef_ for fit in fits]).astype(np.float64)
    return weights, np.concatenate([fit.intercept_ for fit in fits]).astype(np.float64)


def objective(data: Data, fit: Fit, l1_ratio: int) -> np.ndarray:
    z = data.x.astype(np.float64) @ fit.weights.T + fit.intercepts
    loss = np.logaddexp(0, z).sum(0) - (z * data.y).sum(0)
    return loss + (np.abs(fit.weights).sum(1) if l1_ratio else (fit.weights**2).sum(1) / 2)


def f1(data: Data, fit: Fit) -> np.ndarray:
    said = data.held_x @ fit.weights.T + fit.intercepts > 0
    return 2 * (said & data.held_y).sum(0) / (said.sum(0) + data.held_y.sum(0))


def spread(values: list[float], unit: str = "") -> str:
    space = " " if unit else ""
    return f"{statistics.median(values):.3g}{space}{unit} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
