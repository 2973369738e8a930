"""States -> rows of `scores`, a layer and a measure of one slice and model at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from deepbase.blocks import SCORES_SCHEMA
from deepbase.engine.base import ChosenLayer, Job, Part, RunState, Slice, SliceState
from deepbase.labels.base import Label
from deepbase.measures.base import Target, Values
from deepbase.query.slices import OF_RECORDS, column_of, slice_text


def score_tables(run: int, job: Job, state: RunState) -> Iterator[pa.Table]:
    """The scores that a state gives, as Arrow tables in the columns of `scores`.

    Memory: about 60 bytes per pair of one layer and measure.
    """
    targets = [Target(x.kind, (i,)) for i, x in enumerate(job.labels.labels)]
    parts = {part.name: part for part in job.parts}
    for (values, model), found in state.slices.items():
        for layer in parts[model].layers:
            slices = _slices(job, parts[model], layer, values)
            for measure in job.measures:
                scores = measure.compute(found.layers[layer.layer][measure.state_type], targets)
                yield _table(run, job, (model, measure.call), layer, slices, found, scores)


def _table(
    run: int,
    job: Job,
    names: tuple[str, str],
    layer: ChosenLayer,
    slices: pa.Array,
    found: SliceState,
    scores: Values,
) -> pa.Table:
    """The rows of one layer: `names` are the model's and the measure's, `slices` one text a hypothesis."""
    hypotheses, width = len(job.hypotheses), layer.width
    rows = hypotheses * width
    of = np.repeat(np.arange(hypotheses, dtype=np.int32), width)
    nothing = pa.nulls(rows, pa.float64())
    note = scores.note.ravel()
    columns = {
        "run": np.full(rows, run),
        "model": _repeated(names[0], rows),
        "layer": _repeated(layer.layer, rows),
        "unit": np.tile(layer.numbers.astype(np.int32), hypotheses),
        "hypothesis": pa.DictionaryArray.from_arrays(of, pa.array(job.hypotheses)),
        "measure": _repeated(names[1], rows),
        "slice": slices.take(pa.array(of)),
        "unit_score": pa.array(scores.unit_score.ravel(), from_pandas=True),
        **dict.fromkeys(("group_score", "low", "high", "p_value", "q_value"), nothing),
        "symbols": np.repeat(found.symbols, width),
        "records": np.repeat(found.records, width),
        "note": pa.DictionaryArray.from_arrays(
            pa.array(note.astype(np.int32), mask=note == 0), pa.array([n or "" for n in scores.notes])
        ),
    }
    return pa.table({name: columns[name] for name in SCORES_SCHEMA.names})


def _slices(job: Job, part: Part, layer: ChosenLayer, values: Slice) -> pa.Array:
    """The slice of each hypothesis' rows of a layer, encoded: one text, unless hypotheses are grouped."""
    labels = job.labels.labels
    texts = [_slice(job, part, layer, values, x) if job.spec.group_by else None for x in labels]
    return pa.array(texts, pa.string()).dictionary_encode()


def _slice(job: Job, part: Part, layer: ChosenLayer, values: Slice, label: Label) -> str | None:
    of = layer.of
    constants: dict[str, str | None] = {
        **{f"models.{column}": value for column, value in part.tags.items()},
        **{f"{table}.{c}": v for table in ("units", "layers") for c, v in (("model", part.name), ("layer", of.layer))},
        **{f"layers.{c}": str(getattr(of, c)) for c in ("layer_index", "width", "kind")},
        **{f"hypotheses.{c}": v for c, v in label.facts().items()},
    }
    of_record = iter(values)
    given = [next(of_record) if column_of(c, OF_RECORDS) else constants[c] for c in job.spec.group_by]
    return slice_text(job.spec.group_by, given)


def _repeated(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([value]))
