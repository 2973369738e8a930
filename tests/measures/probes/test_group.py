"""The rows of a probe: records are split whole, units standardized, NULLs kept apart, wherever the rows are."""

from __future__ import annotations

import numpy as np
import pytest
from probe_groups import DATA, LENGTH, RECORDS, matrices, planted, rows_of
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import f1_score

from deepbase.measures.notes import NOTES
from deepbase.measures.probes.group import UnitGroup
from deepbase.measures.registry import MEASURES, measures
from deepbase.testing import Data

PROBES = [
    pytest.param(m(k=4) if name == "sparse" else m(), id=name) for name, m in MEASURES.items() if m.grouped and m.kinds
]


def test_records_are_split_whole_and_by_the_share_that_is_asked_for():
    (fold,) = UnitGroup(rows_of(DATA)).folds([0], 0.2, 0)
    train, test = fold.rows_of_records
    assert (len(train), len(test)) == (RECORDS - 12, 12)
    assert (*train, *test) == (LENGTH,) * RECORDS
    assert fold.train.rows == LENGTH * len(train)


def test_the_split_is_the_same_whatever_else_there_is():
    record = DATA.targets["yes"].columns
    (few,) = UnitGroup(rows_of(DATA)).folds(record, 0.2, 0)
    (cut,) = UnitGroup(rows_of(DATA, [10, 33], parts=2)).folds(record, 0.2, 0)
    for a, b in ((few.train, cut.train), (few.test, cut.test)):
        for mine, other in zip(matrices(a), matrices(b), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_units_are_standardized_by_the_training_part_and_constant_ones_are_0():
    (fold,) = UnitGroup(rows_of(DATA)).folds([0], 0.3, 0)
    x, _ = matrices(fold.train)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(0), [1] * 6 + [0, 1], atol=1e-6)
    assert NOTES[fold.unit_note[6]] == "unit is constant"
    held, _ = matrices(fold.test)
    assert abs(held.mean(0)).max() > 1e-3


def test_hypotheses_with_nulls_of_their_own_have_rows_of_their_own():
    columns = [DATA.targets[n].columns[0] for n in ("yes", "yes, of words")]
    folds = list(UnitGroup(rows_of(DATA, [30])).folds(columns, 0.2, 0))
    assert [f.columns for f in folds] == [(columns[0],), (columns[1],)]
    known = ~np.isnan(DATA.hypotheses["yes, of words"])
    assert sum(f.train.rows + f.test.rows for f in folds) == DATA.symbols + known.sum()


@pytest.mark.parametrize("measure", PROBES)
def test_scores_do_not_depend_on_layers_and_where_the_rows_are(measure):
    """Of blocks, merge trees and batches, see `tests/measures/test_measures.py`."""
    targets = list(DATA.targets.values())
    plain = measure.compute_group(UnitGroup(rows_of(DATA)), targets)
    for other in (rows_of(DATA, [20], memory=4000), rows_of(DATA, [30], parts=3)):
        found = measure.compute_group(UnitGroup(other), targets)
        np.testing.assert_allclose(found.group_score, plain.group_score, atol=1e-5)
        np.testing.assert_allclose(found.unit_score, plain.unit_score, atol=1e-5)
        np.testing.assert_array_equal(found.note, plain.note)


@pytest.mark.parametrize("call", ["lda", "mass_mean(whitened := true)", "sparse(k := 4)", "linear"])
def test_a_probe_recovers_the_planted_units(call):
    (measure,) = measures([call])
    name = "how much" if call == "linear" else "yes"
    found = measure.compute_group(UnitGroup(rows_of(planted(3, 300))), [DATA.targets[name]])
    strongest = np.argsort(-np.abs(np.nan_to_num(found.unit_score[0])))[:3]
    assert set(strongest) == {0, 1, 2}
    assert np.sign(found.unit_score[0, :3]).tolist() == [1, 1, -1]
    assert found.group_score[0] > 0.95


def test_a_probe_is_scored_on_records_that_it_has_not_seen():
    group = UnitGroup(rows_of(DATA))
    (fold,) = group.folds([0], 0.2, 0)
    (x, y), (held, truth) = matrices(fold.train), matrices(fold.test)
    seen = [i for i in range(8) if i != 6]
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(x[:, seen], y[:, 0])
    found = measures(["lda"])[0].compute_group(group, [DATA.targets["yes"]])
    np.testing.assert_allclose(found.unit_score[0, seen], reference.coef_[0], rtol=1e-4)
    assert found.group_score[0] == pytest.approx(f1_score(truth[:, 0], reference.predict(held[:, seen])))


@pytest.mark.parametrize("measure", PROBES)
def test_labels_that_have_nothing_to_do_with_the_units_are_not_predicted(measure):
    rng = np.random.default_rng(1)
    data = planted(5, 400)
    by_chance = {"yes": (rng.random(data.symbols) < 0.3).astype(float), "how much": rng.normal(size=data.symbols)}
    data = Data(data.units, by_chance, {"yes": "boolean", "how much": "number"}, {}, data.records)
    targets = [t for t in data.targets.values() if t.kind in measure.kinds]
    found = measure.compute_group(UnitGroup(rows_of(data)), targets)
    for target, score in zip(targets, found.group_score, strict=True):
        if measure.scored == "bits":
            assert score > 0.85 * data.symbols
        elif target.kind == "number":
            assert score < 0.02
        else:
            assert score < 0.5


@pytest.mark.parametrize("call", ["lda", "mlp", "majority"])
def test_a_hypothesis_that_no_held_out_record_has_says_so(call):
    (measure,) = measures([call])
    for record in np.unique(DATA.record):  # the first record of the training part alone has the hypothesis
        only = (DATA.record == record) & (np.arange(DATA.symbols) % 2 == 0)
        data = Data(DATA.units, {"yes": only.astype(float)}, {"yes": "boolean"}, {}, DATA.record)
        (one,) = UnitGroup(rows_of(data)).folds([0], measure.held_out, 0)
        if matrices(one.train)[1].any():
            break
    found = measure.compute_group(UnitGroup(rows_of(data)), [data.targets["yes"]])
    assert np.isnan(found.group_score).all()
    notes = [NOTES[n] for n in found.note[0]]
    assert notes[6] == "unit is constant"
    assert set(notes[:6]) == {"hypothesis is constant in the held-out records"}


@pytest.mark.parametrize("records", [1, 2])
@pytest.mark.parametrize("measure", PROBES)
def test_one_record_is_not_enough(measure, records):
    data = planted(2, 2).rows(0, records * LENGTH)
    found = measure.compute_group(UnitGroup(rows_of(data)), list(data.targets.values()))
    assert (np.isnan(found.unit_score) <= (found.note > 0)).all()
    if records == 1 and measure.rests:
        assert np.isnan(found.group_score).all()
        few = "fewer than 2 records, one to learn from and one to be scored on"
        expected = {few, "hypothesis is constant", "hypothesis has fewer than 2 positives"}
        taken = [i for i, t in enumerate(data.targets.values()) if t.kind in measure.kinds]
        assert {NOTES[n] for i in taken for n in found.note[i]} <= expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("lda(held_out := 1)", "held_out of lda cannot be 1. Give a share between 0 and 1."),
        ("lda(group := 'unit')", "group of lda cannot be 'unit'. There are: layer, model."),
        ("lda(shrinkage := 2)", "shrinkage of lda cannot be 2. Give a number from 0 to 1."),
        ("linear(alpha := -1)", "alpha of linear cannot be -1. Give a number from 0 up."),
        ("sparse(k := -1)", "k of sparse cannot be -1. Give a number of units, or 0 for 1, 2, 4, ... 64."),
        ("mlp(width := 0)", "width of mlp cannot be 0. Give a number above 0."),
    ],
)
def test_an_option_out_of_its_range_is_refused(call, message):
    with pytest.raises(Exception, match="cannot be") as error:
        measures([call])
    assert str(error.value) == message


def test_sparse_is_one_measure_for_each_number_of_units():
    assert [m.call for m in measures(["sparse"])] == [f"sparse(k := {k})" for k in (1, 2, 4, 8, 16, 32, 64)]
    assert [m.call for m in measures(["sparse(k := 3)"])] == ["sparse(k := 3)"]
