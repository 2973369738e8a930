"""Do intervals hold, and do runs stop at the right answer?

    python benchmarks/intervals.py [EWT.conllu] [--orders 200]

Each run reads the records in another random order and stops by itself. Its intervals are compared with the scores of
all records, and the set that it settled with the right one. Nothing is simulated but the model: its activations are
computed once, by the real model, and replayed, so that hundreds of runs through the real engine take minutes.

For each measure: the share of intervals that hold the score of all records, for the worst hypothesis of those with 50
positive records or more among the records read, on average, and for strong pairs (|r| > 0.3); beside it the interval of
the paper (Sellam et al. 2019, section 5.2: Fisher's z of independent symbols, looked at as often as one likes), at the
same moments. For rules: how often a unit was on the wrong side by more than the tie that the rule allows.

The same for the file sorted by length, by source, and by the label that is asked about.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minilm
import numpy as np
import torch
from torch import nn

import deepbase
from deepbase.inputs.stream import permuted

LAYERS = ["encoder.layer.0.intermediate", "encoder.layer.2", "encoder.layer.5"]
LEAST = 50
"""The fewest positive records for which coverage is promised."""
COMMON = 200
"""The fewest positive records of the hypotheses that are asked about: a run reads all records for the rare ones."""
ROUNDING = 1e-5
OFTEN = 20
"""In how many of the orders a hypothesis has to count to be among those of which the worst is told."""


@dataclass(frozen=True)
class Replay:
    """A model whose activations are known, over a dataset.

    Attributes:
        name: for people.
        database: holds the model `replay` and the dataset `data`.
        hypotheses: what its units are compared with.
        positive: bool[record, hypothesis], which records carry which.
    """

    name: str
    database: Any
    hypotheses: list[str]
    positive: np.ndarray
    categories: tuple[str, ...] = ()
    data: str = "data"

    def inspect(self, measure: str, **options: Any) -> Any:
        wanted = options.pop("hypotheses", self.hypotheses)
        return self.database.inspect("replay", self.data, wanted, [measure], **options)


class Known(nn.Module):
    """Gives the activations of the token with a number."""

    def __init__(self, activations: np.ndarray) -> None:
        super().__init__()
        self.units = nn.Embedding.from_pretrained(torch.from_numpy(activations))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.units(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="a CoNLL-U file")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--only", choices=["text", "demo", "sorted"], help="a third of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or minilm.standard_library(Path(folder) / "stdlib.jsonl")
        if options.only in (None, "text"):
            everything(of_text(data), options.orders)
        if options.only in (None, "demo"):
            everything(of_demo(), options.orders)
        if options.only in (None, "sorted"):
            for replay in sorted_files(of_text(data), data, Path(folder)):
                intervals(replay, "pearson", MEASURES["pearson"], options.orders)


def everything(replay: Replay, orders: int) -> None:
    """All measures, and all rules."""
    for measure, stop in MEASURES.items():
        intervals(replay, measure, stop, orders)
    rules(replay, orders)


def of_text(data: Path) -> Replay:
    """MiniLM over annotated text."""
    db = deepbase.connect()
    db.register_model("minilm", minilm.model_path())
    db.register_dataset("data", data)
    columns = ["upos", "xpos", "deprel"] if data.suffix == ".conllu" else [minilm.column_of(data)]
    return replayed(f"MiniLM on {data.name}", db, "minilm", LAYERS, [f"{c}=*" for c in columns])


def of_demo() -> Replay:
    """The demo model over queries from its grammar."""
    from deepbase.demo import model
    from deepbase.demo.grammar import sample
    from deepbase.demo.run import SHOWN

    db = deepbase.connect()
    db.register_model("demo", f"{model.__file__}:model")
    db.register_dataset("data", sample(2_000, seed=0))
    return replayed("the demo model on 2,000 queries", db, "demo", [], list(SHOWN))


def replayed(name: str, db: Any, model: str, layers: Sequence[str], hypotheses: list[str]) -> Replay:
    """The units that follow a hypothesis best, and others at random, of a model whose activations are replayed."""
    rng = np.random.default_rng(0)
    found = db.inspect(model, "data", hypotheses, layers=layers, exact=True)
    layers = layers or sorted(x for (x,) in found.scores.project("layer").distinct().fetchall())
    known = found.scores.df().dropna(subset=["unit_score"])
    names = sorted(known.hypothesis.unique())
    best = known.loc[known.unit_score.abs().groupby([known.hypothesis]).nlargest(1).index.get_level_values(-1)]
    activations = []
    for layer in layers:
        units = known[known.layer == layer].unit.unique()
        chosen = np.union1d(best[best.layer == layer].unit.unique(), rng.choice(units, min(16, len(units)), False))
        rows = db.sql(
            f"SELECT record, position, activation FROM activations('{model}', 'data') "
            f"WHERE layer = '{layer}' ORDER BY record, position"
        ).to_arrow_table()
        values = np.asarray(rows["activation"].combine_chunks().flatten(), np.float32).reshape(len(rows), -1)
        activations.append(values[:, chosen])
    places = db.sql(
        f'SELECT i.text, list((s.start, s."end") ORDER BY s.position) AS spans '
        f"FROM symbols('data', '{model}') s JOIN inputs i USING (record) WHERE i.dataset = 'data' "
        "GROUP BY s.record, i.text ORDER BY s.record"
    ).fetchall()
    spans, first = {}, 0
    for text, several in places:
        spans[text] = [(first + i, *span) for i, span in enumerate(several)]
        first += len(several)
    known = Known(np.concatenate(activations, axis=1))
    db.register_model("replay", deepbase.Model(known, tokenize=lambda text: spans.get(text, [(0, 0, 1)])))
    positive = carriers(db, names)
    common = positive.sum(0) >= COMMON
    categories = tuple(h.removesuffix("=*") for h in hypotheses if h.endswith("=*"))[:1]
    return Replay(name, db, [n for n, c in zip(names, common, strict=True) if c], positive[:, common], categories)


def carriers(db: Any, hypotheses: Sequence[str], data: str = "data") -> np.ndarray:
    """bool[record, hypothesis], which records carry which."""
    records = db.dataset(data).records
    found = np.zeros((records, len(hypotheses)), dtype=bool)
    for i, name in enumerate(hypotheses):
        text = name.replace("'", "''")
        rows = db.sql(
            f"SELECT DISTINCT record FROM hypothesis_values('{data}', 'replay', '{text}') WHERE value::DOUBLE <> 0"
        ).fetchnumpy()["record"]
        found[np.asarray(rows, dtype=np.int64), i] = True
    return found


MEASURES = {
    "pearson": 0.2,
    "mean_difference": 0.8,
    "cohens_d": 0.9,
    "class_selectivity": 0.9,
    "correlation_ratio": 0.1,
    "mean": 0.3,
    "standard_deviation": 0.3,
    "density": 0.1,
    "spearman": 0.2,
    "kendall": 0.2,
    "auroc": 0.2,
    "average_precision": 0.2,
    "f1": 0.2,
    "accuracy": 0.1,
    "mutual_information": 0.05,
    "jaccard": 900,
    "logistic": 900,
}
"""Each measure, and an error at which its runs stop somewhere in the middle; or a number of records, where some pair
never has an interval, so that they would read all."""
FACTS = ("mean", "standard_deviation", "density")


def intervals(replay: Replay, measure: str, stop: float, orders: int) -> None:
    """How often intervals hold the score of all records when a run stops by itself."""
    start = time.perf_counter()
    score = "group_score" if measure == "logistic" else "unit_score"
    asked = {"correlation_ratio": replay.categories, **dict.fromkeys(FACTS, ())}.get(measure, replay.hypotheses)
    if measure == "correlation_ratio" and not asked:
        return
    truth = rows_of(replay.inspect(measure, exact=True, hypotheses=asked))[score]
    coverage = Coverage(replay, truth.index.get_level_values(0).to_numpy(), truth.to_numpy(dtype=float))
    until: dict[str, Any] = {"records": stop} if isinstance(stop, int) else {"error": stop}
    what = f"of {stop} records" if isinstance(stop, int) else f"to {stop:g}"
    for seed in range(orders):
        found = replay.inspect(measure, **until, seed=seed, hypotheses=asked)
        coverage.add(found, rows_of(found), seed, score)
        replay.database.remove("run", found.run_id)
    coverage.show(f"{replay.name}, {measure} {what}", pearson=measure == "pearson")
    print(f"    {orders} orders, {time.perf_counter() - start:.0f} s", flush=True)


def rows_of(found: Any) -> Any:
    """The scores of a run, by hypothesis, layer and unit."""
    rows = found.scores.df()
    return rows.assign(hypothesis=rows.hypothesis.fillna("")).set_index(["hypothesis", "layer", "unit"]).sort_index()


class Coverage:
    """Counts how often intervals hold, by hypothesis."""

    def __init__(self, replay: Replay, hypothesis: np.ndarray, truth: np.ndarray) -> None:
        self.replay, self.truth = replay, truth
        count = len(replay.hypotheses)  # and a place for categories and facts, which all records tell of
        self.of = np.array([replay.hypotheses.index(h) if h in replay.hypotheses else count for h in hypothesis])
        self.positive = np.append(replay.positive, np.ones((len(replay.positive), 1), dtype=bool), axis=1)
        self.hits, self.pairs, self.paper = (np.zeros((count + 1, 2)) for _ in range(3))
        self.read: list[float] = []
        self.missing = 0.0

    def add(self, found: Any, rows: Any, seed: int, score: str) -> None:
        records, total = found.run["records_seen"], len(self.replay.positive)
        self.read.append(records / total)
        drawn = permuted(np.arange(records), total, seed)
        common = self.positive[drawn].sum(0)[self.of] >= LEAST
        value, low, high = (rows[name].to_numpy(dtype=float) for name in (score, "low", "high"))
        known = common & np.isfinite(low) & (low < high) & np.isfinite(self.truth)
        self.missing += float((common & np.isfinite(value) & ~np.isfinite(low)).mean())
        with np.errstate(invalid="ignore", divide="ignore"):
            reach = 1.96 / np.sqrt(rows["symbols"].to_numpy(dtype=float) - 3)
            near = np.abs(np.arctanh(value) - np.arctanh(self.truth)) <= reach + ROUNDING
        hit = (low <= self.truth + ROUNDING) & (self.truth - ROUNDING <= high)
        for k, which in enumerate((known, known & (np.abs(self.truth) > 0.3))):
            for total_of, what in ((self.hits, hit), (self.pairs, np.ones_like(hit)), (self.paper, near)):
                np.add.at(total_of[:, k], self.of[which], what[which])

    def show(self, title: str, *, pearson: bool) -> None:
        units = np.bincount(self.of, minlength=len(self.pairs))
        enough = self.pairs[:, 0] >= OFTEN * np.maximum(units, 1) / 2  # a half: not all units have an interval
        if not enough.any():
            print(f"{title}: every run read all records")
            return
        with np.errstate(invalid="ignore"):
            share, paper = self.hits / self.pairs, self.paper / self.pairs
        strong = self.hits[:, 1].sum() / max(self.pairs[:, 1].sum(), 1)
        print(
            f"{title}: {100 * statistics.median(self.read):.0f} % of the records read (median); of {enough.sum()} "
            f"hypotheses the worst {100 * share[enough, 0].min():.1f} %, the mean "
            f"{100 * share[enough, 0].mean():.1f} %, strong pairs {100 * strong:.1f} %; without an interval "
            f"{100 * self.missing / len(self.read):.1f} %"
        )
        if pearson:
            print(
                f"    the paper's interval: the worst {100 * paper[enough, 0].min():.1f} %, the mean "
                f"{100 * paper[enough, 0].mean():.1f} %, strong pairs "
                f"{100 * self.paper[:, 1].sum() / max(self.pairs[:, 1].sum(), 1):.1f} %"
            )


def rules(replay: Replay, orders: int) -> None:
    """How often a run that stops by a rule has a unit on the wrong side."""
    common = [h for h, n in zip(replay.hypotheses, replay.positive.sum(0), strict=True) if n >= 2 * COMMON][:8]
    for ties in (0.05, 0.1, 0.2):
        for rule in ({"threshold": 0.3}, {"top": 10}):
            wrong, read = 0, []
            truth = replay.inspect("pearson", exact=True, hypotheses=common).scores.df()
            for seed in range(orders):
                asked = {**rule, "ties": ties, "seed": seed, "hypotheses": common}
                found = replay.inspect("pearson", **asked)
                wrong += is_wrong(found.scores.df(), truth, ties, **rule)
                read.append(found.run["records_seen"] / len(replay.positive))
                replay.database.remove("run", found.run_id)
            what = " ".join(f"{k} {v}" for k, v in rule.items())
            print(
                f"{replay.name}, {what}, ties {ties:g}: wrong {wrong} of {orders} times "
                f"({100 * wrong / orders:.1f} %), "
                f"{100 * statistics.median(read):.0f} % of the records read (median)",
                flush=True,
            )


def is_wrong(found: Any, truth: Any, ties: float, threshold: float = 0.0, top: int = 0) -> bool:
    """Whether a unit is on the wrong side by more than a tie."""
    keys = ["hypothesis", "layer", "unit"]
    both = found.merge(truth, on=keys, suffixes=("", "_true")).dropna(subset=["unit_score"])
    own, true = both.unit_score.abs(), both.unit_score_true.abs()
    if not top:
        return bool((((own > threshold) != (true > threshold)) & ((true - threshold).abs() > ties + ROUNDING)).any())
    for _, rows in both.groupby("hypothesis"):
        mine, his = own[rows.index], true[rows.index]
        inside = mine.rank(ascending=False, method="first") <= top
        if len(rows) > top and his[~inside].max() - his[inside].min() > ties + ROUNDING:
            return True
    return False


def sorted_files(replay: Replay, data: Path, folder: Path) -> Iterator[Replay]:
    """The same records in files that are sorted."""
    mark = "\n\n" if data.suffix == ".conllu" else "\n"
    records = data.read_text("utf-8").strip().split(mark)
    label = "\tNOUN\t" if data.suffix == ".conllu" else '"NAME"'
    for name, by in (("length", len), ("source", str), ("label", lambda record: record.count(label))):
        path = folder / f"by_{name}{data.suffix}"
        path.write_text(mark.join(sorted(records, key=by)) + mark, "utf-8")
        replay.database.register_dataset(f"by_{name}", path)
        positive = carriers(replay.database, replay.hypotheses, f"by_{name}")
        yield Replay(
            f"{replay.name}, sorted by {name}", replay.database, replay.hypotheses, positive, data=f"by_{name}"
        )


if __name__ == "__main__":
    main()
