"""AUROC within strata equals U statistics by stratum, and probes on residuals equal those on what NumPy leaves."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from given_data import (
    CONSTANT_UNIT,
    HYPOTHESIS,
    SETS,
    TOO_FEW,
    UNIT,
    Given,
    in_blocks,
    quantile_strata,
    state_of,
    usual_note,
    with_confounds,
)
from harness import TOLERANCE
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from deepbase.measures.notes import NOTES
from deepbase.measures.order.strata import strata
from deepbase.measures.probes.group import UnitGroup
from deepbase.measures.registry import MEASURES, measures
from deepbase.measures.rows import Rows
from deepbase.testing import PLENTY, Data, hard_data, merged

AUROC = MEASURES["auroc"](given=("z",))
WHOLE = with_confounds(hard_data())
ON_DISK = 2**12
"""Bytes: the rows are in a scratch file."""


def expected(whole, unit, hypothesis, columns):
    """The score of a pair, or the note that stands in its place."""
    every, y = whole.data.units[unit].astype(float), whole.data.hypotheses[hypothesis]
    z = whole.values[:, list(columns)]
    with_z = ~np.isnan(z).any(1)
    stratum = np.full(len(z), -1)
    stratum[with_z] = quantile_strata(z[with_z])
    known = ~np.isnan(y) & with_z
    x, y, stratum = every[known], y[known], stratum[known]
    note = usual_note(AUROC, whole.data.kinds[hypothesis], every, x, y)
    if note is None and all((x[stratum == s] == x[stratum == s][0]).all() for s in np.unique(stratum)):
        note = UNIT
    if note:
        return None, note
    wins = pairs = 0.0
    for s in np.unique(stratum):
        true, false = x[(stratum == s) & (y == 1)], x[(stratum == s) & (y == 0)]
        if len(true) and len(false):
            wins += scipy.stats.mannwhitneyu(true, false).statistic
            pairs += len(true) * len(false)
    return (wins / pairs, None) if pairs else (None, HYPOTHESIS)


def check(state, whole, sets=SETS):
    wrong, scored = [], 0
    for columns in sets:
        targets = whole.targets(AUROC, columns)
        found = AUROC.compute(state, list(targets.values()))
        assert found.p_value is None
        for (h, hypothesis), (u, unit) in itertools.product(enumerate(targets), enumerate(whole.data.units)):
            score, note = expected(whole, unit, hypothesis, columns)
            value, said = float(found.unit_score[h, u]), found.notes[found.note[h, u]]
            scored += score is not None
            if said != note or not (np.isnan(value) if score is None else abs(value - score) <= TOLERANCE):
                wrong.append(f"{unit} / {hypothesis} / {columns}: {value} ({said}) instead of {score} ({note})")
    assert not wrong, f"{len(wrong)} wrong scores\n" + "\n".join(wrong[:10])
    return scored


@pytest.mark.parametrize("memory", [PLENTY, ON_DISK], ids=["in memory", "on disk"])
@pytest.mark.parametrize("cuts", [[], [3, 90, 91, 200]])
def test_a_positive_is_compared_with_negatives_of_its_stratum(cuts, memory):
    blocks = in_blocks(Rows, WHOLE, cuts, np.random.default_rng(0), memory)
    state = merged(blocks, [1, 0, 2])
    assert any(p.on_disk for p in state.pieces) == (memory == ON_DISK)
    assert check(state, WHOLE, SETS if not cuts else SETS[1:5]) > 200


def test_without_symbols_there_is_no_score():
    few = WHOLE.rows(0, 0)
    assert check(state_of(Rows, few), few) == 0


def test_in_one_stratum_it_is_the_auroc():
    state = state_of(Rows, WHOLE, [50])
    targets = list(WHOLE.targets(AUROC, (9,)))
    found = AUROC.compute(state, list(WHOLE.targets(AUROC, (9,)).values()))
    y = WHOLE.data.hypotheses["half"]
    units = list(WHOLE.data.units)
    for unit in ("plain", "ties", "mean of 1e4"):
        auroc = roc_auc_score(y, WHOLE.data.units[unit])
        assert found.unit_score[targets.index("half"), units.index(unit)] == pytest.approx(auroc, abs=1e-9)


def test_strata_are_values_or_tenths():
    few = np.array([[2.0], [1.0], [2.0], [np.nan]])
    assert strata(few).tolist() == [1, 0, 1, -1]
    many = np.arange(100.0)[:, None]
    assert np.bincount(strata(many)).tolist() == [10] * 10
    tied = np.concatenate([np.zeros(55), np.arange(1, 46)])[:, None]
    assert np.bincount(strata(tied)).tolist() == [55, 5, 10, 10, 10, 10]
    assert len(np.unique(strata(np.arange(10.0)[:, None]))) == 10
    both = np.stack([np.arange(40) % 2, np.arange(40) % 3], axis=1).astype(float)
    assert len(np.unique(strata(both))) == 6


# --- probes

RECORDS, LENGTH = 80, 6


def planted():
    """The first units know the confound, which the hypotheses follow; the third knows a hypothesis besides."""
    rng = np.random.default_rng(5)
    n = RECORDS * LENGTH
    z, own = rng.normal(size=n), rng.normal(size=n)
    third = np.digitize(z + rng.normal(size=n), [-1, 1])
    x = rng.normal(size=(n, 7)) * 0.5
    x[:, 0] += 3 * z
    x[:, 1] = 1e4 + z + x[:, 1]
    x[:, 2] += own
    x[:, 5] = 2 * z - 1
    x[:, 6] = 3.0
    hypotheses = {
        "yes": (z + own > 0).astype(float),
        "where known": np.where(rng.random(n) < 0.8, z - own > 0, np.nan),
        "how much": 1e6 + z + own,
        "the confound": z,
        "which": np.digitize(z + own, [-1, 1]).astype(float),
    }
    kinds = {
        "yes": "boolean", "where known": "boolean", "how much": "number", "the confound": "number", "which": "category",
    }  # fmt: skip
    units = {str(i): x[:, i].astype(np.float32) for i in range(7)}
    data = Data(units, hypotheses, kinds, {"which": 3}, np.repeat(np.arange(RECORDS) * 7, LENGTH))
    gone = np.where(rng.random(n) < 0.1, np.nan, z**2)
    columns = [z, *(third == np.arange(3)[:, None]).astype(float), gone]
    return Given(data, np.stack(columns, axis=1), ("number", *["boolean"] * 3, "number"), ((0,), (0, 1, 2, 3, 4)))


PLANTED = planted()


def standardized(whole, columns, hypothesis, split):
    """Residuals of a regression on the training rows, brought to their standard deviation there; and the labels."""
    y, z = whole.data.hypotheses[hypothesis], whole.values[:, list(columns)]
    known = ~np.isnan(y) & ~np.isnan(z).any(1)
    train = known & ~split
    design = np.column_stack([np.ones(len(z)), z])
    x = whole.data.x.astype(float)
    about = x - x[train].mean(0)
    coefficients = np.linalg.lstsq(design[train], about[train], rcond=1e-10)[0]
    left = about - np.nan_to_num(design) @ coefficients
    spread = left[train].std(0)
    used = spread > 1e-5
    left = np.where(used, left / np.where(used, spread, 1), 0)
    return (left[train], y[train]), (left[known & split], y[known & split])


def labels_and_units(design):
    """float64[row, hypothesis], float64[row, unit] in the order of the first label, which is a number."""
    x, y = (torch.cat(several).double().numpy() for several in zip(*design.read(), strict=True))
    order = np.argsort(y[:, 0])
    return y[order], x[order]


def held_out(state):
    """bool[symbol], by the fold that is made without anything given."""
    (column,) = PLANTED.data.targets["the confound"].columns
    (fold,) = UnitGroup([state]).folds([column], 0.2, 0)
    train, test = (labels_and_units(d)[0][:, 0] for d in (fold.train, fold.test))
    symbols = PLANTED.data.hypotheses["the confound"]
    order = np.argsort(symbols)  # as the labels are, about their pilot
    in_test = np.zeros(len(symbols), dtype=bool)
    in_test[order] = np.argsort(np.concatenate([train, test]), kind="stable") >= len(train)
    return in_test


@pytest.mark.parametrize("columns", PLANTED.sets)
@pytest.mark.parametrize("memory", [PLENTY, ON_DISK], ids=["in memory", "on disk"])
def test_the_rows_of_a_probe_are_residuals_of_the_training_records(columns, memory):
    state = merged(in_blocks(Rows, PLANTED, [120, 300], memory=memory), [])
    (column,) = PLANTED.data.targets["how much"].columns
    (fold,) = UnitGroup([state]).folds([column], 0.2, 0, columns)
    halves = standardized(PLANTED, columns, "how much", held_out(state))
    for design, (x, y) in zip((fold.train, fold.test), halves, strict=True):
        _, found = labels_and_units(design)
        assert found == pytest.approx(x[np.argsort(y)], abs=2e-3)
        assert found[:, [0, 2, 3, 4]] == pytest.approx(x[np.argsort(y)][:, [0, 2, 3, 4]], abs=1e-5)


@pytest.mark.parametrize("columns", PLANTED.sets)
@pytest.mark.parametrize("memory", [PLENTY, ON_DISK], ids=["in memory", "on disk"])
def test_a_probe_is_fitted_on_residuals_of_the_training_records(columns, memory):
    state = merged(in_blocks(Rows, PLANTED, [120, 300], memory=memory), [])
    targets = PLANTED.targets(MEASURES["logistic"](), columns)
    (logistic, linear) = measures(["logistic(given := ['z'])", "linear(given := ['z'], alpha := 5)"])
    split = held_out(state)
    for measure, name in ((logistic, "yes"), (logistic, "where known"), (linear, "how much")):
        found = measure.compute(state, [targets[name]])
        (x, y), (held_x, held_y) = standardized(PLANTED, columns, name, split)
        if measure is logistic:
            probe = LogisticRegression(tol=1e-10, max_iter=10_000).fit(x, y)
            assert found.unit_score[0][:5] == pytest.approx(probe.coef_[0][:5], abs=5e-3)
            assert found.group_score[0] == pytest.approx(f1_score(held_y, probe.predict(held_x)), abs=1e-6)
        else:
            probe = Ridge(alpha=5).fit(x, y)
            assert found.unit_score[0][:5] == pytest.approx((probe.coef_ / y.std())[:5], abs=1e-4)
            assert found.group_score[0] == pytest.approx(r2_score(held_y, probe.predict(held_x)), abs=1e-4)
        notes = [found.notes[n] for n in found.note[0]]
        assert notes == [None] * 5 + [UNIT, CONSTANT_UNIT]


@pytest.mark.parametrize("name", [n for n, m in MEASURES.items() if m.grouped and hasattr(m, "given")])
def test_every_probe_loses_what_the_confound_alone_explains(name):
    """Given the confound, units that know it alone are worth nothing; a unit that knows more is worth something."""
    kind = "number" if name == "linear" else "boolean"
    options = {"k": 4} if name == "sparse" else {}
    probe, with_nothing = MEASURES[name](given=("z",), control=True, **options), MEASURES[name](control=True, **options)
    state = state_of(Rows, PLANTED)
    target = PLANTED.targets(probe, (0,))["how much" if kind == "number" else "yes"]
    after, before = (m.compute(state, [target if m is probe else target.__class__(target.kind, target.columns)])
                     for m in (probe, with_nothing))  # fmt: skip
    assert np.isfinite([after.group_score, after.control_score, after.shuffled_score]).all()
    better = after.group_score < before.group_score
    assert better[0] == MEASURES[name].higher_is_better
    assert [after.notes[n] for n in after.note[0]][5:] == [UNIT, CONSTANT_UNIT]


@pytest.mark.parametrize("name", ["linear", "logistic", "mdl"])
def test_a_hypothesis_that_the_confounds_determine_has_no_probe(name):
    probe = MEASURES[name](given=("z",))
    state = state_of(Rows, PLANTED)
    values = np.stack([PLANTED.data.hypotheses["yes"], *(PLANTED.data.y[:, -3:].T)], axis=1)
    whole = Given(PLANTED.data, np.append(PLANTED.values, values, axis=1), (*PLANTED.kinds, *["boolean"] * 4), ())
    state = state_of(Rows, whole)
    determined, given = {"linear": ("the confound", (0,)), "logistic": ("which", (6, 7, 8)), "mdl": ("yes", (5,))}[name]
    found = probe.compute(state, [whole.targets(probe, given)[determined]])
    assert {found.notes[n] for n in found.note.ravel()} == {HYPOTHESIS}
    assert math.isnan(found.group_score[0])


def test_with_too_few_symbols_nothing_is_learned():
    few = Given(PLANTED.data.rows(0, 12), PLANTED.values[:12], PLANTED.kinds, PLANTED.sets)
    (linear,) = measures(["linear(given := ['z'])"])
    found = linear.compute(state_of(Rows, few), [few.targets(linear, (0, 1, 2, 3, 4))["how much"]])
    assert {found.notes[n] for n in found.note.ravel()} == {TOO_FEW}
    assert NOTES.index(TOO_FEW) == found.note[0, 0]


@pytest.mark.parametrize("name", ["pearson", "mean_difference", "auroc", "logistic", "linear"])
def test_a_confound_whose_squares_overflow_is_no_crash(name):
    huge = np.where(np.arange(PLANTED.data.symbols) % 2, 1e200, -1e200)[:, None]
    whole = Given(PLANTED.data, huge, ("number",), ((0,),))
    measure = MEASURES[name](given=("z",))
    target = whole.targets(measure, (0,))["how much" if name == "linear" else "yes"]
    found = measure.compute(state_of(measure.reads, whole, [90]), [target])
    assert np.isfinite(found.unit_score).any() == (name == "auroc")
    assert all(found.note[np.isnan(found.unit_score)])
