"""The self-test finds what it planted, and notices an installation that computes something else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deepbase.errors import InspectionError
from deepbase.measures.pairs import Pearson
from deepbase.selftest import run_selftest


def test_it_passes_here(cli):
    done = cli("selftest")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == [
        "ok: unit 0 encodes is_vowel",
        "ok: unit 1 encodes is_number",
        "ok: unit 2 encodes character_rank",
    ]
    assert lines[3] == "ok: 108 scores equal their float64 values, the constant and the NaN unit included"
    assert lines[4].endswith("symbols of 200 records were seen once")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.unit_score * 0.99, "the self-test failed: its score is exactly 1"),
        (lambda v: v.unit_score + np.where(abs(v.unit_score) < 0.9, 1e-4, 0), "the self-test failed: pearson of unit"),
        (lambda v: np.roll(v.unit_score, 1, axis=1), "the self-test failed: the unit that encodes is_vowel is found"),
        (lambda v: np.where(v.note == 3, 0.0, v.unit_score), "0.0 .unit is constant. instead of None"),
    ],
)
def test_it_fails_where_scores_are_moved(monkeypatch, change, message):
    compute = Pearson.compute

    def wrong(self, state, targets):
        values = compute(self, state, targets)
        return dataclasses.replace(values, unit_score=change(values))

    monkeypatch.setattr(Pearson, "compute", wrong)
    with pytest.raises(InspectionError, match=message):
        list(run_selftest())


def test_a_failure_is_one_line_and_exit_1(cli, monkeypatch):
    def wrong(self, state, targets):
        raise InspectionError("the self-test failed: this", "Report this.")

    monkeypatch.setattr(Pearson, "compute", wrong)
    done = cli("selftest")
    assert (done.exit_code, done.stderr) == (1, "Error: the self-test failed: this. Report this.\n")
