"""A request and what it names -> a job: every choice made and every mistake found before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import numpy as np

from deepbase.blocks import Level
from deepbase.catalog import DatasetRow
from deepbase.engine.base import ChosenLayer, Job, Part
from deepbase.engine.looks import TOKENS
from deepbase.errors import HypothesisError, MeasureError
from deepbase.inputs.stream import records
from deepbase.inputs.symbols import columns_at, symbols_schema
from deepbase.inputs.tokenization import encode
from deepbase.labels.base import Given, Label, Registered
from deepbase.labels.binding import bind, mentions, unshadowed
from deepbase.labels.evaluate import Labels, expression_type
from deepbase.measures.base import AbstractMeasure, option_text
from deepbase.measures.partial import GivenMoments
from deepbase.measures.permuted_moments import PermutedMoments
from deepbase.measures.probes.comparisons import AbstractComparison
from deepbase.measures.registry import Known, measures
from deepbase.models.base import InspectableModel
from deepbase.models.random import randomized
from deepbase.query.base import InspectSpec
from deepbase.query.layers import check_units, choose_layers
from deepbase.query.slices import OF_RECORDS, column_of, resolve

FILE = re.compile(r".+\.py(:\w+)?")
"""A Python file, or one hypothesis of it."""


@dataclass(frozen=True)
class Named:
    """A registered model that a request names.

    Attributes:
        name: its name.
        model: the model.
        tags: its row of `models` as texts, by column.
    """

    name: str
    model: InspectableModel
    tags: Mapping[str, str | None]


def given(spec: InspectSpec, known_measures: Known) -> list[str]:
    """What the measures of a request are given, as hypotheses are asked for.

    Raises:
        MeasureError: for what is no measure.
    """
    return [text for m in measures(spec.measures, known_measures) for text in m.confounds]


def bind_job(
    spec: InspectSpec,
    models: Sequence[Named],
    dataset: DatasetRow,
    known: Mapping[str, Registered],
    known_measures: Known,
    *,
    connection: duckdb.DuckDBPyConnection,
    workspace: duckdb.DuckDBPyConnection,
    growing: bool,
) -> Job:
    """Bind a request.

    Args:
        spec: the request.
        models: its models.
        dataset: its dataset.
        known: the hypotheses that may be named, those that are named with their functions.
        known_measures: the measures that may be named.
        connection: a connection to the catalog.
        workspace: a connection of the job's own, on which labels are evaluated while it runs.
        growing: whether the first blocks are small, for a run that may stop early.

    Raises:
        DeepBaseError: whatever the request names that is not there.
    """
    chosen = measures(spec.measures, known_measures)
    if not spec.hypotheses and (needing := [m.name for m in chosen if m.kinds]):
        raise HypothesisError(
            f"no hypothesis is asked for, and {', '.join(needing)} compares units with one",
            "Name at least one: a hypothesis, a column, or SQL.",
        )
    layers = [_layers(spec, m) for m in models]
    comparing = [m for m in chosen if isinstance(m, AbstractComparison)]
    for measure in comparing:
        if sum(len(x) for x in layers) < 2 or (measure.group == "model" and len(models) < 2):
            raise MeasureError(
                f"{measure.name} compares each {measure.group} with the others, and there is only one",
                "Inspect several layers, or several models.",
            )
    group_by = _group_by(spec, models, dataset)
    columns = columns_at(dataset.columns, spec.at)
    type_of = partial(_type_of, connection, dataset, spec.at)
    labels = bind(spec.hypotheses, unshadowed(known, columns), columns, type_of)
    sets, confounds = _given(chosen, lambda texts: bind(texts, unshadowed(known, columns), columns, type_of))
    every = (*labels, *(confounds.labels if confounds else ()))
    used = [c for c in dataset.columns if any(mentions(x.expression, c.name) for x in every)]
    job = Job(
        spec=replace(spec, measures=tuple(m.call for m in chosen), group_by=group_by),
        parts=tuple(_parts(spec, models, layers, chosen)),
        labels=Labels(
            workspace, labels, words=any(m.needs_words for m in chosen), places=bool(comparing), given=confounds
        ),
        measures=chosen,
        records=records(
            connection,
            dataset.table,
            dataset=dataset.dataset,
            columns=[c.name for c in used],
            group_by=[c for name in group_by if (c := column_of(name, OF_RECORDS))],
            where=spec.where,
            selection=spec.selection,
            limit=spec.records,
            seed=spec.seed,
            hypotheses=len(every),
            first=TOKENS * len(labels) * len(chosen) if growing else None,
        ),
        columns=used,
        given=sets,
    )
    _check_room(job)
    return job


def _check_room(job: Job) -> None:
    """Refuse permutations whose sums have no room."""
    asked = [kind for kind in job.state_types if issubclass(kind, PermutedMoments)]
    hypotheses, layers = len(job.labels.labels), [x for part in job.parts for x in part.layers]
    needed = sum(kind.memory(x.width, hypotheses, 0, 0) for kind in asked for x in layers) * job.records.slices
    if needed > job.room:
        permutations = sum(kind.permutations for kind in asked)
        raise MeasureError(
            f"{permutations:,} permutations of {hypotheses:,} hypotheses for {sum(x.width for x in layers):,} units "
            f"need {needed / 2**30:.1f} GB, and there are {job.room / 2**30:.1f} (memory)",
            "Inspect fewer units or hypotheses, ask for fewer permutations, or give more memory.",
        )


def _given(
    chosen: Sequence[AbstractMeasure], bound: Callable[[Sequence[str]], tuple[Label, ...]]
) -> tuple[Mapping[tuple[str, ...], tuple[int, ...]], Given | None]:
    """The confounds by what measures are given, as their numbers; and what they are, None where nothing is given.

    Raises:
        HypothesisError: if one is no hypothesis; it names the measure.
    """
    labels: dict[str, Label] = {}
    sets: dict[tuple[str, ...], tuple[int, ...]] = {}
    for measure in (m for m in chosen if m.confounds):
        option = f"option 'given' of measure '{measure.name}'"
        if file := next(filter(FILE.fullmatch, measure.confounds), None):
            raise HypothesisError(f"{option}: '{file}' is a file", "Register its hypotheses, and give their names.")
        try:
            found = bound(measure.confounds)
        except HypothesisError as error:
            raise HypothesisError(f"{option}: {error.message}", error.hint) from error
        if not found:
            listed = option_text(measure.confounds)
            raise HypothesisError(f"{option}: {listed} never has a value", "Give another hypothesis.")
        for label in found:
            labels.setdefault(label.name, label)
        places = {name: i for i, name in enumerate(labels)}
        sets[measure.confounds] = tuple(sorted(places[label.name] for label in found))
    if not sets:
        return {}, None
    summed = dict.fromkeys(sets[m.confounds] for m in chosen if m.confounds and m.reads is GivenMoments)
    return sets, Given(tuple(labels.values()), tuple(dict.fromkeys(sets.values())), tuple(summed))


def _parts(
    spec: InspectSpec,
    models: Sequence[Named],
    layers: Sequence[tuple[ChosenLayer, ...]],
    chosen: Sequence[AbstractMeasure],
) -> Iterator[Part]:
    """What is done with each model, and with its copy of random weights where a measure compares with it."""
    for named, found in zip(models, layers, strict=True):
        model = named.model.to(spec.device)
        part = Part(named.name, model, partial(encode, model.tokenize), found, named.tags)
        yield part
        if any(m.needs_baseline for m in chosen):
            yield replace(part, model=randomized(model), baseline=True)


def _layers(spec: InspectSpec, of: Named) -> tuple[ChosenLayer, ...]:
    """The layers of a model, and which of their units."""
    if spec.units is None:
        return tuple(ChosenLayer(x) for x in choose_layers(spec.layers, of.model.layers, of.model.refused, of.name))
    asked = check_units(spec.units[of.name], of.model.layers, of.model.refused, of.name)
    whole = {x.layer for x, ranges in asked if ranges == ((0, x.width),)}
    return tuple(
        ChosenLayer(x, None if x.layer in whole else np.concatenate([np.arange(*r, dtype=np.int64) for r in ranges]))
        for x, ranges in asked
    )


def _group_by(spec: InspectSpec, models: Sequence[Named], dataset: DatasetRow) -> tuple[str, ...]:
    """The columns to group by under their qualified names."""
    of_records = [c.name for c in dataset.columns if c.level == "record"]
    if spec.selection:  # it has the values, wherever they are from
        of_records += [c for name in spec.group_by if (c := column_of(name, OF_RECORDS))]
    columns = {
        "inputs": ["dataset", *of_records],
        "models": list(models[0].tags),
        "layers": ["model", "layer", "layer_index", "width", "kind"],
        "hypotheses": ["hypothesis", "kind", "source", "fingerprint", "description", "expression"],
        "units": ["model", "layer"],
    }
    return resolve(spec.group_by, columns, [c.name for c in dataset.columns if c.level != "record"])


def _type_of(connection: duckdb.DuckDBPyConnection, dataset: DatasetRow, level: Level, expression: str) -> str:
    return expression_type(connection, expression, symbols_schema(dataset.columns, level))
