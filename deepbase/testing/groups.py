"""What group measures, such as probes, are tried with besides: data, a fit on the same split, and conventions.

A probe is fitted on some of the records and scored on the others, which are chosen by a hash of their numbers. So
blocks are cut between records, as they are in a run, and a reference gets the rows of both parts as the probe has them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from deepbase.blocks import Floats
from deepbase.measures import notes
from deepbase.measures.base import AbstractMeasure, Target, Values
from deepbase.measures.notes import NOTES, wrong_kind
from deepbase.measures.own import is_own
from deepbase.measures.probes.base import AbstractProbe
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.group import UnitGroup
from deepbase.measures.rows import Rows
from deepbase.testing.comparison import compare_groups, near
from deepbase.testing.data import LENGTH, Data
from deepbase.testing.states import scores, targets_of
from deepbase.testing.trial import Trial


def reference(trial: Trial) -> None:
    """A fit of the reference to the same rows gives the same scores.

    Under `AbstractProbe` these are the rows of the training part and of the part that is held out, with the units
    standardized by the training part. Otherwise they are the units as they are, and nothing is held out. Units that
    are constant or not finite are left out.
    """
    data, measure, tolerance = trial.data, trial.measure, trial.reference.number
    found = scores(measure, trial.state(data), data)
    if found.group_score is None or np.isnan(found.group_score).all():
        raise AssertionError("there is no group score with any hypothesis")
    for h, (name, target) in enumerate(targets_of(measure, data).items()):
        textbook = trial.reference.of(target.kind)
        if textbook is None or target.kind not in measure.takes or hypothesis_note(measure, data, name) is not None:
            continue
        fitted = textbook(*_rows(trial, data, name, target))
        score, weights = fitted if isinstance(fitted, tuple) else (fitted, None)
        with trial.trying(f"hypothesis {name!r}"):
            near("the group score", np.array(found.group_score[h]), np.array(score), tolerance)
            if weights is not None:
                near("the score of a unit", found.unit_score[h, _usable(data)], np.asarray(weights), tolerance)


def _rows(trial: Trial, data: Data, name: str, target: Target) -> tuple[Floats, Floats, Floats, Floats]:
    """x and y of the rows to learn from, and of those that are held out."""
    used = _usable(data)
    y = data.hypotheses[name]
    if not isinstance(trial.measure, AbstractProbe):
        known = ~np.isnan(y)
        x = data.x[known][:, used].astype(np.float64)
        return x, y[known], x[:0], y[:0]
    state = trial.state(data)
    assert isinstance(state, Rows)
    (fold,) = UnitGroup([state]).folds(target.columns, trial.measure.rests, 0)
    (x, y), (held_x, held_y) = (_matrices(design, used, target) for design in (fold.train, fold.test))
    return x, y, held_x, held_y


def _matrices(design: Design, used: list[int], target: Target) -> tuple[Floats, Floats]:
    """x and y of a design in float64; of a category, its codes."""
    chunks = list(design.read())
    x = torch.cat([c[0] for c in chunks]).double().cpu().numpy() if chunks else np.empty((0, design.units))
    y = torch.cat([c[1] for c in chunks]).double().cpu().numpy() if chunks else np.empty((0, design.hypotheses))
    return x[:, used], y.argmax(1) if target.kind == "category" else y[:, 0]


def _usable(data: Data) -> list[int]:
    """The units that are finite and not constant."""
    return [i for i, x in enumerate(data.x.T) if np.isfinite(x).all() and (x != x[0]).any()]


def hypothesis_note(measure: AbstractMeasure, data: Data, name: str) -> str | None:
    """Why a hypothesis has no score with any units, in words, by the conventions; None where it has one."""
    y, kind = data.hypotheses[name], data.kinds[name]
    y = y[~np.isnan(y)]
    code = 0
    if kind not in measure.takes:
        code = wrong_kind(measure.takes)
    elif len(y) < 2:
        code = notes.TOO_FEW
    elif (y == y[0]).all():
        code = notes.CONSTANT_HYPOTHESIS
    elif kind == "boolean" and y.sum() < 2:
        code = notes.FEW_POSITIVES
    elif kind == "boolean" and len(y) - y.sum() < 2:
        code = notes.FEW_NEGATIVES
    return NOTES[code]


def conventions(trial: Trial) -> None:
    """What has no score is NaN and says why; spoiled units take no part; a record or two are no crash."""
    data = trial.data
    found = scores(trial.measure, trial.state(data), data)
    _check_notes(trial, data, found)
    for records in (0, 1, 2):
        few = data.rows(0, records * LENGTH)
        with trial.trying(f"{records} records"):
            values = scores(trial.measure, trial.state(few), few)
            _check_notes(trial, few, values)
            if records == 0 and np.isfinite(values.unit_score).any():
                raise AssertionError("there are scores, though there is no symbol")
    with trial.trying("a unit that is not finite in one way or another"):
        spoiled = {"NaN once": np.full(data.symbols, np.nan, dtype=np.float32)}
        other = replace(data, units={**data.units, **spoiled})
        found_other = scores(trial.measure, trial.state(other), other)
        compare_groups(trial.measure, found_other, found, data)
    with trial.trying("other values of the units where the hypothesis is NULL"):
        known = ~np.isnan(data.hypotheses["yes, of words"])
        units = {k: np.where(known, x, x + np.roll(x, 5)).astype(np.float32) for k, x in data.units.items()}
        units |= {"constant": data.units["constant"]}
        columns = {n: np.where(known, y, np.nan) for n, y in data.hypotheses.items()}
        some = [replace(data, units=u, hypotheses=columns) for u in (data.units, units)]
        two = [scores(trial.measure, trial.state(d), d) for d in some]
        compare_groups(trial.measure, two[1], two[0], data)


def _check_notes(trial: Trial, data: Data, found: Values) -> None:
    measure = trial.measure
    said = np.array([*found.notes], dtype=object)[np.asarray(found.note, dtype=np.int64)]
    for h, name in enumerate(targets_of(measure, data)):
        where = f"hypothesis {name!r}"
        if (np.isnan(found.unit_score[h]) & (said[h] == None)).any():  # noqa: E711
            raise AssertionError(f"{where}: units without a score and without a note")
        group = np.nan if found.group_score is None else found.group_score[h]
        note = hypothesis_note(measure, data, name)
        if note is not None:
            if np.isfinite(group) or np.isfinite(found.unit_score[h]).any():
                raise AssertionError(f"{where}: a score of {group}, though {note}")
            if not is_own(type(measure)) and set(said[h]) != {note}:
                raise AssertionError(f"{where}: the notes are {set(said[h])} instead of {note!r}")
        elif np.isnan(group) and (said[h] == None).any():  # noqa: E711
            raise AssertionError(f"{where}: no group score, and no note that says why")
        elif np.isfinite(group):
            for u, unit in enumerate(data.units):
                if u not in _usable(data) and np.isfinite(found.unit_score[h, u]):
                    raise AssertionError(f"{where}: unit {unit!r} has the score {found.unit_score[h, u]}")
