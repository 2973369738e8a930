"""Groups of units compared over the same symbols, against whole matrices in float64, wherever the rows are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from deepbase.errors import MeasureError
from deepbase.measures.batch import GROUP_SEED, GROUPS, BatchLabels
from deepbase.measures.hashing import hashed
from deepbase.measures.notes import NOTES
from deepbase.measures.probes.matching import MatchedUnits, Order, matched
from deepbase.measures.registry import MEASURES, measures
from deepbase.measures.rows import Rows
from deepbase.measures.spread import interval

CALLS = ["cka", "cka(unbiased := true)", "cca", "cca(held_out := 0)", "cca(variance := 0.9)", "cca(weighted := true)"]
LENGTHS = np.random.default_rng(7).integers(1, 12, size=60)
RECORD = np.repeat(np.arange(60) * 10 + 3, LENGTHS)
POSITION = np.concatenate([np.arange(n) for n in LENGTHS])


def layers(seed=0):
    """Three layers that share something: one far from 0, with units of very different sizes; float32."""
    rng = np.random.default_rng(seed)
    n = len(RECORD)
    x = rng.normal(size=(n, 6))
    y = x[:, :3] @ rng.normal(size=(3, 9)) + 0.5 * rng.normal(size=(n, 9))
    z = 1e4 + np.concatenate([30 * x[:, :1], y[:, :2], 1e-1 * rng.normal(size=(n, 2))], 1)
    return [a.astype(np.float32) for a in (x, y, z)]


def state(x, rows=None, cuts=(), memory=2**40, place=None):
    """The rows of a layer, in an order, in blocks between some of them."""
    rows = np.arange(len(x)) if rows is None else rows
    start = POSITION * 3
    places = np.stack([POSITION, start, start + 2], 1) if place is None else place
    found = None
    for first, end in itertools.pairwise([0, *cuts, len(rows)]):
        at = rows[first:end]
        labels = BatchLabels(
            values=torch.zeros(len(at), 0),
            valid=None,
            null_class=torch.zeros(0, dtype=torch.int64),
            shift=torch.zeros(0, dtype=torch.float64),
            record=torch.from_numpy(RECORD[at]),
            kinds=(),
            place=torch.from_numpy(places[at].astype(np.int32)),
        )
        block = Rows.first(torch.from_numpy(x[at]), labels, memory)
        found = block if found is None else found.merge(block)
    return found


def groups(*states, **options):
    orders = matched(states, **options)
    return [MatchedUnits((s,), o) for s, o in zip(states, orders, strict=True)]


def compared(call, several):
    """The scores by pair."""
    (measure,) = measures([call])
    return {(i, j): values for i, j, values in measure.compare(several)}


def centered(x):
    x = x.astype(np.float64)
    return x - x.mean(0)


def textbook_cka(x, y):
    x, y = centered(x), centered(y)
    size = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    shares = np.square(y.T @ x).sum(0) / size
    return shares.sum(), shares


def textbook_unbiased_cka(x, y):
    def unbiased(a, b):
        n = len(a)
        k, m = (z @ z.T * (1 - np.eye(n)) for z in (a, b))
        last = 2 / (n - 2) * (k @ m).sum()
        return (np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - last) / (n * (n - 3))

    x, y = centered(x), centered(y)
    size = np.sqrt(unbiased(x, x) * unbiased(y, y))
    shares = np.array([unbiased(x[:, [u]], y) for u in range(x.shape[1])]) / size
    return unbiased(x, y) / size, shares


def textbook_cca(x, y, held_out=0.2, variance=1.0, weighted=False):
    x, y = x.astype(np.float64), y.astype(np.float64)
    records = np.unique(RECORD)
    order = records[np.argsort(hashed(records, 0))]
    test = np.isin(RECORD, order[: round(held_out * len(order))]) if held_out else np.ones(len(x), dtype=bool)
    train = ~test if held_out else test
    means = x[train].mean(0), y[train].mean(0)
    bases = []
    for a in (x[train] - means[0], y[train] - means[1]):
        _, values, vectors = np.linalg.svd(a, full_matrices=False)
        held = np.cumsum(values**2) / np.sum(values**2)
        kept = len(values) if variance == 1 else np.searchsorted(held, variance) + 1
        bases.append(vectors[:kept].T / values[:kept])
    variates = [(a[train] - m) @ b for a, m, b in zip((x, y), means, bases, strict=True)]
    left, _, right = np.linalg.svd(variates[0].T @ variates[1], full_matrices=False)
    a, b = (x - means[0]) @ bases[0] @ left, (y - means[1]) @ bases[1] @ right.T
    correlations = [np.corrcoef(p[test], q[test])[0, 1] for p, q in zip(a.T, b.T, strict=True)]
    weights = np.abs(a[train].T @ (x[train] - means[0])).sum(1) if weighted else np.ones(len(correlations))
    other = (y - means[1]) @ bases[1]
    predicted = LinearRegression().fit(other[train], x[train]).predict(other[test])
    return np.average(correlations, weights=weights), r2_score(x[test], predicted, multioutput="raw_values")


TEXTBOOK = {
    "cka": textbook_cka,
    "cka(unbiased := true)": textbook_unbiased_cka,
    "cca": textbook_cca,
    "cca(held_out := 0)": lambda x, y: textbook_cca(x, y, held_out=0),
    "cca(variance := 0.9)": lambda x, y: textbook_cca(x, y, variance=0.9),
    "cca(weighted := true)": lambda x, y: textbook_cca(x, y, weighted=True),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_pair_is_its_textbook_value_from_both_sides(call):
    three = layers()
    found = compared(call, groups(*map(state, three)))
    assert sorted(found) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    for (i, j), values in found.items():
        score, shares = TEXTBOOK[call](three[i], three[j])
        assert values.group_score[0] == pytest.approx(score, abs=1e-5), (i, j)
        np.testing.assert_allclose(values.unit_score[0], shares, atol=1e-5, err_msg=f"{i} {j}")
        assert not values.note.any()
        assert values.p_value is None


@pytest.mark.parametrize("call", CALLS)
def test_scores_do_not_depend_on_batches_on_the_order_of_rows_or_where_they_are(call):
    three = layers()
    plain = compared(call, groups(*map(state, three)))
    rng = np.random.default_rng(1)
    mixed = [rng.permutation(len(RECORD)) for _ in three]
    for several in (
        [state(x, cuts=c) for x, c in zip(three, ([], [10, 200], [50]), strict=True)],
        [state(x, rows, [100, 101]) for x, rows in zip(three, mixed, strict=True)],
        [state(x, rows, [50, 120], memory=5000) for x, rows in zip(three, mixed, strict=True)],
    ):
        for pair, values in compared(call, groups(*several)).items():
            np.testing.assert_allclose(values.group_score, plain[pair].group_score, atol=1e-6)
            np.testing.assert_allclose(values.unit_score, plain[pair].unit_score, atol=1e-6)


@pytest.mark.parametrize("call", CALLS)
def test_layers_that_are_one_group_are_one_matrix(call):
    x, y, z = layers()
    whole = compared(call, groups(state(np.concatenate([x, y], 1)), state(z)))[0, 1]
    one, two = state(x), state(y, cuts=[33])
    order = matched([one, state(z)])
    parts = compared(call, [MatchedUnits((one, two), order[0]), MatchedUnits((state(z),), order[1])])[0, 1]
    np.testing.assert_allclose(parts.group_score, whole.group_score, atol=1e-7)
    np.testing.assert_allclose(parts.unit_score, whole.unit_score, atol=1e-7)


@pytest.mark.parametrize("call", CALLS)
def test_a_group_is_like_itself_and_like_itself_turned(call):
    x = layers()[0]
    (measure,) = measures([call])
    alone = measure.compute(state(x), [])
    assert alone.group_score[0] == pytest.approx(1, abs=1e-6)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    turned = compared(call, groups(state(x), state((5 - 3 * x @ turn).astype(np.float32))))
    assert turned[0, 1].group_score[0] == pytest.approx(1, abs=1e-5)
    if measure.name == "cca" and measure.variance == 1:
        np.testing.assert_allclose(turned[0, 1].unit_score, 1, atol=1e-5)


@pytest.mark.parametrize("call", CALLS)
def test_constant_units_and_units_that_are_not_finite_take_no_part(call):
    x, y, _ = layers()
    odd = np.insert(x, [2, 4], np.float32(7.5), axis=1)
    odd[100, 5] = np.nan
    found = compared(call, groups(state(odd), state(y)))
    plain = compared(call, groups(state(x), state(y)))
    np.testing.assert_allclose(found[1, 0].unit_score, plain[1, 0].unit_score, atol=1e-6)
    np.testing.assert_allclose(found[0, 1].group_score, plain[0, 1].group_score, atol=1e-6)
    np.testing.assert_allclose(np.delete(found[0, 1].unit_score[0], [2, 5]), plain[0, 1].unit_score[0], atol=1e-6)
    notes = [NOTES[n] for n in found[0, 1].note[0]]
    assert notes[2] == "unit is constant"
    assert notes[5] == "unit has NaN or infinite activations"
    assert np.isnan(found[0, 1].unit_score[0, [2, 5]]).all()


@pytest.mark.parametrize("call", CALLS)
def test_a_group_in_which_nothing_varies_is_like_no_other(call):
    x, y, _ = layers()
    found = compared(call, groups(state(x), state(np.full_like(y, 2))))
    assert {NOTES[n] for n in found[0, 1].note[0]} == {"no unit of one of the two groups varies"}
    assert {NOTES[n] for n in found[1, 0].note[0]} == {"unit is constant"}
    assert np.isnan([v.group_score[0] for v in found.values()]).all()


@pytest.mark.parametrize(
    ("call", "rows", "note"),
    [
        ("cka", 1, "fewer than 2 symbols"),
        ("cka(unbiased := true)", 3, "fewer than 4 symbols, too few to correct the bias"),
        ("cca", 1, "fewer than 2 symbols"),
        ("cca", LENGTHS[0], "fewer than 2 records, one to learn from and one to be scored on"),
    ],
)
def test_too_few_symbols_or_records(call, rows, note):
    x, y, _ = layers()
    found = compared(call, groups(*(state(a, np.arange(rows)) for a in (x, y))))
    for values in found.values():
        assert {NOTES[n] for n in values.note[0]} == {note}
        assert np.isnan(values.group_score[0])
        assert np.isnan(values.unit_score).all()


@pytest.mark.parametrize("call", CALLS)
def test_models_with_other_symbols_are_not_compared(call):
    x, y, z = layers()
    other = np.stack([POSITION, POSITION * 3, POSITION * 3 + 2], 1)
    other[5, 2] += 1
    found = compared(call, groups(state(x), state(y, place=other), state(z), state(x, np.arange(len(x) - 1))))
    for pair, values in found.items():
        if set(pair) == {0, 2}:
            assert np.isfinite(values.group_score[0])
            continue
        assert {NOTES[n] for n in values.note[0]} == {"models have different symbols: compare them at words (at word)"}
        assert np.isnan(values.group_score[0])


def test_the_first_symbol_of_a_record_has_no_derivative():
    x, y, _ = layers()
    rows = np.random.default_rng(0).permutation(len(x))
    found = compared("cka", groups(state(x), state(y, rows), without_first=True))
    score, _ = textbook_cka(x[POSITION > 0], y[POSITION > 0])
    assert found[0, 1].group_score[0] == pytest.approx(score, abs=1e-6)


def test_many_units_overfit_on_the_symbols_that_they_are_learned_from_only():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, len(RECORD), 150)).astype(np.float32)
    assert compared("cca(held_out := 0)", groups(state(x), state(y)))[0, 1].group_score[0] > 0.5
    assert abs(compared("cca", groups(state(x), state(y)))[0, 1].group_score[0]) < 0.1


def test_groups_that_are_too_wide_for_correlations_say_so():
    x, y, _ = layers()
    found = compared("cca", groups(state(x), state(np.tile(y, 456))))
    notes = {NOTES[n] for v in found.values() for n in v.note[0]}
    assert notes == {"more than 4,096 units, too many for canonical correlations"}


def test_what_was_learned_of_groups_is_forgotten_where_there_is_no_room(monkeypatch):
    three = layers()
    plain = compared("cca", groups(*map(state, three)))
    monkeypatch.setattr("deepbase.measures.probes.comparisons.KEPT", 0)
    for pair, values in compared("cca", groups(*map(state, three))).items():
        np.testing.assert_array_equal(values.unit_score, plain[pair].unit_score)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("cka(group := 'unit')", "group of cka cannot be 'unit'. There are: layer, model."),
        ("cca(held_out := 1)", "held_out of cca cannot be 1. Give a share from 0 up and below 1."),
        ("cca(variance := 0)", "variance of cca cannot be 0. Give a share above 0."),
        ("cca(variance := 2)", "variance of cca cannot be 2. Give a number from 0 to 1."),
    ],
)
def test_an_option_out_of_its_range_is_refused(call, message):
    with pytest.raises(MeasureError) as error:
        measures([call])
    assert str(error.value) == message


def test_both_are_registered():
    assert [n for n, m in MEASURES.items() if m.grouped and not m.kinds] == ["cka", "cca"]


@pytest.mark.parametrize("call", ["cka", "cka(unbiased := true)"])
def test_the_error_of_cka_is_that_of_a_jackknife_of_groups_of_records(call):
    x, y, _ = layers()
    found = compared(call, groups(state(x), state(y)))[0, 1]
    group = hashed(RECORD, GROUP_SEED) % GROUPS
    without = []
    for g in np.unique(group):
        rows = np.flatnonzero(group != g)
        without.append(compared(call, groups(state(x, rows), state(y, rows)))[0, 1].group_score)
    without = np.arctanh(without)
    n = len(without)
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    bias = (n - 1) * (without.mean() - np.arctanh(found.group_score))
    tolerance = 1e-6 if call == "cka" else 0.1  # the correction leaves the means as they are
    np.testing.assert_allclose(found.spread.error, [[error]], rtol=tolerance)
    np.testing.assert_allclose(found.spread.bias[0], bias, rtol=10 * tolerance, atol=0.01)
    symbols = np.bincount(group.astype(int))
    np.testing.assert_allclose(found.spread.freedom, [symbols.sum() ** 2 / np.square(symbols).sum() - 1])


def test_intervals_of_cka_hold_what_all_records_give():
    rng = np.random.default_rng(0)
    record = np.repeat(np.arange(400), rng.integers(2, 12, 400))
    n = len(record)
    x = rng.normal(size=(400, 20))[record] + rng.normal(size=(n, 20))
    y = (x @ rng.normal(size=(20, 30)) + 5 * rng.normal(size=(400, 30))[record]).astype(np.float32)

    def units(values, rows):
        shown = Rows.first(torch.from_numpy(values[rows].astype(np.float32)), _no_labels(record[rows]), 2**40)
        return MatchedUnits((shown,), Order(0, np.arange(len(rows)), record[rows]))

    def scored(rows):
        return compared("cka", [units(x, rows), units(y, rows)])[0, 1]

    whole, hits = scored(np.arange(n)).group_score[0], []
    for _ in range(60):
        rows = np.flatnonzero(np.isin(record, rng.permutation(400)[:100]))
        found = scored(rows)
        low, high = interval(found.group_score[:, None], found.spread, "fisher", 0.05, 0.75)
        hits.append(low[0, 0] <= whole <= high[0, 0])
    assert 0.95 - 3 * np.sqrt(0.05 * 0.95 / 60) < np.mean(hits)


def _no_labels(record):
    nothing = torch.zeros(len(record), 0)
    classes, shift = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
    return BatchLabels(nothing, None, classes, shift, torch.from_numpy(record), ())


def test_few_records_canonical_correlations_and_equal_groups_have_no_interval():
    x, y, z = layers()
    few = np.flatnonzero(RECORD < 90)
    thin = compared("cka", groups(state(x, few), state(y, few)))[0, 1]
    assert np.isnan(thin.spread.error).all()
    assert thin.spread.missing == "no interval: too few records tell of the hypothesis"
    correlated = compared("cca", groups(state(x), state(z)))[0, 1]
    assert np.isnan(correlated.spread.error).all()
    assert "directions learned from more records are others" in correlated.spread.missing
    same = compared("cka", groups(state(x), state(x)))[0, 1]
    with np.errstate(invalid="ignore"):
        assert np.isnan(interval(same.group_score[:, None], same.spread, "fisher", 0.05, 0.5)).all()
