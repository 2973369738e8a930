"""The runs of a database: how one begins, how it is resumed, and what is undone where nothing came of it.

What a request names or brings along is registered first, so that the run can be described by names alone, and resumed.
Should the request fail before its run has anything to keep, the database is afterwards as it was.

The file is free for other processes all the while: models are loaded, and hypotheses tried, without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import duckdb

from deepbase import catalog, runs
from deepbase.catalog import HypothesisRow, Noun
from deepbase.dataset_registry import Datasets
from deepbase.errors import DeepBaseError, InspectionError
from deepbase.hypothesis_registry import Hypotheses
from deepbase.labels.evaluate import register_functions
from deepbase.model_registry import Models
from deepbase.query.base import InspectSpec
from deepbase.store import Store

if TYPE_CHECKING:
    from deepbase.engine.base import Job, Progress

FINGERPRINTS = ("model", "dataset", "hypotheses")

Observe = Callable[["Progress"], None]


@dataclass
class _Added:
    """What a request has written so far."""

    names: list[tuple[Noun, str]] = field(default_factory=list)
    hypotheses: Mapping[str, HypothesisRow | None] = field(default_factory=dict)
    run: int = 0


class Runs:
    """The runs of one database."""

    def __init__(self, store: Store, models: Models, datasets: Datasets, hypotheses: Hypotheses) -> None:
        self.store = store
        self.models = models
        self.datasets = datasets
        self.hypotheses = hypotheses

    def begin(
        self,
        spec: InspectSpec,
        model: Any,
        dataset: Any,
        hypotheses: Any,
        *,
        text: str | None,
        options: Mapping[str, Any],
        checkpoint: float,
        observe: Observe,
    ) -> int:
        """Run a request to its end.

        Args:
            spec: the request, without the names of the model, the dataset and the hypotheses.
            model, dataset, hypotheses: as in `Database.inspect`.
            text: the column of texts of a dataset that is not registered.
            options: for loading a model that is not registered.
            checkpoint: the least number of seconds between two checkpoints.
            observe: told about every block.

        Returns:
            The number of the run.
        """
        added = _Added()
        try:
            with self.store.released(), duckdb.connect() as workspace:
                names, added.hypotheses = self.hypotheses.adopt(hypotheses)
                dataset_name, new = self.datasets.find(dataset, text=text)
                added.names += [("dataset", dataset_name)] if new else []
                model_name, new = self.models.find(model, options)
                added.names += [("model", model_name)] if new else []
                spec = replace(spec, model=model_name, dataset=dataset_name, hypotheses=tuple(names))
                job, facts = self._bind(spec, workspace)
                with self.store.transaction() as cursor:
                    added.run = runs.start(cursor, {**spec.as_json(), "fingerprints": facts}, spec.seed)
                self._drive(job, added.run, None, facts, checkpoint=checkpoint, observe=observe)
        except BaseException as error:
            try:
                self._forget(added)
            except DeepBaseError as second:
                error.add_note(f"What the request had registered is still there: {second}")
            raise
        return added.run

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
            job, facts = self._bind(InspectSpec.from_json(row["spec"]), workspace)
            for what in FINGERPRINTS:
                if facts[what] != row["spec"]["fingerprints"][what]:
                    raise InspectionError(
                        f"run {run} cannot be resumed: its {what} changed since it began", "Start a new run."
                    )
            with self.store.transaction() as cursor:
                saved = runs.restart(cursor, run)
            self._drive(job, run, saved, facts, checkpoint=checkpoint, observe=observe)

    def _bind(self, spec: InspectSpec, workspace: duckdb.DuckDBPyConnection) -> tuple[Job, dict[str, Any]]:
        """A job, and the fingerprints of all that goes into it.

        Args:
            spec: the request.
            workspace: an instance of the run's own, so that nothing can take the place of its functions.
        """
        from deepbase.engine.binding import bind_job

        row, model = self.models.get(spec.model)
        with self.store.session() as cursor:
            dataset = catalog.dataset(cursor, spec.dataset)
            known = self.hypotheses.load(spec.hypotheses)
            register_functions(workspace, [h.function for h in known.values() if h.function])
            job = bind_job(spec, model, dataset, known, connection=cursor, workspace=workspace)
        labels = {x.name: x.fingerprint for x in job.labels.labels}
        return job, {"model": row.fingerprint, "dataset": dataset.fingerprint, "hypotheses": labels}

    def _drive(
        self,
        job: Job,
        run: int,
        saved: runs.Saved | None,
        facts: Mapping[str, Any],
        *,
        checkpoint: float,
        observe: Observe,
    ) -> None:
        from deepbase.engine.base import RunState
        from deepbase.engine.driver import drive

        state, seconds = RunState(), 0.0
        if saved is not None:
            state, seconds = RunState.from_bytes(saved.state, job.state_types, job.state_device), saved.seconds
        drive(
            job,
            self.store,
            run,
            state,
            dataset_fingerprint=facts["dataset"],
            seconds=seconds,
            checkpoint=checkpoint,
            observe=observe,
        )

    def _forget(self, added: _Added) -> None:
        """Leave the database as it was before a request, unless its run has something to keep."""
        if not (added.names or added.hypotheses or added.run):
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
