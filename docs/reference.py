"""Write the pages that are read off the code: the commands, the measures and the tables.

    python docs/reference.py

A test fails where a page is not what this would write.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

import deepbase
from deepbase.cli import main as cli
from deepbase.measures.base import NOTES, option_text
from deepbase.measures.registry import MEASURES

FOLDER = Path(__file__).parent
REMARK = "<!-- Written by docs/reference.py; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """The texts of the pages by file name."""
    return {"cli.md": REMARK + _cli(), "measures.md": REMARK + _measures(), "tables.md": REMARK + _tables()}


def _cli() -> str:
    parts = [
        "# The command line\n\n"
        "Results go to standard output, remarks and progress to standard error. The exit code is 0, or 1 with\n"
        "`Error: what is wrong, where, and what to do`, or 2 where the command line makes no sense.\n"
    ]
    for context in _contexts(cli, "deepbase", None):
        parts.append(f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


def _contexts(command: click.Command, name: str, parent: click.Context | None) -> Iterator[click.Context]:
    """A command and those below it, each in the context in which it is called."""
    settings = {**command.context_settings, "terminal_width": 100}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            yield from _contexts(command.commands[below], below, context)


def _measures() -> str:
    lines = [
        "# Measures\n",
        "A measure is named with `-m` or `measures=[...]`. All of them come out of one pass over the data, for all",
        "units and hypotheses at once. On the symbols that were read each is the textbook value, within 1e-5. Its",
        "options stand in parentheses, as in `cohens_d(unbiased := true)`; without, they have their defaults.",
        "[Measures of your own](own-measures.md) are used in the same way.\n",
        "| measure | what it says | formula | range | takes | source |",
        "|---|---|---|---|---|---|",
    ]
    for name, measure in MEASURES.items():
        low, high = ("" if math.isinf(v) else f"{v:g}" for v in measure.range)
        extent = f"{low} to {high}" if low or high else "any number"
        kinds = " and ".join(measure.kinds) + " hypotheses"
        cells = (f"`{name}`", measure.description, f"`{measure.formula}`", extent, kinds, measure.source)
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    lines += ["\n| measure | option | default | |", "|---|---|---|---|"]
    for name, measure in MEASURES.items():
        for option in fields(measure):
            cells = (f"`{name}`", f"`{option.name}`", option_text(option.default), option.metadata["description"])
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "\nScores keep their sign; where units are ranked by strength, their absolute value counts.\n",
        "## When there is no score\n",
        "A pair without a score has NULL as its `unit_score`, and the first reason that applies in `note`:\n",
    ]
    lines += [f"* {note}" for note in NOTES if note]
    lines.append(
        "\nA unit is constant if its standard deviation is below one rounding step of a float32 at its mean, below\n"
        "1e-18, or below 1/256 of the distance of its mean from its typical value at the start of the run. A unit\n"
        "that is NaN or infinite at any symbol that was read has no score; its neighbours are not touched. Where a\n"
        "hypothesis is NULL, NaN or infinite, the symbol is left out of that hypothesis, and of no other."
    )
    return "\n".join(lines) + "\n"


def _tables() -> str:
    parts = [
        "# Tables\n\nA database file of DeepBase is a DuckDB file. Any DuckDB client can read these tables and views:\n"
    ]
    with deepbase.connect() as db:
        relations = db.store.connection.execute(
            "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'main' UNION ALL "
            "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND NOT temporary ORDER BY 1"
        ).fetchall()
        for name, comment in relations:
            rows = db.store.connection.execute(
                "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns() "
                "WHERE schema_name = 'main' AND NOT internal AND table_name = ? ORDER BY column_index",
                [name],
            ).fetchall()
            table = "\n".join(f"| {c} | {t} | {text} |" for c, t, text in rows)
            parts.append(f"## {name}\n\n{comment}\n\n| column | type | |\n|---|---|---|\n{table}\n")
    parts.append(
        'The records of each dataset are in a table of their own, `records."<dataset>"`; `inputs` unites them.\n'
    )
    return "\n".join(parts)


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
