"""What a predicate of an INSPECT query saves, and what GROUP BY costs.

    python benchmarks/sql.py [EWT.conllu]

1. *Layers*: a BERT of 12 layers with random weights; the query over all block outputs, and over the second alone.
2. *Units and records*: MiniLM; one unit of a layer against all of it, and a tenth of the records against all.
3. *Groups*: MiniLM, all block outputs against every value of one annotation column; the same with GROUP BY on a column
   of eight values.
4. *SQL*: the query against the same request in Python.

Each pair alternates in one process; the ratio is that of the medians, with the least and greatest ratio of neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from minilm import column_of, model_path, standard_library

import deepbase

REPEATS = 3
CLAUSE = (
    "INSPECT U.unit AND H.hypothesis USING pearson OVER D.record WITH (exact := true) AS S "
    "FROM models M, units U, hypotheses H, inputs D"
)
BLOCKS = "U.layer LIKE 'encoder.layer._' OR U.layer LIKE 'encoder.layer.__'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="a CoNLL-U file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, deepbase.connect() as db:
        data = options.data or standard_library(Path(folder) / "stdlib.jsonl")
        column = column_of(data)
        print(f"data: {data.name}")
        db.register_dataset("text", data)
        table = db.dataset("text").table
        db.register_dataset("grouped", f"SELECT text, word AS words, {column}, record % 8 AS part FROM {table}")
        db.register_model("minilm", model_path())
        db.register_model("deep", random_bert(Path(folder) / "bert"), tokenize=str(model_path()))
        where = f"WHERE D.dataset = 'grouped' AND H.hypothesis LIKE '{column}=%'"
        whole = f"SELECT count(*) {CLAUSE} {where} AND ({BLOCKS})"
        second = f"SELECT count(*) {CLAUSE} {where} AND U.layer = 'encoder.layer.1'"
        compare(db, "second of 12 layers / all", f"{second} AND M.model = 'deep'", f"{whole} AND M.model = 'deep'")
        one, other = f"{second} AND M.model = 'minilm'", f"{whole} AND M.model = 'minilm'"
        compare(db, "one unit / its layer", f"{one} AND U.unit = 17", one)
        compare(db, "an eighth of the records / all", f"{other} AND D.part = 0", other)
        compare(db, "GROUP BY 8 groups / without", f"{other} GROUP BY D.part".replace("count(*)", "S.unit"), other)
        request: dict[str, Any] = {
            "model": "minilm",
            "dataset": "grouped",
            "hypotheses": [column],
            "layers": "encoder.layer.?",
        }
        request["exact"] = True
        compare(db, "SQL / Python", other, lambda: db.inspect(**request))


def random_bert(folder: Path) -> str:
    """A BERT of 12 layers, 384 wide, with MiniLM's vocabulary."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536
    )
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


def compare(db: deepbase.Database, name: str, one: str, other: str | Callable[[], object]) -> None:
    """Print the ratio of two queries, or of a query and a call."""
    calls = [partial(db.sql, x) if isinstance(x, str) else x for x in (one, other)]
    times = [[seconds(call) for call in calls] for _ in range(REPEATS + 1)][1:]
    ratios = [a / b for a, b in times]
    first, second = (statistics.median(t[i] for t in times) for i in (0, 1))
    print(f"{name}: {first:.2f} s / {second:.2f} s = {first / second:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
