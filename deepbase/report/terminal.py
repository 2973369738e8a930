"""Scores and catalog rows in a terminal, and as JSON or CSV for other programs.

Results go to standard output; progress and remarks go to standard error, and progress only where that is a terminal.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from deepbase.report.values import csv_field, plain, rows_of, text

if TYPE_CHECKING:
    from deepbase.blocks import Layer
    from deepbase.engine.base import Progress as RunProgress
    from deepbase.inspection import Inspection

TABLE_ROWS = 1000
LONGEST_CELL = 300
PLAIN_WIDTH = 10_000
COUNTS = {
    "records_cut": "records cut at the model's context",
    "symbols_cut": "symbols lost by that",
    "records_empty": "records without symbols",
    "symbols_without_word": "symbols that touch no word",
    "words_without_symbol": "words that no symbol touches",
}
TOGETHER = ("group_score", "control_score", "selectivity", "shuffled_score", "baseline_score")
"""The columns of scores that the units of a group have together."""


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=False)


def show(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> None:
    """Print rows as a table, as a JSON array of objects, or as CSV."""
    if form == "json":
        _json(columns, rows)
    elif form == "csv":
        for row in chain([columns], rows):
            print(",".join(map(csv_field, row)))
    else:
        _table(columns, iter(rows))


def show_facts(facts: Mapping[str, Any], form: str) -> None:
    """Print what is known of one thing: one fact a line in a table, else one row."""
    if form != "table":
        show(list(facts), [list(facts.values())], form)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                table.add_row(Text(f"{name}.{key}"), Text(text(inner)))
        else:
            table.add_row(Text(name), Text(text(value)))
    console().print(table)


def show_relation(relation: Any, form: str) -> None:
    """Print a DuckDB relation; of a plan, its text."""
    if form == "table" and relation.columns == ["explain_key", "explain_value"]:
        for _, plan in relation.fetchall():
            print(plan)
        return
    show(relation.columns, rows_of(relation), form)


def _json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = _distinct(columns)
    start = "[\n"
    for row in rows:
        values = {n: None if _is_no_number(v) else plain(v) for n, v in zip(names, row, strict=True)}
        try:
            line = json.dumps(values, ensure_ascii=False, allow_nan=False)
        except ValueError:  # somewhere inside a value
            line = json.dumps(json.loads(json.dumps(values), parse_constant=lambda _: None), ensure_ascii=False)
        print(start + line, end="")
        start = ",\n"
    print("[]" if start == "[\n" else "\n]")


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of columns, those that occur again with a number."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            name, number = f"{column}_{number}", number + 1
        names.append(name)
    return names


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _table(columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = list(islice(rows, TABLE_ROWS))
    cells = []
    for i, column in enumerate(columns):
        values = [row[i] for row in shown]
        number = any(isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in values)
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold")
        cells.append(_cells(values))
    for row in zip(*cells, strict=True):
        table.add_row(*map(Text, row))
    console().print(table)
    if next(rows, None) is not None:
        note = f"only the first {TABLE_ROWS} rows are shown; --format csv and --format json give all"
        print(note, file=sys.stderr)


def _cells(values: Sequence[Any]) -> list[str]:
    """The cells of a column: numbers to four places, with as many zeros as the longest of them needs."""
    cells = [_number(v) if isinstance(v, float) else _short(text(v)) for v in values]
    places = [c.rstrip("0").partition(".")[2] for c, v in zip(cells, values, strict=True) if isinstance(v, float)]
    surplus = 4 - max((len(p) for p in places), default=4)
    if 0 < surplus <= 4:
        short = [c[: len(c) - surplus].rstrip(".") for c in cells]
        cells = [s if isinstance(v, float) and "." in c else c for s, c, v in zip(short, cells, values, strict=True)]
    return cells


def _number(value: float) -> str:
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.4g}"


def _short(cell: str) -> str:
    return cell if len(cell) <= LONGEST_CELL else cell[: LONGEST_CELL - 3] + "..."


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
    """The `top` strongest units of each hypothesis, measure and slice, the strongest first.

    0 is for all, with those without a score. A column for the model or the slice is there if there are several; those
    of controls and p-values, if they were asked for. Units of probes come in the order of what their groups reach; of
    a probe that gives units no share, each group is one row, and so is each group that is compared with another.
    """
    spec = found.run["spec"]
    columns = ["hypothesis", "measure", "layer", "unit", "unit_score", "symbols", "records"]
    columns = ["slice", *columns] if spec["group_by"] else columns
    counts = found.scores.aggregate(", ".join(f"count({name})" for name in TOGETHER)).fetchall()[0]
    at = columns.index("unit")
    columns[at:at] = [name for name, count in zip(TOGETHER, counts, strict=True) if count]
    if found.scores.filter("low < high").aggregate("count(*)").fetchall()[0][0]:
        columns[columns.index("symbols") : columns.index("symbols")] = ["low", "high"]
    if found.asks_for_tests:
        columns[columns.index("symbols") : columns.index("symbols")] = ["p_value", "q_value"]
    parts = "measure, hypothesis, slice"
    falling, unsigned = (f"measure IN {_sql_list(calls)}" for calls in (found.falling, found.unsigned))
    best = f"if({falling}, -group_score, group_score) DESC NULLS LAST"
    strength = f"if({unsigned}, if({falling}, -unit_score, unit_score), abs(unit_score)) DESC NULLS LAST"
    rank = f"row_number() OVER (PARTITION BY {parts} ORDER BY {best}, {strength}, model, layer, unit)"
    rows, condition = "found", "true"
    if top:
        groups = f"measure IN {_sql_list(found.comparing)}"
        group = f"OVER (PARTITION BY {parts}, model, layer"
        alone = f"count(unit_score) {group}) = 0 AND row_number() {group} ORDER BY unit) = 1"
        rows = (
            "(SELECT * REPLACE (if(unit_score IS NULL, NULL, unit) AS unit) "
            f"FROM (SELECT * REPLACE (if({groups}, NULL, unit_score) AS unit_score) FROM found) "
            "WHERE unit_score IS NOT NULL OR group_score IS NOT NULL "
            f"QUALIFY unit_score <> 0 OR group_score IS NULL OR {alone})"
        )
        condition = f"true QUALIFY {rank} <= {int(top)}"
        if len(spec["models"]) > 1:
            columns.insert(columns.index("layer"), "model")
    else:
        columns = ["model", *columns, "note"]
    relation = found.scores.query(
        "found",
        f"SELECT {', '.join(columns)} FROM {rows} WHERE {condition} "
        f"ORDER BY list_position({_sql_list(spec['fingerprints']['hypotheses'])}, hypothesis), "
        f"list_position({_sql_list(spec['measures'])}, measure), hypothesis, slice, {rank}",
    )
    return columns, rows_of(relation)


def remarks(found: Inspection) -> Iterator[str]:
    """What a person should know beside the scores."""
    run = found.run
    compared = f"FILTER (measure NOT IN {_sql_list(found.comparing)})"
    facts = f"note, count(*), count(DISTINCT hypothesis) {compared}, min(hypothesis) {compared}, count(unit_score)"
    noted = found.scores.filter("note IS NOT NULL AND group_score IS NULL").aggregate(facts).order("note").fetchall()
    for note, pairs, hypotheses, example, there in noted:
        which = f"'{example}'" if hypotheses == 1 else f"{hypotheses} hypotheses"
        of = "units" if not hypotheses else which
        yield f"{pairs:,} scores of {of} are {'noted' if there else 'missing'}: {note}"
    for name, number in run["counts"].items():
        if number:
            yield f"{COUNTS.get(name, name)}: {number:,}"
    unsettled = found.open.aggregate("count(*)").fetchall()[0][0]
    if unsettled:
        yield f"{unsettled:,} scores are open: see the column open of scores"
    if "continues" in run["spec"]:
        yield f"went on from run {run['spec']['continues']}"
    yield (
        f"run {run['run']}: {run['records_seen']:,} records, {run['symbols_seen']:,} symbols, "
        f"{run['seconds']:.1f} s; {run['stopped_because']}"
    )


@contextmanager
def progress_bar() -> Iterator[Callable[[RunProgress], None] | None]:
    """A bar with records per second and the time left, which moves from the start; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("loading, and reading the first records", total=None, count="")

        def observe(progress: RunProgress) -> None:
            seen, expected = progress.records_seen, progress.records_expected
            count = f"{seen:,}/{expected:,} records, {seen / max(progress.seconds, 1e-9):,.0f} a second"
            if progress.pairs:
                count += f", {progress.open:,}/{progress.pairs:,} scores open, the widest ±{progress.widest:.3g}"
            bar.update(task, description="inspecting", total=max(expected, 1), completed=seen, count=count)

        yield observe


def _sql_list(values: Iterable[str]) -> str:
    return "[" + ", ".join("'" + v.replace("'", "''") + "'" for v in values) + "]"
