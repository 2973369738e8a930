"""What is left after confounds equals what a regression in float64 leaves, in whatever portions the symbols come."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from given_data import (
    HYPOTHESIS,
    SETS,
    TOO_FEW,
    UNIT,
    Given,
    batches,
    in_blocks,
    rank,
    residual,
    state_of,
    usual_note,
    with_confounds,
)
from harness import TOLERANCE
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from deepbase.errors import MeasureError
from deepbase.measures.batch import GROUPS
from deepbase.measures.partial import GivenMoments
from deepbase.measures.registry import MEASURES, measures, parse_call
from deepbase.testing import Data, hard_data, label_shift, merged

PEARSON, DIFFERENCE = (MEASURES[name](given=("z",)) for name in ("pearson", "mean_difference"))
BOTH = pytest.mark.parametrize("measure", [PEARSON, DIFFERENCE], ids=lambda m: m.name)
WHOLE = with_confounds(hard_data())


def expected(measure, whole, unit, hypothesis, columns):
    """The score of a pair and its scale, or the note that stands in its place."""
    every, y = whole.data.units[unit].astype(float), whole.data.hypotheses[hypothesis]
    z = whole.values[:, list(columns)]
    known = ~np.isnan(y) & ~np.isnan(z).any(1)
    x, y, z = every[known], y[known], z[known]
    note = usual_note(measure, whole.data.kinds[hypothesis], every, x, y)
    if note is None and len(y) <= rank(z) + 2:
        note = TOO_FEW
    if note is None and residual(x, z).std() <= max(1e-6 * x.std(), 2.0**-23 * abs(x.mean())):
        note = UNIT
    if note is None and residual(y, z).std() <= 1e-6 * y.std():
        note = HYPOTHESIS
    if note:
        return None, note, 0.0
    x, y = residual(x, z), residual(y, z)
    if measure.name == "pearson":
        return float(scipy.stats.pearsonr(x, y).statistic), None, 1.0
    slope = float(x @ y / (y @ y))
    return slope, None, max(abs(slope), float(x.std() / y.std()))


def check(measure, state, whole, sets=SETS):
    """Compare every score of a state with what is expected."""
    wrong, scored = [], 0
    for columns in sets:
        targets = whole.targets(measure, columns)
        found = measure.compute(state, list(targets.values()))
        for (h, hypothesis), (u, unit) in itertools.product(enumerate(targets), enumerate(whole.data.units)):
            score, note, scale = expected(measure, whole, unit, hypothesis, columns)
            value, said = float(found.unit_score[h, u]), found.notes[found.note[h, u]]
            scored += score is not None
            right = said == note and (np.isnan(value) if score is None else abs(value - score) <= TOLERANCE * scale)
            if not right:
                wrong.append(f"{unit} / {hypothesis} / {columns}: {value} ({said}) instead of {score} ({note})")
    assert not wrong, f"{measure.name}: {len(wrong)} wrong scores\n" + "\n".join(wrong[:10])
    return scored


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_one_pass_gives_what_a_regression_leaves(measure, seed):
    whole = with_confounds(hard_data(seed=seed), seed)
    assert check(measure, state_of(GivenMoments, whole), whole) > 400


@BOTH
@pytest.mark.parametrize("size", [1, 7, 100])
def test_many_batches_give_what_a_regression_leaves(measure, size):
    check(measure, state_of(GivenMoments, WHOLE, range(0, WHOLE.data.symbols, size)), WHOLE)


@BOTH
def test_a_long_batch_gives_what_a_regression_leaves(measure):
    whole = with_confounds(hard_data(8192))
    check(measure, state_of(GivenMoments, whole, [1000]), whole, SETS[:4])


@BOTH
@settings(max_examples=15, deadline=None)
@drawn(
    cuts=st.lists(st.integers(1, WHOLE.data.symbols - 1), max_size=6),
    order=st.lists(st.integers(0, 100), max_size=12),
    seed=st.none() | st.integers(0, 1000),
)
def test_any_merge_tree_gives_what_a_regression_leaves(measure, cuts, order, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    check(measure, merged(in_blocks(GivenMoments, WHOLE, cuts, rng), order), WHOLE, [SETS[(seed or 0) % len(SETS)]])


@BOTH
@settings(max_examples=60, deadline=None)
@drawn(
    data=st.integers(2, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(-3, 3), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=n, max_size=n),
            st.lists(st.sampled_from([-1.0, 0.0, 2.5, np.nan]), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=n, max_size=n),
            st.integers(1, n),
        )
    )
)
def test_a_handful_of_symbols_gives_what_a_regression_leaves(measure, data):
    x, boolean, number, z, cut = data
    few = Data(
        {"unit": np.array(x, dtype=np.float32)},
        {"boolean": np.array(boolean), "number": np.array(number)},
        {"boolean": "boolean", "number": "number"},
    )
    whole = Given(few, np.array(z)[:, None], ("number",), ((0,),))
    blocks = in_blocks(GivenMoments, whole, [cut], shift=label_shift(few))
    check(measure, merged(blocks, []), whole, [(0,)])


@BOTH
@pytest.mark.parametrize("symbols", [0, 1])
def test_without_two_symbols_there_is_no_score(measure, symbols):
    few = WHOLE.rows(0, symbols)
    assert check(measure, state_of(GivenMoments, few), few) == 0


@BOTH
def test_a_run_that_begins_without_symbols_gives_what_a_regression_leaves(measure):
    empty = state_of(GivenMoments, WHOLE.rows(0, 0))
    check(measure, empty.merge(state_of(GivenMoments, WHOLE)), WHOLE)
    check(measure, state_of(GivenMoments, WHOLE).merge(empty), WHOLE)


def test_merging_leaves_both_untouched():
    one, two = in_blocks(GivenMoments, WHOLE, [100], np.random.default_rng(1))
    before = [{n: v.clone() for n, v in s.arrays().items()} for s in (one, two)]
    one.merge(two)
    for state, old in zip((one, two), before, strict=True):
        assert all(torch.equal(v.nan_to_num(7.5), old[n].nan_to_num(7.5)) for n, v in state.arrays().items())


@BOTH
def test_a_checkpoint_goes_on_to_the_same_numbers(measure):
    first, second = in_blocks(GivenMoments, WHOLE, [130])
    again = GivenMoments.from_arrays(load(save(first.arrays())), torch.device("cpu"))
    targets = list(WHOLE.targets(measure, SETS[2]).values())
    found = [measure.compute(s.merge(second), targets) for s in (first, again)]
    for name in ("unit_score", "note", "p_value"):
        assert np.array_equal(*(getattr(f, name) for f in found), equal_nan=True)
    check(measure, again.merge(second), WHOLE, [SETS[2]])


@BOTH
def test_next_to_nothing_left_is_still_exact(measure):
    """The confound explains all but a millionth of the variance of unit and hypothesis."""
    rng = np.random.default_rng(0)
    z, left = rng.normal(size=2000), rng.normal(size=2000)
    y = z + 1e-3 * left
    data = Data(
        {"unit": (100 * z + 0.1 * (left + rng.normal(size=2000))).astype(np.float32)},
        {"y": y, "above": (y + 1e-2 * rng.normal(size=2000) > 0).astype(float)},
        {"y": "number", "above": "boolean"},
    )
    whole = Given(data, z[:, None], ("number",), ((0,),))
    assert check(measure, merged(in_blocks(GivenMoments, whole, [300, 900]), []), whole, [(0,)])


def test_given_what_it_is_a_hypothesis_is_determined():
    values = np.stack([WHOLE.data.hypotheses["number"], WHOLE.data.units["plain"].astype(float)], axis=1)
    whole = Given(WHOLE.data, values, ("number", "number"), ((0,), (1,)))
    state = state_of(GivenMoments, whole, [50])
    names = list(whole.targets(PEARSON, (0,)))
    of_hypothesis, of_unit = (PEARSON.compute(state, list(whole.targets(PEARSON, c).values())) for c in ((0,), (1,)))
    assert of_hypothesis.notes[of_hypothesis.note[names.index("number"), 0]] == HYPOTHESIS
    assert of_unit.notes[of_unit.note[names.index("half"), 0]] == UNIT
    assert np.isnan(of_unit.p_value[names.index("half"), 0])
    check(PEARSON, state, whole, ((0,), (1,)))


def clustered(x, y, group):
    """The t-test over the shares of groups, by hand."""
    share = np.array([(x * y)[group == g].sum() for g in np.unique(group)])
    return scipy.stats.ttest_1samp(share, 0).pvalue


@BOTH
def test_p_values_are_those_of_the_residual_shares_of_groups(measure):
    rng = np.random.default_rng(2)
    data = hard_data(600)
    data = replace(data, records=np.sort(rng.integers(0, 90, 600)))
    whole = with_confounds(data)
    state = merged(in_blocks(GivenMoments, whole, [200, 400]), [])
    group = state_labels(whole).group.numpy()
    for columns in SETS[:4]:
        targets = whole.targets(measure, columns)
        found = measure.compute(state, list(targets.values()))
        units = [list(data.units).index(unit) for unit in ("plain", "ties", "saturated")]
        for (h, name), u in itertools.product(enumerate(targets), units):
            if name in ("half", "of words", "number", "number of words") and found.note[h, u] == 0:
                y, z = data.hypotheses[name], whole.values[:, list(columns)]
                known = ~np.isnan(y) & ~np.isnan(z).any(1)
                x = residual(data.x[known, u].astype(float), z[known])
                p = clustered(x, residual(y[known], z[known]), group[known])
                assert len(np.unique(group[known])) == GROUPS
                assert found.p_value[h, u] == pytest.approx(p, rel=1e-3)


def state_labels(whole):
    ((_, labels),) = batches(whole, (), label_shift(whole.data))
    return labels


def test_what_a_confound_brings_about_is_significant_only_without_it():
    """Unit and hypotheses follow the confound, records have levels of their own, and nothing else is there."""
    rng = np.random.default_rng(3)
    record = np.repeat(np.arange(300), 5)
    z = (rng.normal(size=300)[record] + rng.normal(size=1500))[:, None]
    levels = rng.normal(size=(300, 80))[record]
    x = z + levels[:, :40] + rng.normal(size=(1500, 40))
    y = z + levels[:, 40:] + rng.normal(size=(1500, 40)) > 0
    data = Data(
        {str(i): x[:, i].astype(np.float32) for i in range(40)},
        {str(i): y[:, i].astype(float) for i in range(40)},
        {str(i): "boolean" for i in range(40)},
        records=record,
    )
    whole = Given(data, np.append(z, np.full_like(z, 1.0), axis=1), ("number", "number"), ((0,), (1,)))
    state = state_of(GivenMoments, whole, [700])
    with_z, without = (PEARSON.compute(state, list(whole.targets(PEARSON, c).values())) for c in ((0,), (1,)))
    assert (without.p_value < 0.05).mean() > 0.95
    assert 0.03 < (with_z.p_value < 0.05).mean() < 0.07
    assert abs(with_z.unit_score).mean() < 0.1 * abs(without.unit_score).mean() + 0.03


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("pearson(given := ['length(word)', 'position'])", ("length(word)", "position")),
        ("pearson(given:=['length(word)','position'])", ("length(word)", "position")),
        ("pearson( given := [ 'word = ''it''''s''' ] )", ("word = 'it''s'",)),
        ("auroc(given := ['a, b)', ']'])", ("a, b)", "]")),
        ("logistic(given := ['position'], c := 2)", ("position",)),
        ("pearson(given := [])", ()),
        ("pearson(given := [ ])", ()),
    ],
)
def test_a_list_of_texts_is_an_option_and_survives_the_round_trip(text, given):
    (measure,) = measures([text])
    assert measure.confounds == given
    assert measures([measure.call]) == (measure,)
    assert parse_call(measure.call)[1].get("given", []) == list(given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pearson(given := 'position')",
            "option 'given' of measure 'pearson' cannot be 'position'. Give a list of texts, such as "
            "['length(word)', 'position'].",
        ),
        (
            "pearson(given := ['position')",
            "cannot understand \"given := ['position'\" in the measure \"pearson(given := ['position')\". Write option "
            ":= value; values are numbers, 'text', ['text', ...], true or false.",
        ),
        ("majority(given := ['position'])", "measure 'majority' has no option 'given'"),
        ("spearman(given := ['position'])", "measure 'spearman' has no option 'given'"),
        (
            "cohens_d(unbiased := ['yes'])",
            "option 'unbiased' of measure 'cohens_d' cannot be ['yes']. Give true or false.",
        ),
    ],
)
def test_what_is_no_list_of_texts_is_told(text, message):
    with pytest.raises(MeasureError) as error:
        measures([text])
    assert str(error.value).startswith(message)


def test_the_state_takes_what_it_says():
    data = Data(
        {str(i): np.arange(20.0, dtype=np.float32) for i in range(7)},
        {str(i): np.arange(20.0) % 2 for i in range(5)},
        {str(i): "boolean" for i in range(5)},
    )
    whole = Given(data, np.random.default_rng(0).normal(size=(20, 4)), ("number",) * 4, ((0, 1, 3), (2,)))
    taken = sum(v.nbytes for v in state_of(GivenMoments, whole).arrays().values())
    assert GivenMoments.memory_given(7, 5, 20, 0, [3, 1]) == taken


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("pearson(given := ['a'], permutations := 9)", "'pearson' cannot permute the labels of what is left"),
        ("auroc(given := ['a'], permutations := 9)", "'auroc' cannot permute the labels of what is left"),
        ("auroc(given := ['a'], tested := true)", "'auroc' cannot be tested on what is left"),
    ],
)
def test_what_is_left_has_the_p_values_that_it_has(call, message):
    with pytest.raises(MeasureError, match=re.escape(message)):
        measures([call])
