"""What the unit measures cost: MiniLM's units against all tags of a CoNLL-U file, over the bare forward.

    python benchmarks/measures.py [EWT.conllu]

Wall time of whole inspections (reading, tokenizing, labels, forward, states, scores, writing them) as a ratio to the
bare forward of the same batches, alternating in one process, for sets of measures that share their states; then what
each measure adds alone, once the states are there. Without a file the text is Python's standard library.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import reference
from minilm import LAYERS, column_of, model_path, standard_library

REPEATS = 3
MOMENTS = ["pearson", "mean_difference", "cohens_d", "class_selectivity", "correlation_ratio"]
ORDER = ["spearman", "kendall", "auroc", "average_precision", "mutual_information", "jaccard", "f1", "accuracy"]
FACTS = ["density", "mean", "standard_deviation", "kurtosis", "minimum", "maximum"]
SETS = {"pearson": ["pearson"], "moments": MOMENTS, "moments, facts": MOMENTS + FACTS, "all": MOMENTS + FACTS + ORDER}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else standard_library(Path(folder) / "library.jsonl")
        print(f"model: {model_path()}\ndata: {data.name}")
        ratios(data)
        shares(data)


def hypotheses_of(data: Path) -> list[str]:
    return ["upos", "xpos", "deprel"] if data.suffix == ".conllu" else [column_of(data)]


def ratios(data: Path) -> None:
    """Whole inspections over the bare forward."""
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
            "hypotheses": hypotheses_of(data),
            "exact": True,
        }
        batches = reference.batches(model.module, lambda: db.inspect(**request, layers=LAYERS))
        for name, measures in SETS.items():
            bare, whole = [], []
            for _ in range(REPEATS + 1):
                start = time.perf_counter()
                with torch.inference_mode():
                    for batch in batches:
                        model.module(**batch)
                bare.append(time.perf_counter() - start)
                start = time.perf_counter()
                found = db.inspect(**request, measures=measures, layers=LAYERS)
                whole.append(time.perf_counter() - start)
                rows = found.scores.aggregate("count(*)").fetchall()[0][0]
                db.remove("run", str(found.run_id))
            ratio = [w / b for w, b in zip(whole[1:], bare[1:], strict=True)]
            seconds = f"{statistics.median(whole[1:]):.2f} s over {statistics.median(bare[1:]):.2f} s"
            spread = f"{statistics.median(ratio):.3f} ({min(ratio):.3f} to {max(ratio):.3f} in {REPEATS})"
            print(f"{name}: {rows:,} scores, {seconds}: ratio {spread}", flush=True)


def shares(data: Path) -> None:
    """What each measure takes to compute from its state; the first of a state pays for what all share."""
    import deepbase
    from deepbase.engine import results

    taken: dict[str, float] = {}
    by = results._Scored.by

    def timed(self: Any, measure: Any, targets: Any) -> Any:
        start = time.perf_counter()
        found = by(self, measure, targets)
        taken[measure.name] = taken.get(measure.name, 0.0) + time.perf_counter() - start
        return found

    results._Scored.by = timed  # type: ignore[method-assign]
    with deepbase.connect() as db:
        db.inspect(model_path(), data, hypotheses_of(data), MOMENTS + FACTS + ORDER, layers=LAYERS, exact=True)
    results._Scored.by = by  # type: ignore[method-assign]
    for name, seconds in taken.items():
        print(f"  {name}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
