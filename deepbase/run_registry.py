"""The runs of a database: how one begins, how it is resumed, and what is undone where nothing came of it.

What a request names or brings along is registered first, so that the run can be described by names alone, and resumed.
Should the request fail before its run has anything to keep, the database is afterwards as it was.

The file is free for other processes all the while: models are loaded, and hypotheses tried, without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb

from deepbase import catalog, runs, selections
from deepbase.catalog import HypothesisRow, MeasureRow, Noun
from deepbase.dataset_registry import Datasets
from deepbase.errors import DeepBaseError, InspectionError
from deepbase.hypothesis_registry import Hypotheses
from deepbase.labels.evaluate import register_functions
from deepbase.measure_registry import Measures
from deepbase.model_registry import Models
from deepbase.query.base import OF_QUESTION, InspectSpec, Ranges, bounds
from deepbase.query.layers import choose_units
from deepbase.store import Store

if TYPE_CHECKING:
    from deepbase.engine.base import Job, Progress

Observe = Callable[["Progress"], None]


T = TypeVar("T")

OF_SPEC = (
    *("at", "behavior", "records", "seconds", "exact", "window", "seed", "batch_size", "device", "memory"),
    *("error", "confidence", "top", "ties", "population"),
)
"""The arguments of `Database.inspect` that a spec has as they are."""
LOADING = ("padding", "allow_pickle", "trust_remote_code")
"""Those that say how to load a model, beside its tokenizer."""


@dataclass(frozen=True)
class Asked:
    """A request as a user makes it.

    Attributes:
        spec: the request; the names of its models, dataset, hypotheses and measures are those that these turn out to
            have.
        models: registered names, globs over them, or anything that `Database.inspect` takes as a model.
        dataset, hypotheses, measures, units: as in `Database.inspect`.
        text: the column of texts of a dataset that is not registered.
        options: for loading a model that is not registered.
    """

    spec: InspectSpec
    models: Sequence[Any]
    dataset: Any
    hypotheses: Any
    measures: Any
    units: Any = None
    text: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_spec(cls, spec: InspectSpec) -> Self:
        """A request in which everything has its name."""
        return cls(spec, spec.models, spec.dataset, list(spec.hypotheses), list(spec.measures))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The arguments of `Database.inspect` as a request."""
        model = given["model"]
        models = list(model) if isinstance(model, list | tuple) else [model]
        spec = InspectSpec(
            models=tuple(map(str, range(len(models)))),  # the names are yet to be found
            dataset="",
            hypotheses=(),
            measures=(),
            layers=_several(given["layers"]),
            group_by=_several(given["group_by"]),
            where=given["where"] or "",
            thresholds=bounds(given["threshold"]),
            **{name: given[name] for name in OF_SPEC},
        )
        options = {name: given[name] for name in LOADING} | {"tokenizer": given["tokenize"]}
        of = (given["dataset"], given["hypotheses"], given["measures"], given["units"], given["text"])
        return cls(spec, models, *of, options)


@dataclass
class _Added:
    """What a request has written so far."""

    names: list[tuple[Noun, str]] = field(default_factory=list)
    hypotheses: Mapping[str, HypothesisRow | None] = field(default_factory=dict)
    measures: Mapping[str, MeasureRow | None] = field(default_factory=dict)
    run: int = 0


class Runs:
    """The runs of one database."""

    def __init__(
        self, store: Store, models: Models, datasets: Datasets, hypotheses: Hypotheses, measures: Measures
    ) -> None:
        self.store = store
        self.models = models
        self.datasets = datasets
        self.hypotheses = hypotheses
        self.measures = measures

    def begin(self, asked: Asked, *, checkpoint: float, observe: Observe) -> int:
        """Run a request to its end.

        Args:
            asked: the request.
            checkpoint: the least number of seconds between two checkpoints.
            observe: told about every block.

        Returns:
            The number of the run.
        """
        added = _Added()
        try:
            with self.store.released(), duckdb.connect() as workspace:
                settled = self._settled(asked, added)
                job, facts = self.bind(settled, workspace)
                described = {**job.spec.as_json(), "fingerprints": facts}
                with self.store.session() as cursor:
                    before = runs.earlier(cursor, described, OF_QUESTION)
                if before is not None:
                    job, _ = self.bind(settled, workspace, growing=True)
                    described["continues"] = before[0]
                with self.store.transaction() as cursor:
                    added.run = runs.start(cursor, described, job.spec.seed, self.hypotheses.rows_of(job.scored))
                saved = None if before is None else runs.Saved(before[1], 0.0)
                self._drive(job, added.run, saved, facts, checkpoint=checkpoint, observe=observe, reopened=True)
        except BaseException as error:
            try:
                self._forget(added, asked.spec)
            except DeepBaseError as second:
                error.add_note(f"What the request had registered is still there: {second}")
            raise
        return added.run

    def trial(self, asked: Asked, look: Callable[[Job], T]) -> T:
        """Bind a request, look at its job, and leave everything as it was."""
        added = _Added()
        try:
            with duckdb.connect() as workspace:
                job, _ = self.bind(self._settled(asked, added), workspace)
                return look(job)
        finally:
            self._forget(added, asked.spec)

    def _settled(self, asked: Asked, added: _Added) -> InspectSpec:
        """The spec of a request, with the names of what it brings along, which is registered."""
        calls, added.measures = self.measures.adopt(asked.measures)
        names, added.hypotheses = self.hypotheses.adopt(asked.hypotheses)
        dataset, new = self.datasets.find(asked.dataset, text=asked.text)
        added.names += [("dataset", dataset)] if new else []
        found: list[str] = []
        for model in asked.models:
            for name, new in self.models.find_all(model, asked.options):
                added.names += [("model", name)] if new else []
                found.append(name)
        found = list(dict.fromkeys(found))
        spec = replace(asked.spec, models=tuple(found), dataset=dataset, hypotheses=tuple(names), measures=tuple(calls))
        if asked.units is None:
            return spec
        units = {name: self._units(name, spec.layers, asked.units) for name in found}
        return replace(spec, units=units, layers=())

    def _units(self, name: str, layers: Sequence[str], units: Any) -> Mapping[str, Ranges]:
        _, model = self.models.get(name)
        return choose_units(layers, units, model.layers, model.refused, name)

    def resume(self, run: int, *, checkpoint: float, observe: Observe) -> None:
        """Go on with a run that was interrupted or failed, to its end.

        Raises:
            CatalogError: if there is no such run.
            InspectionError: if it is done or running, or if something that it rests on has changed.
        """
        with self.store.transaction() as cursor:
            runs.check_resumable(cursor, run)
            row = runs.read(cursor, run)
        with self.store.released(), duckdb.connect() as workspace:
            growing = True if "continues" in row["spec"] else None
            job, facts = self.bind(InspectSpec.from_json(row["spec"]), workspace, growing=growing)
            if changed := _changed(row["spec"]["fingerprints"], facts):
                raise InspectionError(
                    f"run {run} cannot be resumed: its {changed} changed since it began", "Start a new run."
                )
            with self.store.transaction() as cursor:
                saved = runs.restart(cursor, run)
            self._drive(job, run, saved, facts, checkpoint=checkpoint, observe=observe)

    def bind(
        self, spec: InspectSpec, workspace: duckdb.DuckDBPyConnection, *, growing: bool | None = None
    ) -> tuple[Job, dict[str, Any]]:
        """A job, and the fingerprints of all that goes into it: every mistake in a request is found here.

        Args:
            spec: the request, whose models and dataset are registered.
            workspace: an instance of the run's own, so that nothing can take the place of its functions.
            growing: whether the first blocks are small; None where that follows from the request.

        Raises:
            DeepBaseError: whatever the request names that is not there.
        """
        from deepbase.engine.binding import Named, bind_job, given

        loaded = {name: self.models.get(name) for name in spec.models}
        with self.store.session() as cursor:
            models = [Named(n, model, catalog.model_texts(cursor, n)) for n, (_, model) in loaded.items()]
            dataset = catalog.dataset(cursor, spec.dataset)
            own = self.measures.known()
            known = self.hypotheses.load([*spec.hypotheses, *given(spec, own)])
            register_functions(workspace, [h.function for h in known.values() if h.function])
            small = not spec.exact if growing is None else growing
            job = bind_job(spec, models, dataset, known, own, connection=cursor, workspace=workspace, growing=small)
        labels = {x.name: x.fingerprint for x in job.labels.labels}
        fingerprints = {name: row.fingerprint for name, (row, _) in loaded.items()}
        measures = {m.name: own.rows[m.name].fingerprint for m in job.measures if m.name in own.rows}
        confounds = {x.name: x.fingerprint for x in job.labels.given.labels} if job.labels.given else {}
        return job, {
            "models": fingerprints,
            "dataset": dataset.fingerprint,
            "hypotheses": labels,
            "measures": measures,
            **({"confounds": confounds} if confounds else {}),
        }

    def _drive(
        self,
        job: Job,
        run: int,
        saved: runs.Saved | None,
        facts: Mapping[str, Any],
        *,
        checkpoint: float,
        observe: Observe,
        reopened: bool = False,
    ) -> None:
        from deepbase.engine.base import RunState
        from deepbase.engine.driver import drive, restored
        from deepbase.engine.pieces import Piece

        pieces, seconds = [Piece.whole(job, RunState())], 0.0
        if saved is not None:
            pieces, seconds = restored(job, saved.state, reopened=reopened), saved.seconds
        drive(
            job,
            self.store,
            run,
            pieces,
            dataset_fingerprint=facts["dataset"],
            seconds=seconds,
            checkpoint=checkpoint,
            observe=observe,
        )

    def _forget(self, added: _Added, spec: InspectSpec) -> None:
        """Leave the database as it was before a request, unless its run has something to keep."""
        if not (added.names or added.hypotheses or added.measures or added.run or spec.selection):
            return
        with self.store.transaction() as cursor:
            if str(added.run) in catalog.names(cursor, "run"):
                row = runs.read(cursor, added.run)
                if row["status"] != "failed" or row["records_seen"]:
                    return
                runs.remove(cursor, added.run)
            for noun, name in added.names:
                catalog.remove(cursor, noun, name)
            self.hypotheses.restore(cursor, added.hypotheses)
            self.measures.restore(cursor, added.measures)
            selections.remove_unused(cursor)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What has another fingerprint now."""
    for name, fingerprint in now["models"].items():
        if before["models"].get(name) != fingerprint:
            return f"model '{name}'"
    rests_on = ("dataset", "hypotheses", "measures", "confounds")
    return next((what for what in rests_on if before.get(what) != now.get(what)), None)


def _several(values: str | Sequence[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)
