"""What do intervals and rules cost, and how many records do questions need?

    python benchmarks/stopping.py [EWT.conllu]

1. *Cost*: MiniLM, 14,208 units against every value of all annotation columns, by Pearson's correlation, read to the end
   with looks and without, alternating in one process. And the looks themselves: the same on 17 hypotheses, where a run
   looks more often.
2. *Records*: how much of the data is read for the 20 best units of one hypothesis, and for every unit beyond 0.5 of any
   value of one column, with ties of several sizes; then with the records 10 and 100 times over, under new numbers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import minilm

import deepbase

REPEATS = 5
TIES = (0.0, 0.02, 0.05, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="a CoNLL-U file")
    parser.add_argument("--skip", choices=["cost", "records"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or minilm.standard_library(Path(folder) / "stdlib.jsonl")
        db = deepbase.connect()
        db.register_model("minilm", minilm.model_path())
        db.register_dataset("x1", data)
        column = minilm.column_of(data)
        columns = ["upos", "xpos", "deprel"] if data.suffix == ".conllu" else [column]
        if options.skip != "cost":
            for asked in ([f"{c}=*" for c in columns], [f"{column}=*"]):
                cost(db, asked)
        if options.skip != "records":
            for times in (10, 100):
                repeated(db, data, Path(folder), times)
            value = f"{column}={'NOUN' if column == 'upos' else 'NAME'}"
            records(db, f"the 20 best of {value}", [value], top=20)
            records(db, f"beyond 0.5 for any {column}", [f"{column}=*"], threshold=0.5)


def inspect(db: Any, dataset: str, hypotheses: list[str], **options: Any) -> tuple[Any, float]:
    """A run, and how long it took."""
    start = time.perf_counter()
    found = db.inspect("minilm", dataset, hypotheses, ["pearson"], layers=minilm.LAYERS, **options)
    return found, time.perf_counter() - start


def cost(db: Any, hypotheses: list[str]) -> None:
    """Runs to the end, with looks and without."""
    ratios, of_intervals, looks = [], [], set()
    warm, _ = inspect(db, "x1", hypotheses, exact=True, records=64)
    db.remove("run", warm.run_id)
    for seed in range(REPEATS):
        told: list[int] = []
        exact, without = inspect(db, "x1", hypotheses, exact=True, seed=seed)
        found, with_looks = inspect(db, "x1", hypotheses, seed=seed, progress=lambda p, t=told: t.append(p.open))
        assert found.run["records_seen"] == exact.run["records_seen"], "the run was to read everything"
        ratios.append(with_looks / without)
        about, with_intervals = inspect(db, "x1", hypotheses, exact=True, population=True, seed=seed)
        of_intervals.append(with_intervals / without)
        looks.add(len(dict.fromkeys(told)) - 1)
        count = len(found.run["spec"]["fingerprints"]["hypotheses"])
        for run in (exact, found, about):
            db.remove("run", run.run_id)
    for what, found_ratios in (
        (f"small blocks and up to {max(looks)} looks", ratios),
        ("intervals of all scores at the end (--population)", of_intervals),
    ):
        print(
            f"{count} hypotheses, with {what}: {statistics.median(found_ratios):.3f} of an exact run "
            f"({min(found_ratios):.3f} to {max(found_ratios):.3f}), {without:.1f} s",
            flush=True,
        )


def repeated(db: Any, data: Path, folder: Path, times: int) -> None:
    """The records so many times over, under new numbers."""
    text = data.read_text("utf-8").rstrip("\n") + ("\n\n" if data.suffix == ".conllu" else "\n")
    path = folder / f"x{times}{data.suffix}"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(times):
            file.write(text)
    db.register_dataset(f"x{times}", path)


def records(db: Any, title: str, hypotheses: list[str], **question: Any) -> None:
    """How much is read, and how long it takes, for a question."""
    for ties in TIES:
        parts = []
        for dataset in ("x1", "x10", "x100"):
            limit = {"seconds": 120.0} if dataset != "x1" else {}
            found, seconds = inspect(db, dataset, hypotheses, ties=ties, **question, **limit)
            whole = db.dataset(dataset).records
            seen = found.run["records_seen"]
            late = " (time was up)" if "time" in found.run["stopped_because"] else ""
            parts.append(f"{dataset} {seen:,} of {whole:,} records, {seconds:.1f} s{late}")
            db.remove("run", found.run_id)
            if late:
                break
        print(f"{title}, ties {ties:g}: {'; '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
