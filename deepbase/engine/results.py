"""States -> rows of `scores`, a layer and a measure of one slice and model at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from deepbase.blocks import SCORES_SCHEMA, Floats
from deepbase.engine.base import ChosenLayer, Job, Part, RunState, Slice, SliceState
from deepbase.measures.base import Target, Values
from deepbase.query.slices import OF_RECORDS, column_of, slice_text


def score_tables(run: int, job: Job, state: RunState) -> Iterator[pa.Table]:
    """The scores that a state gives, as Arrow tables in the columns of `scores`.

    Memory: about 60 bytes per pair of one layer and measure.
    """
    parts = {part.name: part for part in job.parts}
    for (values, model), found in state.slices.items():
        part = parts[model]
        for measure in job.measures:
            asked = job.targets(measure)
            targets = [target for _, target in asked]
            for layer in part.layers:
                scores = measure.compute(found.layers[layer.layer][measure.state_type], targets)
                names = [name for name, _ in asked]
                slices = _slices(job, part, layer, values, names)
                of = _Of(run, model, layer, measure.call, names, slices)
                yield _table(of, targets, found, scores)


@dataclass(frozen=True)
class _Of:
    """What the rows of one layer and measure are of; `hypotheses` and `slices` have one text a target."""

    run: int
    model: str
    layer: ChosenLayer
    measure: str
    hypotheses: Sequence[str | None]
    slices: pa.Array


def _table(of: _Of, targets: Sequence[Target], found: SliceState, scores: Values) -> pa.Table:
    """The rows of one layer and measure."""
    width, count = of.layer.width, len(targets)
    rows = count * width
    target = np.repeat(np.arange(count, dtype=np.int32), width)
    nothing = pa.nulls(rows, pa.float64())
    note = scores.note.ravel()
    at = [t.columns[0] if t.columns else -1 for t in targets]  # the last is about all symbols
    columns = {
        "run": np.full(rows, of.run),
        "model": _repeated(of.model, rows),
        "layer": _repeated(of.layer.layer, rows),
        "unit": np.tile(of.layer.numbers.astype(np.int32), count),
        "hypothesis": pa.array(of.hypotheses, pa.string()).dictionary_encode().take(pa.array(target)),
        "measure": _repeated(of.measure, rows),
        "slice": of.slices.take(pa.array(target)),
        "unit_score": _floats(scores.unit_score.ravel()),
        "group_score": nothing if scores.group_score is None else _floats(np.repeat(scores.group_score, width)),
        **dict.fromkeys(("low", "high", "p_value", "q_value"), nothing),
        "symbols": np.repeat(found.symbols[at], width),
        "records": np.repeat(found.records[at], width),
        "note": pa.DictionaryArray.from_arrays(
            pa.array(note.astype(np.int32), mask=note == 0), pa.array([n or "" for n in scores.notes])
        ),
    }
    return pa.table({name: columns[name] for name in SCORES_SCHEMA.names})


def _floats(values: Floats) -> pa.Array:
    """Floats with NULL for NaN."""
    return pa.array(values, from_pandas=True)


def _slices(job: Job, part: Part, layer: ChosenLayer, values: Slice, names: Sequence[str | None]) -> pa.Array:
    """The slice of each hypothesis' rows of a layer, encoded: one text, unless hypotheses are grouped."""
    facts = {x.name: x.facts() for x in job.scored} if job.spec.group_by else {}
    texts = [_slice(job, part, layer, values, facts.get(n or "", {})) if job.spec.group_by else None for n in names]
    return pa.array(texts, pa.string()).dictionary_encode()


def _slice(job: Job, part: Part, layer: ChosenLayer, values: Slice, hypothesis: Mapping[str, str | None]) -> str | None:
    of = layer.of
    constants: dict[str, str | None] = {
        **{f"models.{column}": value for column, value in part.tags.items()},
        **{f"{table}.{c}": v for table in ("units", "layers") for c, v in (("model", part.name), ("layer", of.layer))},
        **{f"layers.{c}": str(getattr(of, c)) for c in ("layer_index", "width", "kind")},
        **{f"hypotheses.{c}": v for c, v in hypothesis.items()},
    }
    of_record = iter(values)
    given = [next(of_record) if column_of(c, OF_RECORDS) else constants.get(c) for c in job.spec.group_by]
    return slice_text(job.spec.group_by, given)


def _repeated(value: str, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([value]))
