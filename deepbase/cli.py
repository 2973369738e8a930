"""The command line: parse, one call, print.

Exit codes: 0; 1 with `Error: ...` on standard error for anything that went wrong; 2 for a command line that makes no
sense. No traceback is shown unless DEEPBASE_DEBUG is set.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepbase import __version__
from deepbase.errors import DeepBaseError

if TYPE_CHECKING:
    from deepbase.database import Database

Command = Callable[..., None]

DEFAULT_DATABASE = "deepbase.duckdb"
FORMATS = click.Choice(["table", "json", "csv"])


class Guarded(click.Group):
    """A group whose commands end in one line where they fail."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("DEEPBASE_DEBUG"):
                raise
            click.echo(f"Error: {_message(error)}", err=True)
            ctx.exit(1)


def _message(error: BaseException) -> str:
    run = getattr(error, "run", None)
    if isinstance(error, KeyboardInterrupt):
        if run is None:
            return "interrupted"
        return f"{error}. Go on with: deepbase inspect --resume {run}"
    if isinstance(error, DeepBaseError):
        return str(error)
    if type(error).__module__.startswith(("duckdb", "_duckdb")):
        return str(error).strip()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or ''}".rstrip(": ")
    kind = type(error).__name__
    return f"{kind}: {error}. This is a mistake in DeepBase; set DEEPBASE_DEBUG=1 to see where"


def database_option(command: Command) -> Command:
    """Open the database of `--db` and pass it on."""

    @click.option(
        "--db",
        default=DEFAULT_DATABASE,
        show_default=True,
        envvar="DEEPBASE_DB",
        show_envvar=True,
        metavar="FILE",
        help="The database file; ':memory:' keeps nothing.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, db: str, **kwargs: Any) -> None:
        import deepbase

        with deepbase.connect(db) as database:
            command(database, *args, **kwargs)

    return wrapped


def format_option(command: Command) -> Command:
    """How to print."""
    return click.option(
        "--format", "form", type=FORMATS, default="table", show_default=True, help="How to print the result."
    )(command)


def loading_options(command: Command) -> Command:
    """How to load a model."""
    for option in (
        click.option("--trust-remote-code", is_flag=True, help="Let code that comes with the weights run."),
        click.option("--allow-pickle", is_flag=True, help="Load weights that are pickles."),
        click.option("--padding", type=click.Choice(["right", "left", "none"]), help="The side to pad on."),
        click.option("--tokenizer", metavar="DIR", help="Where the model's tokenizer is, if elsewhere."),
    ):
        command = option(command)
    return command


@click.group(cls=Guarded, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="deepbase")
def main() -> None:
    """A database for neural network inspection.

    Which units of which models behave like which human hypotheses, on this data?
    """


@main.command()
@click.argument("model", required=False)
@click.argument("dataset", required=False)
@click.option(
    "-H", "--hypothesis", "hypotheses", multiple=True, help="A name, a glob, a column, SQL, or a Python file."
)
@click.option("-m", "--measure", "measures", multiple=True, default=["pearson"], show_default=True, help="A measure.")
@click.option("--layers", multiple=True, metavar="GLOB", help="Module paths [default: block outputs, MLP neurons].")
@click.option("--at", type=click.Choice(["token", "word", "record"]), default="token", show_default=True,
              help="What a symbol is.")  # fmt: skip
@click.option("--behavior", type=click.Choice(["value", "abs", "derivative"]), default="value", show_default=True,
              help="What of a unit is compared.")  # fmt: skip
@click.option("--where", metavar="SQL", help="Which records to read.")
@click.option("--records", type=click.IntRange(1), help="How many records to read at most, at random.")
@click.option("--exact", is_flag=True, help="Read every record that is asked for (always the case so far).")
@click.option("--window", is_flag=True, help="Read long records in overlapping windows instead of cutting them.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of the records.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Sequences per forward.")
@click.option("--device", default="auto", show_default=True, help="A torch device.")
@click.option("--text", metavar="COLUMN", help="The dataset's column of texts.")
@loading_options
@click.option("--out", type=click.Path(path_type=Path), help="Write all scores: .parquet, .csv, .json or .jsonl.")
@click.option("--top", type=click.IntRange(1), help="How many units to print per hypothesis [default: 5 in a table].")
@click.option("--resume", type=int, metavar="RUN", help="Go on with a run that was interrupted or failed.")
@format_option
@database_option
def inspect(
    database: Database,
    *,
    out: Path | None,
    top: int | None,
    form: str,
    resume: int | None,
    tokenizer: str | None,
    exact: bool,
    **request: Any,
) -> None:
    """Score every unit of MODEL against hypotheses over DATASET.

    MODEL is a registered name, a Hugging Face directory or hub id, or file.py:name. DATASET is a registered name, a
    .txt .csv .tsv .jsonl .parquet or .conllu file, or a DuckDB query.
    """
    from deepbase.report.terminal import progress_bar, show_scores

    given = click.get_current_context()
    if resume is None and not (request["model"] and request["dataset"] and request["hypotheses"]):
        raise click.UsageError("give a MODEL, a DATASET and at least one -H, or --resume RUN", given)
    if out is not None:
        from deepbase.database import check_output

        check_output(out)
    with progress_bar() as progress:
        if resume is not None:
            found = database.inspect(resume=resume, progress=progress)
        else:
            found = database.inspect(**request, tokenize=tokenizer, progress=progress)
    if out is not None:
        found.write(out)
    show_scores(found, form, top)


@main.command()
@click.argument("query", required=False)
@click.option("-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the SQL here.")
@format_option
@database_option
def sql(database: Database, query: str | None, file: Path | None, form: str) -> None:
    """Run SQL on the database; '-' reads it from standard input. Hypotheses are functions in it."""
    from deepbase.report.terminal import show_relation

    if (query is None) == (file is None):
        raise click.UsageError("give a QUERY, '-', or -f FILE", click.get_current_context())
    text = file.read_text("utf-8") if file else sys.stdin.read() if query == "-" else str(query)
    relation = database.sql(text)
    if relation is not None:
        show_relation(relation, form)


def _group(name: str, noun: str, columns: str) -> click.Group:
    """The commands that all registered things share: list and remove."""

    @main.group(name, cls=Guarded, help=f"List, show, add or remove {name}.")
    def group() -> None:
        pass

    @group.command("list", help=f"List the {name}.")
    @format_option
    @database_option
    def list_(database: Database, form: str) -> None:
        from deepbase.report.terminal import show_relation

        show_relation(database.sql(f"SELECT {columns} FROM {name} ORDER BY {noun}"), form)

    @group.command(help=f"Forget a {noun}.")
    @click.argument("name")
    @database_option
    def remove(database: Database, name: str) -> None:
        database.remove(noun, name)  # type: ignore[arg-type]
        click.echo(f"removed {noun} {name}", err=True)

    return group


models = _group("models", "model", "model, architecture, parameters, context, padding, source")
datasets = _group("datasets", "dataset", "dataset, records, source")
hypotheses = _group("hypotheses", "hypothesis", "hypothesis, kind, description, source")
runs = _group(
    "runs",
    "run",
    "run, started, status, spec->>'model' AS model, spec->>'dataset' AS dataset, records_seen, symbols_seen, "
    "round(seconds, 1) AS seconds, stopped_because",
)


@models.command("add")
@click.argument("name")
@click.argument("source")
@loading_options
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A column of your own, such as epoch=3.")
@click.option("--replace", is_flag=True, help="Take the place of another model of this name.")
@database_option
def add_model(
    database: Database, name: str, source: str, tokenizer: str, tags: tuple[str, ...], **options: Any
) -> None:
    """Register a model: a Hugging Face directory or hub id, or file.py:name."""
    row = database.register_model(name, source, tokenize=tokenizer, tags=dict(map(_tag, tags)), **options)
    units = sum(layer.width for layer in row.layers)
    click.echo(f"registered model {name}: {row.architecture}, {len(row.layers)} layers, {units:,} units", err=True)


@models.command("show")
@click.argument("name")
@format_option
@database_option
def show_model(database: Database, name: str, form: str) -> None:
    """Show the layers of a model as a tree, with their widths and kinds."""
    from deepbase.report.terminal import show, show_layers

    row = database.model(name)
    if form == "table":
        show_layers(name, row.layers, f"{row.architecture}, {row.parameters:,} parameters, {row.fingerprint[:12]}")
    else:
        layers = [(x.layer, x.layer_index, x.width, x.kind) for x in row.layers]
        show(["layer", "layer_index", "width", "kind"], layers, form)


@datasets.command("add")
@click.argument("name")
@click.argument("source")
@click.option("--text", metavar="COLUMN", help="The column of texts.")
@click.option("--replace", is_flag=True, help="Take the place of another dataset of this name.")
@database_option
def add_dataset(database: Database, name: str, source: str, text: str | None, replace: bool) -> None:
    """Register a dataset: a .txt .csv .tsv .jsonl .parquet or .conllu file, or a DuckDB query."""
    row = database.register_dataset(name, source, text=text, replace=replace)
    click.echo(f"registered dataset {name}: {row.records:,} records", err=True)


@datasets.command("show")
@click.argument("name")
@format_option
@database_option
def show_dataset(database: Database, name: str, form: str) -> None:
    """Show the columns of a dataset that hypotheses can be made of."""
    from deepbase.report.terminal import show

    row = database.dataset(name)
    rows = [(c.name, c.level, c.kind, _some(c.values)) for c in row.columns]
    click.echo(f"{name}: {row.records:,} records from {row.source}", err=True)
    show(["column", "level", "kind", "values"], rows, form)


@hypotheses.command("add")
@click.argument("source")
@click.option("--name", help="What to call it, if it is one.")
@click.option("--replace", is_flag=True, help="Take the place of other hypotheses of the same names.")
@database_option
def add_hypotheses(database: Database, source: str, name: str | None, replace: bool) -> None:
    """Register hypotheses: a Python file, file.py:name, or an SQL expression over the columns of the symbols."""
    for found in database.register_hypotheses(source, name=name, replace=replace):
        click.echo(f"registered hypothesis {found}", err=True)


@hypotheses.command("show")
@click.argument("name")
@format_option
@database_option
def show_hypothesis(database: Database, name: str, form: str) -> None:
    """Show what is known of a hypothesis."""
    from deepbase.report.terminal import show

    row = database.hypothesis(name)
    show(["property", "value"], list(vars(row).items()), form)


@hypotheses.command("library")
@format_option
def library(form: str) -> None:
    """List the hypotheses that DeepBase ships, which need no registering."""
    from deepbase.labels.sources import library as shipped
    from deepbase.report.terminal import show

    show(["hypothesis", "kind", "description"], [(h.name, h.kind, h.description) for h in shipped().values()], form)


@runs.command("show")
@click.argument("run", type=int)
@format_option
@database_option
def show_run(database: Database, run: int, form: str) -> None:
    """Show everything that is known of a run."""
    from deepbase.report.terminal import show

    show(["property", "value"], list(database.run(run).items()), form)


@main.command()
@click.option("--db", default="deepbase-demo.duckdb", show_default=True, metavar="FILE", help="Where to leave it.")
@click.option("--records", type=click.IntRange(1), default=4096, show_default=True, help="How many queries to sample.")
def demo(db: str, records: int) -> None:
    """Inspect a small model of SQL that comes with DeepBase: the running example of the paper."""
    from deepbase.demo.run import run_demo

    run_demo(db, records)


@main.command()
def selftest() -> None:
    """Plant concepts in a small module and check that they are found, with their exact scores."""
    from deepbase.selftest import run_selftest

    for line in run_selftest():
        click.echo(line)


def _tag(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--tag")
    for number in (int, float):
        try:
            return key, number(value)
        except ValueError:
            continue
    return key, value


def _some(values: tuple[str, ...] | None) -> str:
    if values is None:
        return ""
    return ", ".join(values[:20]) + (f", ... ({len(values)})" if len(values) > 20 else "")
