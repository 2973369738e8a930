"""Scores and catalog rows in a terminal, and as JSON or CSV for other programs.

Results go to standard output; progress and remarks go to standard error, and progress only where that is a terminal.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from deepbase.blocks import Layer
    from deepbase.database import Inspection
    from deepbase.engine.base import Progress as RunProgress

TABLE_ROWS = 1000
PLAIN_WIDTH = 160
COUNTS = {
    "records_cut": "records cut at the model's context",
    "symbols_cut": "symbols lost by that",
    "records_empty": "records without symbols",
    "symbols_without_word": "symbols that touch no word",
    "words_without_symbol": "words that no symbol touches",
}


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=False)


def show(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> None:
    """Print rows as a table, as a JSON array of objects, or as CSV."""
    if form == "json":
        _json(columns, rows)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        _table(columns, iter(rows))


def show_relation(relation: Any, form: str) -> None:
    """Print a DuckDB relation."""
    show(relation.columns, _rows(relation), form)


def _json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    start = "[\n"
    for row in rows:
        print(start + json.dumps(dict(zip(columns, row, strict=True)), default=str, ensure_ascii=False), end="")
        start = ",\n"
    print("[]" if start == "[\n" else "\n]")


def _table(columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = list(islice(rows, TABLE_ROWS))
    for i, column in enumerate(columns):
        number = any(isinstance(r[i], int | float) and not isinstance(r[i], bool) for r in shown)
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold")
    for row in shown:
        table.add_row(*(Text(_cell(v)) for v in row))
    console().print(table)
    if next(rows, None) is not None:
        print(f"... only the first {TABLE_ROWS} rows are shown; --format csv and --format json give all")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 300 else text[:297] + "..."


def show_layers(model: str, layers: Sequence[Layer], facts: str) -> None:
    """Print the tree of a model's layers, with their widths and kinds."""
    tree = Tree(Text(f"{model}  {facts}"))
    branches: dict[str, Tree] = {"": tree}
    known = {layer.layer: layer for layer in layers}
    for path in _in_tree_order(known):
        parent, _, name = path.rpartition(".")
        layer = known.get(path)
        label = Text(name)
        if layer is not None:
            label.append(f"  {layer.width}", style="cyan")
            label.append(f"  {layer.kind}", style="dim" if layer.kind == "other" else "green")
        branches[path] = branches[parent].add(label)
    console().print(tree)


def _in_tree_order(paths: Iterable[str]) -> list[str]:
    """All paths and their ancestors, parents first, siblings in the order of the numbers in their names."""
    every = {".".join(p.split(".")[: i + 1]) for p in paths for i in range(p.count(".") + 1)}
    return sorted(every, key=lambda p: [(s.isdigit(), int(s) if s.isdigit() else 0, s) for s in p.split(".")])


def show_scores(found: Inspection, form: str, top: int | None) -> None:
    """Print the strongest units of each hypothesis and measure, or all scores in the formats for programs."""
    if form == "table":
        show(*best_units(found, 5 if top is None else top), form)
        for line in remarks(found):
            print(line, file=sys.stderr)
        return
    columns, rows = best_units(found, top or 0)
    show(columns, rows, form)


def best_units(found: Inspection, top: int) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The `top` strongest units of each hypothesis and measure, the strongest first; 0 for all, with those without."""
    columns = ["hypothesis", "measure", "layer", "unit", "unit_score", "symbols", "records"]
    rank = "row_number() OVER (PARTITION BY measure, hypothesis ORDER BY abs(unit_score) DESC NULLS LAST, layer, unit)"
    if top:
        condition = f"unit_score IS NOT NULL QUALIFY {rank} <= {int(top)}"
    else:
        columns = ["model", *columns, "note"]
        condition = "true"
    relation = found.scores.query(
        "found",
        f"SELECT {', '.join(columns)} FROM found WHERE {condition} "
        f"ORDER BY list_position({_sql_list(found.run['spec']['fingerprints']['hypotheses'])}, hypothesis), measure, "
        f"{rank}",
    )
    return columns, _rows(relation)


def remarks(found: Inspection) -> Iterator[str]:
    """What a person should know beside the scores."""
    run = found.run
    missing = "note, count(*), count(DISTINCT hypothesis), min(hypothesis)"
    without = found.scores.filter("note IS NOT NULL").aggregate(missing).order("note").fetchall()
    for note, pairs, hypotheses, example in without:
        which = f"'{example}'" if hypotheses == 1 else f"{hypotheses} hypotheses"
        yield f"{pairs:,} scores of {which} are missing: {note}"
    for name, number in run["counts"].items():
        if number:
            yield f"{COUNTS.get(name, name)}: {number:,}"
    yield (
        f"run {run['run']}: {run['records_seen']:,} records, {run['symbols_seen']:,} symbols, "
        f"{run['seconds']:.1f} s; {run['stopped_because']}"
    )


@contextmanager
def progress_bar() -> Iterator[Callable[[RunProgress], None] | None]:
    """A bar with records per second and the time left; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,}/{task.total:,} records"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("inspecting", total=1, rate="", visible=False)

        def observe(progress: RunProgress) -> None:
            rate = progress.records_seen / max(progress.seconds, 1e-9)
            bar.update(
                task,
                total=max(progress.records_expected, 1),
                completed=progress.records_seen,
                rate=f"{rate:,.0f} records/s",
                visible=True,
            )

        yield observe


def _rows(relation: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a relation, a batch at a time."""
    reader = relation.to_arrow_reader(10_000)
    try:
        for batch in reader:
            yield from zip(*(_python(c) for c in batch.columns), strict=True)
    finally:
        reader.close()


def _python(column: Any) -> list[Any]:
    """Arrow values as Python's; DuckDB's large integers arrive as decimals without places."""
    return [int(v) if isinstance(v, Decimal) and v == v.to_integral_value() else v for v in column.to_pylist()]


def _sql_list(values: Iterable[str]) -> str:
    return "[" + ", ".join("'" + v.replace("'", "''") + "'" for v in values) + "]"
