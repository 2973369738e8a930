"""MiniLM's activations as a virtual table: what does a scan cost over the bare forward?

    python benchmarks/scan.py [EWT.conllu]

1. *Overhead*: `SELECT avg(value), count(*) FROM unit_activations(...)` of one unit of the second layer over all
   records, against the bare forward to that layer over the same batches, made beforehand; alternating in one process.
   The ratio of the processor time is what a shared machine disturbs less: all that the scan does beside the forward,
   as if nothing of it overlapped.
2. *Depth*: one layer near the input against all layers, the values of each read.
3. *LIMIT*: the first five rows.

Without a CoNLL-U file the text is Python's standard library, line by line.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minilm import model_path, standard_library

LAYER, UNIT = "encoder.layer.1", 17
SCAN = f"SELECT avg(value), count(*) FROM unit_activations('minilm', 'data', '{LAYER}', {UNIT})"
REPEATS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="a CoNLL-U file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or standard_library(Path(folder) / "stdlib.jsonl")
        print(f"model: {model_path()}\ndata: {data.name}")
        measure(data)


def measure(data: Path) -> None:
    import deepbase
    from deepbase.models.base import InspectableModel
    from deepbase.models.loading import load

    with deepbase.connect() as db:
        db.register_model("minilm", load(str(model_path())))
        db.register_dataset("data", data)
        batches: list[Any] = []
        model: list[InspectableModel] = []
        run = InspectableModel.run

        def recorded(self: InspectableModel, batch: Any, *args: Any) -> None:
            batches.append(batch)
            model[:] = [self]
            run(self, batch, *args)

        InspectableModel.run = recorded  # type: ignore[method-assign]
        expected = db.sql(SCAN).fetchall()
        InspectableModel.run = run  # type: ignore[method-assign]

        def bare() -> None:
            for batch in batches:
                model[0].run(batch, [LAYER], lambda *_: None)

        bare_times, scan_times, work = [], [], []
        for _ in range(REPEATS):
            begin = time.process_time()
            bare_times.append(seconds(bare))
            middle = time.process_time()
            scan_times.append(seconds(lambda: db.sql(SCAN).fetchall()))
            work.append((time.process_time() - middle) / (middle - begin))
        ratios = [scan / bare for scan, bare in zip(scan_times, bare_times, strict=True)]
        print(f"{expected[0][1]:,} symbols in {len(batches)} batches")
        print(
            f"bare forward: median {statistics.median(bare_times):.3f} s; scan: {statistics.median(scan_times):.3f} s"
        )
        print(
            f"ratio of medians: {statistics.median(scan_times) / statistics.median(bare_times):.3f}; of pairs: median "
            f"{statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f} in {REPEATS} runs"
        )
        print(f"ratio of the processor time: median {statistics.median(work):.3f}, {min(work):.3f} to {max(work):.3f}")
        for text, query in (
            (f"layer {LAYER}", f"SELECT sum(activation[1]) FROM activations('minilm', 'data') WHERE layer = '{LAYER}'"),
            ("all layers", "SELECT sum(activation[1]) FROM activations('minilm', 'data')"),
            ("no layer", "SELECT count(*) FROM activations('minilm', 'data')"),
            ("LIMIT 5", f"FROM unit_activations('minilm', 'data', '{LAYER}', {UNIT}) LIMIT 5"),
        ):
            times = [seconds(lambda q=query: db.sql(q).fetchall()) for _ in range(3)]  # type: ignore[misc]
            print(f"{text}: median {statistics.median(times):.3f} s, {min(times):.3f} to {max(times):.3f}")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
