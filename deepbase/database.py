"""The database: what Python users hold, and what the command line calls.

A `Database` knows models, datasets and hypotheses by name, runs inspections over them, and answers SQL. Everything that
it does leaves plain tables in the file (`deepbase.sql`), which other programs can read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Self

import duckdb

from deepbase import catalog, runs, selections
from deepbase.blocks import Level, Padding
from deepbase.catalog import DatasetRow, HypothesisRow, ModelRow, Noun
from deepbase.dataset_registry import Datasets
from deepbase.duckdb_errors import bound
from deepbase.errors import QueryError
from deepbase.hypothesis_registry import Hypotheses
from deepbase.inspection import Inspection
from deepbase.measure_registry import Measures
from deepbase.model_registry import Models
from deepbase.parameters import Parameters
from deepbase.query.base import Behavior, InspectSpec
from deepbase.relation import Relation, translated
from deepbase.run_registry import Asked, Runs
from deepbase.script import Script
from deepbase.store import Store
from deepbase.tables.attach import Tables
from deepbase.tables.base import Source

if TYPE_CHECKING:
    import pyarrow as pa

    from deepbase.engine.base import Job, Progress

CHECKPOINT = 5.0
"""Seconds between the checkpoints of a run."""


class Database:
    """A DuckDB database with models, datasets, hypotheses and the scores of inspections.

    Args:
        path: the file; None, or `:memory:`, keeps everything in memory.
        read_only: open the file for reading only.
        create: make the file, or DeepBase's tables in it, where they are missing.

    Several threads may use one Database, and one process may open a file several times. During an inspection the file
    is free for other processes; so what is asked with `sql` then, or where several threads ask, is read at once instead
    of when it is used.

    Raises:
        CatalogError: if the file is locked, is no DuckDB database, or belongs to something else.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, read_only: bool = False, create: bool = True
    ) -> None:
        self.store = Store(path, read_only=read_only, create=create)
        self._models = Models(self.store)
        self._datasets = Datasets(self.store)
        self.hypotheses = Hypotheses(self.store)
        self.measures = Measures(self.store)
        self._runs = Runs(self.store, self._models, self._datasets, self.hypotheses, self.measures)
        self._tables = Tables(Source(self.store, lambda name: self._models.get(name)[1], self.hypotheses.load))
        self.store.prepare = self._tables.attach
        if not self.store.read_only:
            with self.store.transaction() as cursor:
                runs.mark_dead(cursor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Database {str(self.store.path or ':memory:')!r}>"

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    @property
    def made(self) -> bool:
        """Whether the file was made by this object."""
        return self.store.made

    def discard_if_unused(self) -> None:
        """Close the file, and delete it if it was made by this object and nothing was written to it."""
        self.store.discard_if_unused()

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
        options = {
            "tokenizer": tokenize,
            "padding": padding,
            "allow_pickle": allow_pickle,
            "trust_remote_code": trust_remote_code,
        }
        return self._models.register(name, source, options, tags=tags or {}, replace=replace)

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
            The names of those that are registered now.

        Raises:
            HypothesisError: if a hypothesis cannot be understood; then none of them is registered.
            CatalogError: if a name is taken by another hypothesis.
        """
        return self.hypotheses.register(source, name=name, replace=replace)

    def register_measures(self, source: Any, *, replace: bool = False) -> list[str]:
        """Register measures of one's own, which an inspection that uses them does by itself.

        Args:
            source: a Python file (`file.py`, or `file.py:Name`), a class under `deepbase.Measure`, or a list of these.
            replace: take the place of other measures of the same names.

        Returns:
            The names of those that are registered now.

        Raises:
            MeasureError: if a class does not keep the contract of a measure; then none of them is registered.
            CatalogError: if a name is taken by another measure.
        """
        return self.measures.register(source, replace=replace)

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
        return self.hypotheses.row(name)

    def measure(self, name: str) -> dict[str, Any]:
        """What is known of a measure, one's own or shipped with DeepBase."""
        return self.measures.facts(name)

    def run(self, run: int) -> dict[str, Any]:
        """The row of a run."""
        with self.store.session() as cursor:
            return runs.read(cursor, run)

    def remove(self, noun: Noun, name: str | int) -> None:
        """Forget a model, a dataset, a hypothesis, a measure of one's own, or a run with its scores.

        Raises:
            CatalogError: if there is no such thing, or the run is running.
        """
        with self.store.transaction() as cursor:
            if noun == "run":
                runs.remove(cursor, runs.number(name))
            else:
                catalog.remove(cursor, noun, str(name))

    def sql(
        self,
        query: str,
        parameters: Parameters = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> duckdb.DuckDBPyRelation | None:
        """Run SQL: all that DuckDB knows, the INSPECT clause, and CREATE MODEL and its kin.

        Args:
            query: of several statements, the last gives the result.
            parameters: values for the parameters of the last statement: a list for `?`, a mapping for `$name`.
            progress: called after every block of an inspection.
            tell: called with what a statement without an answer did, such as `registered model minilm: ...`.

        Returns:
            A relation, or None where the last statement gives no rows.

        Raises:
            DeepBaseError: if something that is named is not there, or a clause cannot be understood.
            duckdb.Error: what DuckDB says of its own SQL.
            RunInterrupted: on Ctrl-C during an inspection, which keeps what it had.
        """
        result = None
        for result in self.script(query, parameters, progress=progress, tell=tell):  # noqa: B007
            pass
        return result

    def script(
        self,
        query: str,
        parameters: Parameters = None,
        *,
        progress: Callable[[Progress], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Iterator[duckdb.DuckDBPyRelation | None]:
        """Run SQL statement by statement; see `sql`.

        Yields:
            What `sql` returns, for each statement.
        """
        return Script(self, progress or _ignore, tell or _ignore).run(query, parameters)

    def explain(self, query: str, parameters: Parameters = None) -> str:
        """The plan of a query with INSPECT as a tree for people, without running it; of other queries, DuckDB's plan.

        Raises:
            QueryError: if it is more than one statement, or cannot be understood.
        """
        return Script(self, _ignore, _ignore).explain(query, parameters)

    def relation(self, query: str, parameters: Parameters = None) -> Relation:
        """One statement as a relation; its rows are read when they are used, or at once if the file may be released."""
        self.hypotheses.load_called(query)
        while True:
            try:
                with translated():
                    return self._relation(query, parameters)
            except duckdb.CatalogException as error:
                if self.hypotheses.load_missing(error):
                    continue
                explained = self._tables.explained(error)
                if explained is None:
                    raise
                raise explained from error

    def _relation(self, query: str, parameters: Parameters) -> Relation:
        if not self.store.may_be_released:
            connection = self.store.connection
            self._tables.refresh(connection)
            return Relation.of(bound(connection, query, parameters), self)
        with self.store.session():
            cursor = self.store.cursor()  # stays open, because the relation needs it
            cursor.execute(f"USE {self.store.name}")
            found = self._tables.run(cursor, query, lambda: bound(cursor, query, parameters).materialize())
            cursor.execute("USE memory")
        return Relation.of(found, self)

    def keep(self, records: pa.RecordBatchReader) -> str:
        """Store the records that a query chooses, so that a run can read them; the id is for `InspectSpec.selection`.

        Args:
            records: with the columns `record` and `groups`.
        """
        with self.store.transaction() as cursor:
            return selections.add(cursor, records)

    def start(self, spec: InspectSpec, observe: Callable[[Progress], None]) -> int:
        """Run an inspection that a query asks for.

        Returns:
            The number of its run.
        """
        return self._runs.begin(Asked.of_spec(spec), checkpoint=CHECKPOINT, observe=observe)

    def plan(self, asked: InspectSpec | Mapping[str, Any], run: int = 0) -> str:
        """The plan of an inspection, with what became of it in a run.

        Args:
            asked: what a query asks for, or the arguments of `inspect`.
            run: the number of its run; 0 if there was none.
        """
        if isinstance(asked, InspectSpec):
            return self._runs.trial(Asked.of_spec(asked), partial(self._planned, run))
        given = signature(self.inspect).bind(**asked)
        given.apply_defaults()
        return self._runs.trial(Asked.of(given.arguments), partial(self._planned, run))

    def _planned(self, run: int, job: Job) -> str:
        from deepbase.engine.estimate import estimate
        from deepbase.report.plan import Happened, plan_text

        happened = None
        with self.store.session() as cursor:
            rows = self.hypotheses.rows_of(job.scored)
            if run:
                happened = Happened(runs.read(cursor, run), runs.tally(cursor, run))
        return plan_text(job, rows, estimate(job, self.store.session), happened)

    def interrupter(self) -> Callable[[], None]:
        """What ends the query that this thread is about to run, called from another thread."""
        return self.store.connection.interrupt

    def inspect(
        self,
        model: Any = None,
        dataset: Any = None,
        hypotheses: Any = (),
        measures: Any = ("pearson",),
        *,
        layers: str | Sequence[str] = (),
        units: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
        group_by: str | Sequence[str] = (),
        at: Level = "token",
        behavior: Behavior = "value",
        where: str | None = None,
        records: int | None = None,
        seconds: float | None = None,
        exact: bool = False,
        error: float = 0.01,
        confidence: float = 0.95,
        threshold: float | None = None,
        top: int | None = None,
        ties: float | None = None,
        population: bool = False,
        window: bool = False,
        seed: int = 0,
        batch_size: int = 32,
        device: str = "auto",
        memory: float = 2.0,
        tokenize: Any = None,
        text: str | None = None,
        padding: Padding | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        resume: int | None = None,
        checkpoint: float = CHECKPOINT,
        progress: Callable[[Progress], None] | None = None,
    ) -> Inspection:
        """Score units against hypotheses, in one pass over the records.

        Args:
            model: a registered name, a glob over registered names, anything that `register_model` takes, or a list of
                these; all models read the same records.
            dataset: a registered name, or anything that `register_dataset` takes.
            hypotheses: registered names, globs, columns, `column=value`, SQL, Python files or functions.
            measures: names of measures, or calls such as `cohens_d(unbiased := true)`; of one's own, `file.py:Name`,
                a class or an instance.
            layers: globs over module paths; without, block outputs and MLP neurons.
            units: the units to score: numbers that hold for every layer, or numbers by layer (or glob); all without.
            group_by: columns of the dataset with one value a record, or of `models`, `layers` or `hypotheses`; each
                group of their values gets scores of its own, whose `slice` tells the values.
            at: what a symbol is: `token`, `word` or `record`.
            behavior: what of a unit is compared: `value`, `abs` or `derivative`.
            where: an SQL predicate over the columns of the dataset, as `genre` or `inputs.genre`.
            records: how many records to read at most; they are a random sample.
            seconds: how long to go on reading at most. The run ends with a block, the first at the earliest.
            exact: read every record that is asked for. Without, the run stops when what is asked is settled.
            error: the half width that the interval of a score may have at most; where scores are in the scale of the
                unit, in its standard deviations.
            confidence: of intervals, and of what is settled.
            threshold: settle only whether each score is stronger than this, instead of how strong it is.
            top: settle only which are the so many strongest units of each hypothesis, measure and slice.
            ties: how close to the threshold, or to each other, scores may be that need not be told apart; `error` if it
                is not given, 0 to read on to the last record.
            population: intervals about the source that the records of the dataset are a sample of, instead of about the
                dataset; they do not end when all of it was read.
            window: read records that exceed the model's context in overlapping windows instead of cutting them.
            seed: of the random order of the records.
            batch_size: how many sequences go through the model together.
            device: `auto`, or a torch device.
            memory: gigabytes for what measures keep of the data: beyond it, activations go to disk, and measures of
                order count in bins, with an error that `note` states.
            tokenize, padding, allow_pickle, trust_remote_code: of a model that is not registered.
            text: the column of texts of a dataset that is not registered.
            resume: go on with this run, which was interrupted or failed; it is what it was, so nothing else is given.
            checkpoint: the least number of seconds after which the run writes what it has; 0 after every block. It
                writes less often where that would take more than a few percent of its time.
            progress: called after every block.

        Returns:
            What was found; it is in the tables `runs` and `scores` as well.

        Raises:
            DeepBaseError: if something that is named is not there, or does not work.
            RunInterrupted: on Ctrl-C. The run keeps what it had and can be resumed.
        """
        arguments = {name: value for name, value in locals().items() if name != "self"}
        observe = progress or _ignore
        if resume is not None:
            if model is not None or dataset is not None or hypotheses not in ((), None):
                raise QueryError("a resumed run has its model, dataset and hypotheses", "Give only the run.")
            self._runs.resume(resume, checkpoint=checkpoint, observe=observe)
            return Inspection(self, resume)
        if model is None or dataset is None:
            raise QueryError("an inspection needs a model and a dataset", "Name both, or a run to resume.")
        begun = self._runs.begin(Asked.of(arguments), checkpoint=checkpoint, observe=observe)
        return Inspection(self, begun)


def _ignore(_: object) -> None:
    pass
