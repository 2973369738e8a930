"""The command line: parse, one call, print.

Exit codes: 0; 1 with `Error: ...` on standard error for anything that went wrong; 2 for a command line that makes no
sense. No traceback is shown unless DEEPBASE_DEBUG is set.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deepbase import __version__
from deepbase.cli_options import (
    Guarded,
    NounGroup,
    ctrl_c_calls,
    format_option,
    loading_options,
    makes_database,
    reads_database,
)

if TYPE_CHECKING:
    from deepbase.database import Database

NOT_OF_THE_RUN = {"resume", "out", "top", "form", "db", "checkpoint"}
"""The options of `inspect` that a resumed run takes."""


@click.group(cls=Guarded, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="deepbase")
def main() -> None:
    """A database for neural network inspection.

    Which units of which models behave like which human hypotheses, on this data?

    \b
    deepbase demo                                       see what it does, in a minute
    deepbase inspect MODEL DATA -H is_capitalized       score every unit
    deepbase sql "SELECT * FROM scores"                 ask about what was found
    """


@main.command(short_help="Score units of models against hypotheses.")
@click.argument("model", required=False)
@click.argument("dataset", required=False)
@click.option(
    "-H",
    "--hypothesis",
    "hypotheses",
    multiple=True,
    metavar="HYPOTHESIS",
    help="A name, a glob, a column, column=value, SQL, or a Python file. Repeat it for more.",
)
@click.option(
    "-m",
    "--measure",
    "measures",
    multiple=True,
    default=["pearson"],
    show_default=True,
    metavar="MEASURE",
    help="A statistic of affinity, such as pearson or 'cohens_d(unbiased := true)', or file.py:Name for your own. "
    "Repeat it for more.",
)
@click.option("--layers", multiple=True, metavar="GLOB", help="Module paths  [default: block outputs, MLP neurons].")
@click.option("--unit", "units", multiple=True, type=click.IntRange(0), metavar="N",
              help="A unit to score, in every layer  [default: all]. Repeat it for more.")  # fmt: skip
@click.option("--group-by", multiple=True, metavar="COLUMN",
              help="Scores for each value of a column of the records or models. Repeat it for more.")  # fmt: skip
@click.option("--at", type=click.Choice(["token", "word", "record"]), default="token", show_default=True,
              help="What a symbol is.")  # fmt: skip
@click.option("--behavior", type=click.Choice(["value", "abs", "derivative"]), default="value", show_default=True,
              help="What of a unit is compared.")  # fmt: skip
@click.option("--where", metavar="SQL", help="Which records to read: a condition on the dataset's columns.")
@click.option("--records", type=click.IntRange(1), metavar="N", help="How many records to read at most, at random.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="S", help="How long to read at most.")
@click.option("--exact", is_flag=True, help="Read every record, instead of stopping when the answer is settled.")
@click.option("--error", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.01, show_default=True,
              metavar="WIDTH", help="Stop when half the width of every interval is at most this.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0), metavar="X",
              help="Stop when it is settled which scores are stronger than this, instead.")  # fmt: skip
@click.option("--ties", type=click.FloatRange(0), metavar="WIDTH",
              help="How close scores may be that need not be told apart  [default: that of --error].")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0.5, 1, max_open=True), default=0.95, show_default=True,
              metavar="SHARE", help="Of intervals, and of what is settled.")  # fmt: skip
@click.option("--population", is_flag=True,
              help="Intervals about what the records are a sample of, instead of about the dataset.")  # fmt: skip
@click.option("--window", is_flag=True, help="Read long records in overlapping windows instead of cutting them.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Of the random order of the records.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N",
              help="Sequences per forward.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="A torch device; auto is an accelerator or the CPU.")
@click.option("--memory", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True, metavar="GB",
              help="For what measures keep of the data; the rest goes to disk, or into counts.")  # fmt: skip
@click.option("--text", metavar="COLUMN", help="The dataset's column of texts.")
@loading_options
@click.option("--checkpoint", type=click.FloatRange(0), default=5.0, show_default=True, metavar="SECONDS",
              help="Write what the run has, at most this often.")  # fmt: skip
@click.option("--resume", type=int, metavar="RUN", help="Go on with a run that was interrupted or failed.")
@click.option("--out", type=click.Path(path_type=Path), help="Write all scores: .parquet, .csv, .json or .jsonl.")
@click.option("--top", type=click.IntRange(1), metavar="N",
              help="How many units to print per hypothesis  [default: 5 in a table, else all]. Where it is given, stop "
              "when it is settled which they are.")  # fmt: skip
@format_option
@makes_database
def inspect(
    database: Database,
    *,
    out: Path | None,
    top: int | None,
    form: str,
    resume: int | None,
    checkpoint: float,
    tokenizer: str | None,
    units: tuple[int, ...],
    **request: Any,
) -> None:
    """Score the units of MODEL against hypotheses over DATASET.

    MODEL is a registered name, a glob over registered names, a Hugging Face directory or hub id, or file.py:name.
    DATASET is a registered name, a .txt .csv .tsv .jsonl .parquet or .conllu file, or a DuckDB query. What is not
    registered yet is registered.

    \b
    deepbase inspect path/to/model reviews.csv -H is_negation -H label
    deepbase inspect minilm ewt -H 'upos=*' -m cohens_d --layers 'encoder.layer.3*' --at word
    deepbase inspect minilm ewt -H 'length(word) > 6' -H mine.py --out scores.parquet
    deepbase inspect 'step-*' ewt -H 'upos=*' --group-by epoch --group-by genre
    """
    from deepbase.inspection import check_output
    from deepbase.report.terminal import progress_bar, show_scores

    _check_request(request, resume)
    if out is not None:
        check_output(out)
    with progress_bar() as progress:
        if resume is not None:
            found = database.inspect(resume=resume, checkpoint=checkpoint, progress=progress)
        else:
            found = database.inspect(
                **request, units=units or None, top=top, tokenize=tokenizer, checkpoint=checkpoint, progress=progress
            )
    if out is not None:
        found.write(out)
    show_scores(found, form, top)


def _check_request(request: dict[str, Any], resume: int | None) -> None:
    context = click.get_current_context()
    if resume is None:
        needless = context.get_parameter_source("measures") is ParameterSource.COMMANDLINE  # facts of units need none
        if not (request["model"] and request["dataset"] and (request["hypotheses"] or needless)):
            raise click.UsageError("give a MODEL, a DATASET and at least one -H, or --resume RUN", context)
        return
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in NOT_OF_THE_RUN:
            what = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
            raise click.UsageError(f"a resumed run is what it was: leave {what} out", context)


@main.command(short_help="Run SQL on the database.")
@click.argument("query", required=False)
@click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the SQL here.")
@format_option
@makes_database
def sql(database: Database, query: str | None, file: Path | None, form: str) -> None:
    """Run SQL on the database and print what it gives; '-' reads the SQL from standard input.

    It may be several statements: all that DuckDB knows, the INSPECT clause, and CREATE MODEL and its kin. The tables
    are models, layers, units, datasets, inputs, hypotheses, runs and scores, and the virtual ones symbols, activations,
    unit_activations and hypothesis_values; Python hypotheses are functions.

    \b
    deepbase sql "SELECT layer, unit, unit_score FROM scores ORDER BY abs(unit_score) DESC LIMIT 10"
    deepbase sql "FROM unit_activations('minilm', 'reviews', 'encoder.layer.3', 17) LIMIT 10"
    deepbase sql -f questions.sql
    """
    from deepbase.report.terminal import show_relation

    if (query is None) == (file is None):
        raise click.UsageError("give a QUERY, '-', or -f FILE", click.get_current_context())
    text = file.read_text("utf-8") if file else sys.stdin.read() if query == "-" else str(query)
    shown = False
    with ctrl_c_calls(database.interrupter()):
        for relation in _answers(database, text):
            if relation is not None:
                if shown:
                    print()
                show_relation(relation, form)
                shown = True


def _answers(database: Database, text: str) -> Iterator[Any]:
    """What the statements of a script give, with a bar while one of them inspects."""
    from deepbase.inspect_sql import has_inspect
    from deepbase.report.terminal import progress_bar

    watching: list[Any] = [None]
    answers = database.script(
        text, progress=lambda p: watching[0](p) if watching[0] else None, tell=lambda what: click.echo(what, err=True)
    )
    while True:
        with progress_bar() if has_inspect(text) else nullcontext() as watching[0]:
            try:
                relation = next(answers)
            except StopIteration:
                return
        yield relation


@main.command(short_help="Show the plan of a query.")
@click.argument("query")
@reads_database
def explain(database: Database, query: str) -> None:
    """Show what a QUERY would do, and what that would cost, without doing it; '-' reads it from standard input.

    \b
    deepbase explain "SELECT S.unit INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
                      FROM units U, hypotheses H, inputs D WHERE U.layer = 'encoder.layer.3'"
    """
    click.echo(database.explain(sys.stdin.read() if query == "-" else query))


def _group(name: str, noun: str, none: str) -> click.Group:
    """The commands that all registered things share: list and remove."""

    @main.group(name, cls=NounGroup, help=f"List {name}, or show{'' if noun == 'run' else ', add'} or remove one.")
    def group() -> None:
        pass

    @group.command("list", help=f"List the {name}; what `deepbase {name}` does alone.")
    @format_option
    @reads_database
    def list_(database: Database, form: str) -> None:
        from deepbase.report.terminal import show
        from deepbase.statements import list_query

        relation = database.relation(list_query(database, name.upper()))
        rows = relation.fetchall()
        show(relation.columns, rows, form)
        if not rows:
            click.echo(none, err=True)

    @group.command(help=f"Forget a {noun}{' and its scores' if noun == 'run' else ''}.")
    @click.argument(noun, type=int if noun == "run" else str)
    @reads_database
    def remove(database: Database, **name: Any) -> None:
        database.remove(noun, name[noun])  # type: ignore[arg-type]
        click.echo(f"removed {noun} {name[noun]}", err=True)

    return group


models = _group("models", "model", "No models yet: deepbase models add NAME SOURCE")
datasets = _group("datasets", "dataset", "No datasets yet: deepbase datasets add NAME FILE")
hypotheses = _group(
    "hypotheses",
    "hypothesis",
    "No hypotheses of your own yet; DeepBase brings those of: deepbase hypotheses library",
)
measures = _group("measures", "measure", "")
runs = _group("runs", "run", "No runs yet: deepbase inspect MODEL DATASET -H HYPOTHESIS")


@models.command("add", short_help="Register a model.")
@click.argument("name")
@click.argument("source")
@loading_options
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A column of your own, such as epoch=3.")
@click.option("--replace", is_flag=True, help="Take the place of another model of this name.")
@makes_database
def add_model(
    database: Database, name: str, source: str, tokenizer: str, tags: tuple[str, ...], **options: Any
) -> None:
    """Register a model under a NAME.

    SOURCE is a Hugging Face directory or hub id, or file.py:name, where name() returns a deepbase.Model.
    """
    from deepbase.statements import model_told

    row = database.register_model(name, source, tokenize=tokenizer, tags=dict(map(_tag, tags)), **options)
    click.echo(model_told(row), err=True)


@models.command("show", short_help="Show the layers of a model.")
@click.argument("model")
@format_option
@reads_database
def show_model(database: Database, model: str, form: str) -> None:
    """Show the layers of a model as a tree, with their widths and kinds."""
    from deepbase.report.terminal import show, show_layers

    row = database.model(model)
    if form == "table":
        show_layers(model, row.layers, f"{row.architecture}, {row.parameters:,} parameters, {row.fingerprint[:12]}")
    else:
        layers = [(x.layer, x.layer_index, x.width, x.kind) for x in row.layers]
        show(["layer", "layer_index", "width", "kind"], layers, form)


@datasets.command("add", short_help="Register a dataset.")
@click.argument("name")
@click.argument("source")
@click.option("--text", metavar="COLUMN", help="The column of texts.")
@click.option("--replace", is_flag=True, help="Take the place of another dataset of this name.")
@makes_database
def add_dataset(database: Database, name: str, source: str, text: str | None, replace: bool) -> None:
    """Register a dataset under a NAME: SOURCE is read once, into a table of the database.

    SOURCE is a .txt .csv .tsv .jsonl .parquet or .conllu file, or a DuckDB query.
    """
    from deepbase.statements import dataset_told

    click.echo(dataset_told(database.register_dataset(name, source, text=text, replace=replace)), err=True)


@datasets.command("show", short_help="Show the columns of a dataset.")
@click.argument("dataset")
@format_option
@reads_database
def show_dataset(database: Database, dataset: str, form: str) -> None:
    """Show the columns of a dataset that hypotheses can be made of."""
    from deepbase.report.terminal import show

    row = database.dataset(dataset)
    click.echo(f"{dataset}: {row.records:,} records from {row.source}", err=True)
    rows = [(c.name, c.level, c.kind, _some(c.values) if form == "table" else c.values) for c in row.columns]
    show(["column", "level", "kind", "values"], rows, form)


@hypotheses.command("add", short_help="Register hypotheses.")
@click.argument("source")
@click.option("--name", help="What to call it, if it is one.")
@click.option("--replace", is_flag=True, help="Take the place of other hypotheses of the same names.")
@makes_database
def add_hypotheses(database: Database, source: str, name: str | None, replace: bool) -> None:
    """Register hypotheses: a Python file, file.py:name, or an SQL expression over the columns of the symbols.

    \b
    deepbase hypotheses add mine.py
    deepbase hypotheses add "length(word) > 6" --name long_word
    """
    from deepbase.statements import hypotheses_told

    for told in hypotheses_told(database.register_hypotheses(source, name=name, replace=replace), source):
        click.echo(told, err=True)


@hypotheses.command("show", short_help="Show what is known of a hypothesis.")
@click.argument("hypothesis")
@format_option
@reads_database
def show_hypothesis(database: Database, hypothesis: str, form: str) -> None:
    """Show what is known of a hypothesis, registered or shipped with DeepBase."""
    from deepbase.report.terminal import show_facts

    show_facts(vars(database.hypothesis(hypothesis)), form)


@hypotheses.command("library", short_help="List the hypotheses that DeepBase brings along.")
@format_option
def library(form: str) -> None:
    """List the hypotheses that DeepBase brings along, which need no registering."""
    from deepbase.labels.sources import library as shipped
    from deepbase.report.terminal import show

    show(["hypothesis", "kind", "description"], [(h.name, h.kind, h.description) for h in shipped().values()], form)


@measures.command("add", short_help="Register measures of your own.")
@click.argument("source")
@click.option("--replace", is_flag=True, help="Take the place of other measures of the same names.")
@makes_database
def add_measures(database: Database, source: str, replace: bool) -> None:
    """Register measures of your own: a Python file, or file.py:Name. An inspection that names them does so by itself.

    \b
    deepbase measures add my_measures.py
    deepbase inspect minilm ewt -H 'upos=*' -m my_measures.py:Covariance
    """
    from deepbase.statements import measures_told

    for told in measures_told(database.register_measures(source, replace=replace)):
        click.echo(told, err=True)


@measures.command("show", short_help="Show what is known of a measure.")
@click.argument("measure")
@format_option
@reads_database
def show_measure(database: Database, measure: str, form: str) -> None:
    """Show what is known of a measure, your own or one that DeepBase brings along."""
    from deepbase.report.terminal import show_facts

    show_facts(database.measure(measure), form)


@runs.command("show", short_help="Show everything that is known of a run.")
@click.argument("run", type=int)
@format_option
@reads_database
def show_run(database: Database, run: int, form: str) -> None:
    """Show everything that is known of a run."""
    from deepbase.report.terminal import show_facts

    show_facts(database.run(run), form)


@main.command(short_help="See DeepBase at work on a small model of SQL.")
@click.option("--db", default="deepbase-demo.duckdb", show_default=True, metavar="FILE", help="Where to leave it.")
@click.option("--records", type=click.IntRange(1), default=4096, show_default=True, help="How many queries to sample.")
def demo(db: str, records: int) -> None:
    """Inspect a small model of SQL that comes with DeepBase: the running example of the paper."""
    from deepbase.demo.run import run_demo

    run_demo(db, records)


@main.command(short_help="Check that this installation computes what it should.")
def selftest() -> None:
    """Plant concepts in a small module and check that they are found, with their exact scores."""
    from deepbase.selftest import run_selftest

    for line in run_selftest():
        click.echo(line)


def _tag(text: str) -> tuple[str, Any]:
    """A tag and its value: a number where it is written as one."""
    key, equals, value = text.partition("=")
    if not key.strip() or not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--tag")
    if re.fullmatch(r"[+-]?(0|[1-9]\d{0,17})", value):
        return key, int(value)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?", value):
        return key, float(value)
    return key, value


def _some(values: tuple[str, ...] | None) -> str:
    if values is None:
        return ""
    return ", ".join(values[:20]) + (f", ... ({len(values)})" if len(values) > 20 else "")
