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
from deepbase.measures.base import AbstractMeasure, option_text
from deepbase.measures.order.scores import ORDER_NOTES, WITHIN
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


MEASURE_KINDS = (
    (
        "Measures of units",
        "Each scores every unit alone against every hypothesis.",
        lambda m: m.kinds and not m.grouped,
    ),
    (
        "Facts of units",
        "They need no hypothesis; `hypothesis` is NULL in their rows. All come from a few sums.",
        lambda m: not m.kinds and not m.grouped,
    ),
    (
        "Probes",
        "A probe is fitted on all units of a group together, for all hypotheses at once. `group_score` is what it\n"
        "reaches on held-out records; `unit_score` is the weight of each unit, which is standardized, since the units\n"
        "are brought to mean 0 and standard deviation 1 before. Records are split, never symbols.",
        lambda m: m.grouped and m.kinds,
    ),
    (
        "Comparisons of groups",
        "They need no hypothesis: every two layers of a run are compared, or with `group := 'model'` every two\n"
        "models. `model` and `layer` of a row say one group, and `hypothesis` names the other: its layer,\n"
        "`model:layer` where it is of another model, the model alone where models are compared. `group_score` is\n"
        "their similarity. `unit_score` is the share of the unit: for `cka` the shares add up to it, for `cca` it\n"
        "is how well the other group predicts the unit (R squared). `cka` takes all symbols. `cca` learns its\n"
        "directions from some of the records and is scored on the others, those that a probe holds out; with\n"
        "`held_out := 0` it is the textbook value on all symbols, which is near 1 for anything with as many units\n"
        "as symbols. Models are compared where they have the same symbols, one by one: at tokens if they share a\n"
        "tokenizer, else at words or records.",
        lambda m: m.grouped and not m.kinds,
    ),
)
CONVENTIONS = (
    ("a constant unit", "NULL: *unit is constant*. A probe or a comparison leaves it out"),
    (
        "a unit that is NaN or infinite at any symbol read",
        "NULL: *unit has NaN or infinite activations*; no other is touched",
    ),
    ("a constant hypothesis", "NULL: *hypothesis is constant*"),
    (
        "a boolean with fewer than 2 positives or negatives",
        "NULL: *hypothesis has fewer than 2 positives* (*negatives*)",
    ),
    (
        "a hypothesis that is NULL, NaN or infinite at a symbol",
        "the symbol is left out of that hypothesis, and of no other",
    ),
    ("a hypothesis that is NULL everywhere", "NULL: *fewer than 2 symbols have a value of the hypothesis*"),
    (
        "a hypothesis or a unit that what is [given](confounds.md) determines",
        "NULL: *hypothesis is determined by what is given* (*unit ...*)",
    ),
    ("a kind that the measure does not take", "NULL: *measure needs a boolean hypothesis*, or whatever it takes"),
    ("ties", "equal values have the mean of their ranks; a threshold never parts them"),
    ("one record", "a unit measure has its value; a probe, and `cca`, is NULL: *fewer than 2 records, ...*"),
    (
        "a class that the training part, or the held-out part, lacks",
        "NULL: *hypothesis is constant in the ... records*",
    ),
    ("models whose symbols differ", "a comparison of them is NULL: *models have different symbols: ...*"),
    ("signs", "are kept; where units are ranked by strength, the absolute value counts"),
)


def _measures() -> str:
    lines = [
        "# Measures\n",
        "A measure is named with `-m` or `measures=[...]`. All of them come out of one pass over the data, for all",
        "units and hypotheses at once. On the symbols that were read each is the textbook value, within 1e-5, unless",
        "the row's `note` or the table says otherwise. Options stand in parentheses, as in `lda(control := true)`.",
        "[Measures of your own](own-measures.md) are used in the same way.\n",
    ]
    for title, text, belongs in MEASURE_KINDS:
        chosen = {name: m for name, m in MEASURES.items() if belongs(m)}
        lines += [f"## {title}\n", text + "\n", *_table_of(chosen), "", *_options_of(chosen), ""]
    lines += [
        "## Conventions\n",
        "They are the same in every measure. A pair without a score has NULL as its `unit_score`, and the first reason",
        "that applies in `note`; it is never ranked.\n",
        "| case | outcome |",
        "|---|---|",
        *(f"| {case} | {outcome} |" for case, outcome in CONVENTIONS),
        "\nAll notes, in order of precedence:\n",
    ]
    lines += [f"* {note}" for note in ORDER_NOTES[:WITHIN] if note]
    lines.append(
        "\nA measure of order is exact where all values that it compares fit the memory that it has, 2 GB for\n"
        "all layers of a run together (`memory`). Beyond, it goes on with counts by bins of the values, and its\n"
        "`note` says how far off the score may be at most, as in *approximate: within 0.001 of the exact value*.\n\n"
        "`p_value` is of no association between a unit and a hypothesis. It counts records, not symbols: the sums\n"
        "over 16 random groups of whole records are the observations of a t-test. The measures of moments have it,\n"
        "`spearman` and `auroc` with `tested := true`; with `permutations` all measures of units have p-values, from\n"
        "records that exchange their labels. `q_value` corrects it (Benjamini and Hochberg 1995, or with\n"
        "`correction := 'by'` Benjamini and Yekutieli 2001) for all pairs of the run with the same measure: all\n"
        "models, layers, units, hypotheses and slices. [More](probes.md#is-it-chance)\n"
        "\nA unit is constant if its standard deviation is below one rounding step of a float32 at its mean, below\n"
        "1e-18, or below 1/256 of the distance of its mean from its typical value at the start of the run.\n\n"
        "The order of values that differ by less than the rounding of the forward itself is noise. Many units of a\n"
        "saturated GELU are 0 to within 1e-7: measures of order see differences there that another batch size would\n"
        "not show."
    )
    return "\n".join(lines) + "\n"


def _table_of(chosen: dict[str, type[AbstractMeasure]]) -> list[str]:
    """What measures say, how they are computed, and what they cost."""
    rows = [
        "| measure | what it says | formula | range | takes | exact | cost | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, measure in chosen.items():
        low, high = ("" if math.isinf(v) else f"{v:g}" for v in measure.range)
        extent = f"{low} to {high}" if low and high else f"from {low} up" if low else "any number"
        takes = ", ".join(measure.kinds) or "nothing"
        if isinstance(scored := getattr(measure, "scored", None), str):
            extent = f"{scored}"
        cells = (
            f"`{name}`",
            measure.description,
            f"`{measure.formula}`",
            extent,
            takes,
            "exact" if measure.exact else "approximate",
            measure.state_type.cost,
            measure.source,
        )
        rows.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return rows


def _options_of(chosen: dict[str, type[AbstractMeasure]]) -> list[str]:
    """The options: those that all have, then those of each."""
    several = [{f.name: f for f in fields(m)} for m in chosen.values()]
    shared = [name for name in several[0] if all(name in own for own in several)] if len(several) > 1 else []
    rows = [("each", several[0][name]) for name in shared]
    rows += [(f"`{n}`", f) for n, m in chosen.items() for f in fields(m) if f.name not in shared]
    if not rows:
        return []
    lines = ["| measure | option | default | |", "|---|---|---|---|"]
    for name, option in rows:
        cells = (name, f"`{option.name}`", option_text(option.default), option.metadata["description"])
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return lines


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
