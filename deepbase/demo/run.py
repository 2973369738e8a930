"""The demo: the paper's running example, from sampled queries to a database of scores.

A small LSTM learned to complete SQL queries (`deepbase.demo.train`). Which of its units know where a query is: inside
a string, in the WHERE clause, three parentheses deep? The hypotheses are the derivation of each query, so the answers
are exact about the grammar. Everything goes through the public interface, and can be repeated by hand.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import deepbase
from deepbase.demo import model
from deepbase.demo.grammar import HYPOTHESES, sample
from deepbase.report.terminal import progress_bar, remarks, show

SHOWN = (
    "keyword",
    "identifier",
    "literal",
    "depth",
    "in_select_clause",
    "in_from_clause",
    "in_where_clause",
    "in_subquery",
    "in_predicate",
    "in_string",
    "in_number",
    "predicate_start",
    "subquery_end",
    "char_class=digit",
    "char_class=quote",
    "char_class=space",
)
"""What is printed; all hypotheses are scored."""


def run_demo(path: str, records: int) -> None:
    """Sample queries, inspect the model, and print the best units.

    Args:
        path: the database file to leave; an earlier demo in it is replaced.
        records: how many queries to sample.

    Raises:
        DeepBaseError: if the database cannot be used.
    """
    began = time.monotonic()
    _say(f"1. A character LSTM that completes SQL, and {records:,} queries sampled from its grammar.")
    with deepbase.connect(path) as database:
        row = database.register_model("sql_lstm", f"{model.__file__}:model", replace=True)
        units = sum(layer.width for layer in row.layers if layer.kind == "block output")
        database.register_dataset("queries", sample(records, seed=0), replace=True)
        _say(f"2. {units} units against {len(HYPOTHESES)} hypotheses of the grammar, in one pass.")
        with progress_bar() as progress:
            found = database.inspect("sql_lstm", "queries", list(HYPOTHESES), progress=progress)
        relation = found.scores.query(
            "found",
            "SELECT hypothesis, layer, unit, unit_score FROM found WHERE unit_score IS NOT NULL "
            f"AND hypothesis IN {SHOWN} "
            "QUALIFY row_number() OVER (PARTITION BY hypothesis ORDER BY abs(unit_score) DESC, layer, unit) <= 2 "
            f"ORDER BY list_position({list(SHOWN)}, hypothesis), abs(unit_score) DESC",
        )
        assert relation is not None
        print()
        print("The two units that follow each hypothesis best, by Pearson's correlation:\n")
        show(relation.columns, relation.fetchall(), "table")
        print()
        for line in remarks(found):
            _say(line)
        run = found.run_id
    file = shlex.quote(str(path))
    _say(f"\nAll scores are in {Path(path).absolute()}, made in {time.monotonic() - began:.0f} s. Try next:\n")
    best = f"FROM scores SELECT hypothesis, layer, unit, unit_score WHERE run = {run} ORDER BY unit_score DESC LIMIT 9"
    print(f'  deepbase sql --db {file} "{best}"')
    print(f"  deepbase inspect --db {file} sql_lstm queries -H 'in_*_clause' -m cohens_d --behavior abs")
    print(f"  deepbase models show --db {file} sql_lstm")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
