"""The database: what Python users hold, and what the command line calls.

A `Database` knows models, datasets and hypotheses by name, runs inspections over them, and answers SQL. Everything that
it does leaves plain tables in the file (`deepbase.sql`), which other programs can read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb

from deepbase import catalog, runs
from deepbase.blocks import Level, Padding
from deepbase.catalog import DatasetRow, HypothesisRow, ModelRow, Noun
from deepbase.dataset_registry import Datasets
from deepbase.errors import InspectionError, QueryError
from deepbase.hypothesis_registry import Hypotheses
from deepbase.model_registry import Models
from deepbase.query.base import Behavior, InspectSpec
from deepbase.store import Store

if TYPE_CHECKING:
    from deepbase.engine.base import Job, Progress

FINGERPRINTS = ("model", "dataset", "hypotheses")


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Attributes:
        database: the database that holds it.
        run_id: the number of the run.
    """

    database: Database
    run_id: int

    @property
    def scores(self) -> duckdb.DuckDBPyRelation:
        """The run's rows of `scores`, as a DuckDB relation: `.df()`, `.pl()`, `.to_arrow_table()`, and more SQL."""
        return self.database.store.connection.sql(f"SELECT * FROM scores WHERE run = {self.run_id}")

    @property
    def run(self) -> dict[str, Any]:
        """The run's row of `runs`."""
        return self.database.run(self.run_id)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the scores to a `.parquet`, `.csv`, `.json` or `.jsonl` file; it appears whole or not at all.

        Raises:
            InspectionError: if the file cannot be written.
        """
        target = Path(path)
        check_output(target)
        part = target.with_name(f".{target.name}.part")
        name = str(part).replace("'", "''")
        try:
            with self.database.store.session() as cursor:
                rows = f"SELECT * FROM scores WHERE run = {self.run_id}"
                cursor.execute(f"COPY ({rows}) TO '{name}' ({OUTPUTS[target.suffix.lower()]})")
            part.replace(target)
        except (duckdb.Error, OSError) as error:
            part.unlink(missing_ok=True)
            raise InspectionError(f"cannot write '{target}': {error}", "The scores are in the database.") from error


OUTPUTS = {
    ".parquet": "FORMAT parquet",
    ".csv": "FORMAT csv, HEADER",
    ".json": "FORMAT json, ARRAY true",
    ".jsonl": "FORMAT json",
}


def check_output(path: Path) -> None:
    """See whether a file could be written, before a run is spent on it.

    Raises:
        InspectionError: if not.
    """
    if path.suffix.lower() not in OUTPUTS:
        raise InspectionError(f"cannot write '{path}'", f"End its name with one of: {', '.join(OUTPUTS)}.")
    if not path.parent.is_dir():
        raise InspectionError(f"cannot write '{path}': there is no folder '{path.parent}'", "Make it first.")
    if path.is_dir():
        raise InspectionError(f"cannot write '{path}': it is a folder", "Name a file.")
    try:
        part = path.with_name(f".{path.name}.part")
        part.touch()
        part.unlink()
        if path.exists():
            path.open("r+b").close()
    except OSError as error:
        raise InspectionError(f"cannot write '{path}': {error.strerror}", "Choose another place.") from error


class Database:
    """A DuckDB database with models, datasets, hypotheses and the scores of inspections.

    Args:
        path: the file; None, or `:memory:`, keeps everything in memory.
        read_only: open the file for reading only.

    Raises:
        CatalogError: if the file is locked, is no DuckDB database, or belongs to something else.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> None:
        self.store = Store(path, read_only=read_only)
        self._models = Models(self.store)
        self._datasets = Datasets(self.store)
        self._hypotheses = Hypotheses(self.store)
        if not self.store.read_only:
            with self.store.transaction() as cursor:
                runs.mark_dead(cursor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def register_model(
        self,
        name: str,
        source: Any,
        *,
        tokenize: Any = None,
        tags: Mapping[str, Any] | None = None,
        padding: Padding | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        replace: bool = False,
    ) -> ModelRow:
        """Register a model: load it, run tiny forwards, and list the layers that can be inspected.

        Args:
            name: what queries will call it.
            source: a Hugging Face directory or hub id, `file.py:name` where `name()` returns a `deepbase.Model`, a
                `deepbase.Model`, or an `nn.Module` with its `tokenize`.
            tokenize: the tokenizer of an `nn.Module`; for a directory, where its tokenizer is, if elsewhere.
            tags: the user's own columns of `models`, such as `{"epoch": 3}`.
            padding: the side to pad on; by default what was found to change no behaviour.
            allow_pickle: allow weights that are pickles.
            trust_remote_code: allow code that comes with the weights to run.
            replace: take the place of another model of this name.

        Raises:
            ModelError: if it cannot be loaded or inspected.
            CatalogError: if the name is taken.
        """
        options = {"padding": padding, "allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
        return self._models.register(name, source, tokenize, options, tags=tags or {}, replace=replace)

    def register_dataset(self, name: str, source: Any, *, text: str | None = None, replace: bool = False) -> DatasetRow:
        """Register a dataset: read it once into a table of the database.

        Args:
            name: what queries will call it.
            source: a `.txt .csv .tsv .jsonl .parquet .conllu` file, a DuckDB query, an Arrow table, a DataFrame, or a
                list of texts.
            text: the column that holds the text, where it cannot be found.
            replace: take the place of another dataset of this name.

        Raises:
            DatasetError: if it cannot be read.
            CatalogError: if the name is taken.
        """
        return self._datasets.register(name, source, text=text, replace=replace)

    def register_hypotheses(self, source: Any, *, name: str | None = None, replace: bool = False) -> list[str]:
        """Register hypotheses.

        Args:
            source: a Python file (`file.py`, or `file.py:name`), a function, an SQL expression over the columns of the
                symbols, the name of an annotation column (which needs no registering), or a list of these.
            name: what to call the hypothesis, if it is one.
            replace: take the place of other hypotheses of the same names.

        Returns:
            The names.

        Raises:
            HypothesisError: if a hypothesis cannot be understood.
            CatalogError: if a name is taken by another hypothesis.
        """
        return self._hypotheses.register(source, name=name, replace=replace)

    def model(self, name: str) -> ModelRow:
        """The catalog's row of a model, with its layers."""
        with self.store.session() as cursor:
            return catalog.model(cursor, name)

    def dataset(self, name: str) -> DatasetRow:
        """The catalog's row of a dataset."""
        with self.store.session() as cursor:
            return catalog.dataset(cursor, name)

    def hypothesis(self, name: str) -> HypothesisRow:
        """The row of a hypothesis, registered or shipped with DeepBase."""
        return self._hypotheses.row(name)

    def run(self, run: int) -> dict[str, Any]:
        """The row of a run."""
        with self.store.session() as cursor:
            return runs.read(cursor, run)

    def remove(self, noun: Noun, name: str) -> None:
        """Forget a model, a dataset, a hypothesis, or a run with its scores.

        Raises:
            CatalogError: if there is no such thing.
        """
        with self.store.transaction() as cursor:
            catalog.remove(cursor, noun, name)

    def sql(self, query: str, parameters: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation | None:
        """Run SQL. Python hypotheses that the query names are loaded and callable in it.

        Args:
            query: any SQL of DuckDB.
            parameters: values for its `?`.

        Returns:
            A relation, or None for a statement without rows.
        """
        self._hypotheses.load([query])
        return self.store.connection.sql(query, params=parameters)

    def inspect(
        self,
        model: Any = None,
        dataset: Any = None,
        hypotheses: Any = (),
        measures: str | Sequence[str] = ("pearson",),
        *,
        layers: str | Sequence[str] = (),
        at: Level = "token",
        behavior: Behavior = "value",
        where: str | None = None,
        records: int | None = None,
        exact: bool = True,
        window: bool = False,
        seed: int = 0,
        batch_size: int = 32,
        device: str = "auto",
        resume: int | None = None,
        progress: Callable[[Progress], None] | None = None,
        **options: Any,
    ) -> Inspection:
        """Score every unit against every hypothesis, in one pass over the records.

        Args:
            model: a registered name, or anything that `register_model` takes.
            dataset: a registered name, or anything that `register_dataset` takes.
            hypotheses: registered names, globs, columns, `column=value`, SQL, Python files or functions.
            measures: names of measures.
            layers: globs over module paths; without, block outputs and MLP neurons.
            at: what a symbol is: `token`, `word` or `record`.
            behavior: what of a unit is compared: `value`, `abs` or `derivative`.
            where: an SQL predicate over the columns of the dataset.
            records: how many records to read at most; they are a random sample.
            exact: read every record that is asked for. It is the only way there is, so it has to be True.
            window: read records that exceed the model's context in overlapping windows instead of cutting them.
            seed: of the random order of the records.
            batch_size: how many sequences go through the model together.
            device: `auto`, or a torch device.
            resume: go on with this run, which was interrupted or failed, instead; nothing else is to be given then.
            progress: called after every block.
            options: for a model or dataset that is not registered: `tokenize`, `text`, `padding`, `allow_pickle`,
                `trust_remote_code`.

        Returns:
            What was found; it is in the tables `runs` and `scores` as well.

        Raises:
            DeepBaseError: if something that is named is not there, or does not work.
            RunInterrupted: on Ctrl-C. The run keeps what it had and can be resumed.
        """
        observe = progress or (lambda _: None)
        if resume is not None:
            return self._resume(resume, observe)
        if model is None or dataset is None:
            raise QueryError("an inspection needs a model and a dataset", "Name both, or a run to resume.")
        if not exact:
            raise QueryError("a run cannot stop early: it reads every record", "Leave exact out, or limit records.")
        added: list[tuple[Noun, str]] = []
        run = None
        try:
            text = options.pop("text", None)
            names, new_names = self._hypotheses.adopt(hypotheses)
            added += [("hypothesis", n) for n in new_names]
            spec = InspectSpec(
                model="",
                dataset="",
                hypotheses=tuple(names),
                measures=_several(measures),
                layers=_several(layers),
                at=at,
                behavior=behavior,
                where=where or "",
                records=records,
                window=window,
                seed=seed,
                batch_size=batch_size,
                device=device,
            )
            dataset_name, new = self._datasets.find(dataset, text=text)
            added += [("dataset", dataset_name)] if new else []
            model_name, new = self._models.find(model, options)
            added += [("model", model_name)] if new else []
            job, facts = self._bind(replace(spec, model=model_name, dataset=dataset_name))
            with self.store.transaction() as cursor:
                run = runs.start(cursor, {**job.spec.as_json(), "fingerprints": facts}, seed)
            return self._drive(job, run, None, 0.0, observe)
        except BaseException:
            self._forget(added, run)
            raise

    def _forget(self, added: list[tuple[Noun, str]], run: int | None) -> None:
        """Leave the database as it was before a request, unless its run was kept."""
        if not added:
            return
        with self.store.transaction() as cursor:
            if str(run) not in catalog.names(cursor, "run"):
                for noun, name in added:
                    catalog.remove(cursor, noun, name)

    def _bind(self, spec: InspectSpec) -> tuple[Job, dict[str, Any]]:
        """A job, and the fingerprints of all that goes into it."""
        from deepbase.engine.binding import bind_job

        row, model = self._models.get(spec.model)
        with self.store.session() as cursor:
            dataset = catalog.dataset(cursor, spec.dataset)
            known = self._hypotheses.load(spec.hypotheses)
            workspace = self.store.connection.cursor()
            job = bind_job(spec, model, dataset, known, connection=cursor, workspace=workspace)
        labels = {x.name: x.fingerprint for x in job.labels.labels}
        return job, {"model": row.fingerprint, "dataset": dataset.fingerprint, "hypotheses": labels}

    def _resume(self, run: int, observe: Callable[[Progress], None]) -> Inspection:
        from deepbase.engine.base import RunState

        with self.store.session() as cursor:
            row = runs.read(cursor, run)
            saved = runs.checkpoint(cursor, run)
        if row["status"] == "done":
            raise InspectionError(f"run {run} is done, there is nothing to resume", "Look at its scores.")
        if row["status"] == "running":
            raise InspectionError(f"run {run} is still running in {row['process']}", "Wait for it, or stop it.")
        job, facts = self._bind(InspectSpec.from_json(row["spec"]))
        for what in FINGERPRINTS:
            if facts[what] != row["spec"]["fingerprints"][what]:
                raise InspectionError(
                    f"run {run} cannot be resumed: its {what} changed since it began", "Start a new run."
                )
        state = None if saved is None else RunState.from_bytes(saved, job.state_types, job.model.device)
        with self.store.transaction() as cursor:
            runs.restart(cursor, run)
        return self._drive(job, run, state, row["seconds"] if state else 0.0, observe)

    def _drive(self, job: Job, run: int, state: Any, seconds: float, observe: Callable[[Progress], None]) -> Inspection:
        from deepbase.engine.base import RunState
        from deepbase.engine.driver import drive

        drive(job, self.store, run, state or RunState(), seconds=seconds, observe=observe)
        return Inspection(self, run)


def _several(values: str | Sequence[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)
