"""States -> rows of `scores`, a layer and a measure at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from deepbase.blocks import SCORES_SCHEMA
from deepbase.engine.base import Job, RunState
from deepbase.measures.base import NOTES


def score_tables(run: int, job: Job, state: RunState) -> Iterator[pa.Table]:
    """The scores that a state gives, as Arrow tables in the columns of `scores`.

    Memory: about 60 bytes per pair of one layer and measure.
    """
    if state.symbols is None or state.records is None:
        return
    kinds = [x.kind for x in job.labels.labels]
    hypotheses = len(kinds)
    for layer in job.layers:
        for measure in job.measures:
            states = state.layers.get(layer.layer)
            if states is None:
                continue
            values = measure.compute(states[measure.state_type], kinds)
            rows = hypotheses * layer.width
            nothing = pa.nulls(rows, pa.float64())
            note = values.note.ravel()
            columns = {
                "run": np.full(rows, run),
                "model": _repeated(job.spec.model, rows),
                "layer": _repeated(layer.layer, rows),
                "unit": np.tile(np.arange(layer.width, dtype=np.int32), hypotheses),
                "hypothesis": pa.DictionaryArray.from_arrays(
                    np.repeat(np.arange(hypotheses, dtype=np.int32), layer.width), pa.array(job.hypotheses)
                ),
                "measure": _repeated(measure.name, rows),
                "slice": pa.nulls(rows, pa.string()),
                "unit_score": pa.array(values.unit_score.ravel(), mask=note != 0),
                **dict.fromkeys(("group_score", "low", "high", "p_value", "q_value"), nothing),
                "symbols": np.repeat(state.symbols, layer.width),
                "records": np.repeat(state.records, layer.width),
                "note": pa.DictionaryArray.from_arrays(
                    pa.array(note.astype(np.int32), mask=note == 0), pa.array([n or "" for n in NOTES])
                ),
            }
            yield pa.table({name: columns[name] for name in SCORES_SCHEMA.names})


def _repeated(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([value]))
