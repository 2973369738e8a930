"""States -> scores, a layer and a measure of one slice and model at a time, as rows of lists over its units."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepbase.blocks import SCORE_LISTS_SCHEMA, Floats
from deepbase.engine.base import ChosenLayer, Job, Part, RunState, Slice, SliceState
from deepbase.engine.comparisons import comparisons
from deepbase.measures.base import AbstractMeasure, Target, Values
from deepbase.measures.own import conventional
from deepbase.measures.probes.base import AbstractProbe
from deepbase.measures.probes.comparisons import AbstractComparison
from deepbase.measures.probes.group import UnitGroup
from deepbase.measures.rows import Rows
from deepbase.measures.significance import q_values
from deepbase.measures.spread import NO_INTERVAL, Spread, interval
from deepbase.measures.tested import correction
from deepbase.query.slices import OF_RECORDS, column_of, slice_text

LEAST_CARRIERS = 10
"""The fewest records in which a boolean is true, and in which it is false, for scores to have intervals."""
TIE = "closer to others, or to a threshold, than has to be told apart"
SETTLED, TIED, OPEN = 0, 1, 2
"""How a score stands to what a run was asked."""
LIST = 2_048
"""The most units of one list: DuckDB reads 2,048 lists at a time."""


def score_tables(run: int, items: Iterable[Scores]) -> Iterator[pa.Table]:
    """Scores with their intervals, as Arrow tables in the columns of `score_lists`.

    Memory: about 60 bytes per pair of one layer and measure, or of the measures that are fitted together.
    """
    tested: dict[str, list[Scores]] = {}
    for item in items:
        if item.values.p_value is None:
            yield _table(run, item)
        else:  # its q-value needs all others
            tested.setdefault(item.measure.call, []).append(item)
    for item in _tested(tested):
        yield _table(run, item)


def scores_of(job: Job, state: RunState, *, spreads: bool) -> Iterator[Scores]:
    """The scores that a state gives, layer by layer.

    Args:
        job: what is done.
        state: what was learned.
        spreads: whether they are to know how far they may be off.
    """
    for part in job.parts:
        twin = replace(part, baseline=True).key
        for (values, key), found in state.slices.items():
            if key == part.key and not part.baseline:
                yield from _of_slice(job, part, values, found, state.slices.get((values, twin)), spreads)
    for pair in comparisons(job, state):
        slices = _slices(job, pair.part, pair.layer, pair.values, [pair.other])
        yield Scores(pair.part.name, pair.layer, pair.measure, [pair.other], slices, [0], pair.found, pair.scores)


def _tested(tested: Mapping[str, Sequence[Scores]]) -> Iterator[Scores]:
    """Scores with p-values by measure, with q-values; measures that share their tests share these."""
    known: tuple[str, list[Floats], list[Floats]] = ("", [], [])
    for several in tested.values():
        method = correction(several[0].measure)
        p_values = [x.values.p_value for x in several if x.values.p_value is not None]
        same = known[0] == method and len(known[1]) == len(p_values) and all(map(_equal, known[1], p_values))
        if not same:
            known = (method, p_values, q_values(p_values, method))
        for item, q_value in zip(several, known[2], strict=True):
            yield replace(item, values=replace(item.values, q_value=q_value))


def _equal(a: Floats, b: Floats) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _of_slice(
    job: Job, part: Part, values: Slice, found: SliceState, twin: SliceState | None, spreads: bool
) -> Iterator[Scores]:
    """The scores of one model and slice; `twin` is the state of the same model with random weights."""
    for layers, measures in _groups(job, part):
        scored = _Scored(found, layers, measures)
        baseline = None if twin is None else _Scored(twin, layers, measures)
        for measure in measures:
            asked = job.targets[measure]
            names, targets = [name for name, _ in asked], [target for _, target in asked]
            scores = scored.by(measure, targets)
            if measure.needs_baseline and baseline is not None:
                scores = replace(scores, baseline_score=baseline.by(measure, targets).group_score)
            if spreads:
                scores = replace(scores, spread=scored.spread(measure, targets, scores))
            first = 0
            at = [job.coverage(t) for t in targets]
            for layer in layers:
                slices = _slices(job, part, layer, values, names)
                own = scores.units(slice(first, first + layer.width))
                yield Scores(part.name, layer, measure, names, slices, at, found, own)
                first += layer.width


class _Scored:
    """The states of some layers of one model and slice, whose units are scored together.

    Probes of one family are fitted when the first is asked for, and the scores of the others wait.
    """

    def __init__(self, found: SliceState, layers: Sequence[ChosenLayer], measures: Sequence[AbstractMeasure]) -> None:
        self.probes = [m for m in measures if isinstance(m, AbstractProbe)]
        self.known: dict[AbstractProbe, Values] = {}
        self.found = found
        self.states = [found.layers[x.layer] for x in layers]
        self.units = sum(x.width for x in layers)
        self.group: UnitGroup | None = None

    def by(self, measure: AbstractMeasure, targets: Sequence[Target]) -> Values:
        """The scores; of several layers, one after the other."""
        if not isinstance(measure, AbstractProbe):
            scores = measure.compute(self.states[0][measure.reads], targets)
            return conventional(measure, scores, targets, self.units)
        if self.group is None:
            self.group = UnitGroup([cast(Rows, s[Rows]) for s in self.states])
        if measure not in self.known:
            several = [p for p in self.probes if p.family == measure.family]
            self.known |= zip(several, measure.compute_path(self.group, targets, several), strict=True)
        return self.known.pop(measure)

    def spread(self, measure: AbstractMeasure, targets: Sequence[Target], scores: Values) -> Spread | None:
        """How far the scores may be off; where too few records carry a boolean, nobody knows."""
        found = scores.spread
        if not isinstance(measure, AbstractProbe):
            found = measure.spread(self.states[0][measure.reads], targets, scores)
        if found is None:
            return None
        thin = [t.kind == "boolean" and self.found.carriers[t.columns[0]] < LEAST_CARRIERS for t in targets]
        return replace(found, freedom=np.where(thin, 0.0, found.freedom))


def _groups(job: Job, part: Part) -> Iterator[tuple[Sequence[ChosenLayer], Sequence[AbstractMeasure]]]:
    """The layers whose units are scored together, and by what: each alone, then all of the model."""
    together = [m for m in job.measures if isinstance(m, AbstractProbe) and m.group == "model"]
    alone = [m for m in job.measures if m not in together and not isinstance(m, AbstractComparison)]
    if alone:
        yield from (([layer], alone) for layer in part.layers)
    if together:
        yield part.layers, together


@contextmanager
def computed(tables: Iterator[pa.Table], quick: bool) -> Iterator[Iterable[pa.Table]]:
    """Tables that are there already when they are asked for, so that nobody waits for them with a file locked.

    Args:
        tables: computes them.
        quick: whether that takes no time. Then only what comes before the first table, such as all p-values, is done
            now. Others go through a scratch file.
    """
    if quick:
        first = list(itertools.islice(tables, 1))
        yield itertools.chain(first, tables)
        return
    with tempfile.TemporaryFile(prefix="deepbase-") as file:
        with pa.ipc.new_stream(file, SCORE_LISTS_SCHEMA) as sink:
            for table in tables:
                sink.write_table(table)
        file.seek(0)
        with pa.ipc.open_stream(file) as reader:
            yield (pa.Table.from_batches([batch]) for batch in reader)


@dataclass(frozen=True)
class Scores:
    """The scores of one layer and measure; hypotheses, slices and coverage have one item a target.

    `level` is the chance that an interval misses, `unread` the share of the records that have not been read,
    `standing` what a look found, in the shape of `score`.
    """

    model: str
    layer: ChosenLayer
    measure: AbstractMeasure
    hypotheses: Sequence[str | None]
    slices: pa.Array
    coverage: Sequence[int]
    found: SliceState
    values: Values
    level: float = 1.0
    unread: float = 0.0
    standing: npt.NDArray[np.uint8] | None = None

    def key(self, target: int, columns: Sequence[str]) -> tuple[str | None, ...]:
        """What the scores of a target have in some columns."""
        of = {
            "model": self.model,
            "layer": self.layer.layer,
            "measure": self.measure.call,
            "hypothesis": self.hypotheses[target],
            "slice": self.slices[target].as_py(),
        }
        return tuple(of[name] for name in columns)

    @property
    def score(self) -> Floats:
        """float64[target, unit], or [target, 1] where units are scored together."""
        if self.measure.grouped and self.values.group_score is not None:
            return self.values.group_score[:, None]
        return self.values.unit_score

    @cached_property
    def limits(self) -> tuple[Floats, Floats]:
        """The ends of the intervals, in the shape of `score`; NaN where there are none."""
        if self.unread > 0 and self.values.spread is None:
            return np.full(self.score.shape, np.nan), np.full(self.score.shape, np.nan)
        if self.unread <= 0:
            exact = self.score if self.measure.grouped else np.where(self.values.note == 0, self.score, np.nan)
            return exact, exact
        assert self.values.spread is not None
        low, high = interval(self.score, self.values.spread, self.measure.error_scale, self.level, self.unread)
        least, most = (-np.inf, np.inf) if self.measure.grouped else self.measure.range
        return low.clip(least, most), high.clip(least, most)


def _table(run: int, of: Scores) -> pa.Table:
    """The rows of one layer and measure: one for each target and each `LIST` of its units."""
    scores, width, count = of.values, of.layer.width, len(of.coverage)
    pieces = max(1, math.ceil(width / LIST))
    ends = np.minimum(np.arange(1, pieces + 1) * LIST, width)
    offsets = pa.array(np.append(0, (np.arange(count)[:, None] * width + ends).ravel()).astype(np.int32))
    rows = count * pieces
    target = np.repeat(np.arange(count, dtype=np.int32), pieces)

    def lists(values: npt.NDArray[Any] | None) -> pa.Array | None:
        if values is None:
            return None
        values = np.broadcast_to(values, (count, width))
        return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), from_pandas=values.dtype.kind == "f"))

    def each(values: Floats | None) -> pa.Array | None:
        return None if values is None else pa.array(values[target], from_pandas=True)

    at = np.array(of.coverage, dtype=np.int64)[target]
    low, high = of.limits
    note, notes = _noted(of)
    columns = {
        "run": np.full(rows, run),
        "model": _repeated(of.model, rows),
        "layer": _repeated(of.layer.layer, rows),
        "hypothesis": pa.array(of.hypotheses, pa.string()).take(pa.array(target)),
        "measure": _repeated(of.measure.call, rows),
        "slice": of.slices.take(pa.array(target)),
        "unit": lists(np.tile(of.layer.numbers.astype(np.int32), (count, 1))),
        "unit_score": lists(scores.unit_score),
        "group_score": each(scores.group_score),
        "control_score": each(scores.control_score),
        "shuffled_score": each(scores.shuffled_score),
        "baseline_score": each(scores.baseline_score),
        "low": None if of.unread <= 0 else lists(low),
        "high": None if of.unread <= 0 else lists(high),
        "whole": np.full(rows, of.unread <= 0),
        "open": lists(of.standing > 0) if of.standing is not None and of.standing.any() else None,
        "p_value": lists(scores.p_value),
        "q_value": lists(scores.q_value),
        "symbols": of.found.symbols[at],
        "records": of.found.records[at],
        "note": lists(note.astype(np.int32)) if note.any() else None,
        "notes": pa.array([list(notes[1:])] * rows, pa.list_(pa.string())),
    }
    return pa.table(
        [pa.nulls(rows, f.type) if columns.get(f.name) is None else columns[f.name] for f in SCORE_LISTS_SCHEMA],
        schema=SCORE_LISTS_SCHEMA,
    )


def _noted(of: Scores) -> tuple[npt.NDArray[np.integer[Any]], Sequence[str | None]]:
    """The notes of scores, with why there is no interval where nothing else is to be said."""
    note, notes = of.values.note, of.values.notes
    if of.standing is not None and (of.standing == TIED).any():
        tied = np.broadcast_to(of.standing == TIED, note.shape) & (note == 0)
        note, notes = np.where(tied, len(notes), note), (*notes, TIE)
    missing = np.broadcast_to(np.isnan(of.limits[0]) & np.isfinite(of.score), note.shape) & (note == 0)
    if not missing.any():
        return note, notes
    why = NO_INTERVAL if of.values.spread is None else of.values.spread.missing
    return np.where(missing, len(notes), note), (*notes, why)


def _slices(job: Job, part: Part, layer: ChosenLayer, values: Slice, names: Sequence[str | None]) -> pa.Array:
    """The slice of each hypothesis' rows of a layer: one text, unless hypotheses are grouped."""
    facts = {x.name: x.facts() for x in job.scored} if job.spec.group_by else {}
    texts = [_slice(job, part, layer, values, facts.get(n or "", {})) if job.spec.group_by else None for n in names]
    return pa.array(texts, pa.string())


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


def _repeated(value: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), rows)
