"""Every registered measure equals its textbook value, in whatever portions the symbols come."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from harness import (
    CPU,
    LITTLE,
    PLENTY,
    REFERENCES,
    TOLERANCE,
    Data,
    block_state,
    check,
    hard_data,
    label_behavior,
    label_shift,
    merged,
    scores,
    targets_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.errors import MeasureError, nearest
from deepbase.measures.batch import BatchLabels
from deepbase.measures.notes import NOTES
from deepbase.measures.registry import MEASURES, call_text, measures, parse_call

UNIT_MEASURES = {name: m for name, m in MEASURES.items() if not m.grouped}
STATES = list(dict.fromkeys(m.state_type for m in UNIT_MEASURES.values()))
MEMORY = {kind: [PLENTY] if kind.memory(9, 9, 9999, PLENTY) < 9999 else [PLENTY, LITTLE] for kind in STATES}
"""A state that grows with what it sees is tried with too little memory, too."""
ALL = [
    pytest.param(m(), memory, id=f"{name}-{'plenty' if memory == PLENTY else 'little'}")
    for name, m in UNIT_MEASURES.items()
    for memory in MEMORY[m.state_type]
]
DATA = hard_data()
every_measure = pytest.mark.parametrize(("measure", "memory"), ALL)
every_state = pytest.mark.parametrize(("kind", "memory"), [(kind, m) for kind in STATES for m in MEMORY[kind]])


def in_blocks(kind, data, cuts, rng=None, memory=PLENTY):
    """The states of the blocks between some symbols, with pilots and null classes of their own."""
    bounds = sorted({0, data.symbols, *cuts})
    return [
        block_state(kind, data.rows(a, b), [(b - a) // 3], shift=label_shift(data, rng), rng=rng, memory=memory)
        for a, b in itertools.pairwise(bounds)
    ]


def arrays_equal(a, b):
    a, b = a.arrays(), b.arrays()
    return a.keys() == b.keys() and all(torch.equal(a[n].nan_to_num(7.5), b[n].nan_to_num(7.5)) for n in a)


def test_every_measure_has_a_reference():
    assert REFERENCES.keys() == {name for name, m in MEASURES.items() if not m.grouped}


@every_measure
@pytest.mark.parametrize("seed", range(3))
def test_one_pass_gives_the_textbook_value(measure, memory, seed):
    data = hard_data(seed=seed)
    check(
        measure,
        block_state(measure.state_type, data, shift=label_shift(data), memory=memory),
        data,
        approximate=memory != PLENTY,
    )


@every_measure
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_many_batches_give_the_textbook_value(measure, memory, size):
    state = block_state(measure.state_type, DATA, range(0, DATA.symbols, size), shift=label_shift(DATA), memory=memory)
    check(measure, state, DATA, approximate=memory != PLENTY)


@every_measure
def test_a_long_batch_gives_the_textbook_value(measure, memory):
    data = hard_data(8192)
    check(
        measure,
        block_state(measure.state_type, data, shift=label_shift(data), memory=memory),
        data,
        approximate=memory != PLENTY,
    )


@every_measure
def test_blocks_that_share_the_pilots_of_the_first_give_the_textbook_value(measure, memory):
    shift = label_shift(DATA)
    state = block_state(measure.state_type, DATA.rows(0, 60), [20], shift=shift, memory=memory)
    for first in (60, 120, 180):
        block = block_state(
            measure.state_type, DATA.rows(first, first + 60), [20, 40], shift=shift, like=state, memory=memory
        )
        state = state.merge(block)
    check(measure, state, DATA, approximate=memory != PLENTY)


@every_measure
def test_a_pilot_that_a_later_batch_brings_is_taken_over(measure, memory):
    """A number that is NULL in all of the first symbols has its pilot value from those where it begins."""
    labels = label_behavior(DATA)
    units = torch.from_numpy(DATA.x)
    middle = DATA.symbols // 2
    first = BatchLabels.of(labels, 0, middle, label_shift(DATA.rows(0, middle)), CPU)
    second = BatchLabels.of(labels, middle, DATA.symbols - middle, label_shift(DATA), CPU)
    assert first.shift[DATA.targets["number at the end"].columns[0]] == 0
    state = measure.state_type.first(units[:middle], first, memory).update(units[middle:], second)
    check(measure, state, DATA, approximate=memory != PLENTY)


@every_measure
def test_a_later_batch_may_bring_other_null_classes(measure, memory):
    middle, shift = DATA.symbols // 2, label_shift(DATA)
    halves = (DATA.rows(0, middle), DATA.rows(middle, DATA.symbols))
    labels = [BatchLabels.of(label_behavior(h), 0, middle, shift, CPU) for h in halves]
    assert labels[0].null_class.max() != labels[1].null_class.max()
    state = measure.state_type.first(torch.from_numpy(halves[0].x), labels[0], memory)
    check(measure, state.update(torch.from_numpy(halves[1].x), labels[1]), DATA, approximate=memory != PLENTY)


@every_measure
@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, DATA.symbols - 1), max_size=8),
    order=st.lists(st.integers(0, 100), max_size=16),
    seed=st.none() | st.integers(0, 1000),
)
def test_any_merge_tree_gives_the_textbook_value(measure, memory, cuts, order, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    check(
        measure,
        merged(in_blocks(measure.state_type, DATA, cuts, rng, memory=memory), order),
        DATA,
        approximate=memory != PLENTY,
    )


@every_measure
@settings(max_examples=60, deadline=None)
@given(
    data=st.integers(2, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(-3, 3), min_size=n, max_size=n),
            st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=n, max_size=n),
            st.lists(st.sampled_from([-1.0, 0.0, 2.5, np.nan]), min_size=n, max_size=n),
            st.integers(1, n),
        )
    )
)
def test_a_handful_of_symbols_gives_the_textbook_value(measure, memory, data):
    x, boolean, number, cut = data
    few = Data(
        {"unit": np.array(x, dtype=np.float32)},
        {"boolean": np.array(boolean), "number": np.array(number)},
        {"boolean": "boolean", "number": "number"},
    )
    check(
        measure, merged(in_blocks(measure.state_type, few, [cut], memory=memory), []), few, approximate=memory != PLENTY
    )


@every_measure
@pytest.mark.parametrize("symbols", [0, 1])
def test_without_two_symbols_there_is_no_score(measure, memory, symbols):
    data = DATA.rows(0, symbols)
    found = scores(measure, block_state(measure.state_type, data, memory=memory), data)
    assert np.isnan(found.unit_score).all()
    check(measure, block_state(measure.state_type, data, memory=memory), data, approximate=memory != PLENTY)


@every_measure
def test_a_run_that_begins_without_symbols_gives_the_textbook_value(measure, memory):
    empty = block_state(measure.state_type, DATA.rows(0, 0), memory=memory)
    check(
        measure,
        empty.merge(block_state(measure.state_type, DATA, shift=label_shift(DATA), memory=memory)),
        DATA,
        approximate=memory != PLENTY,
    )


@every_measure
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_spoiled_unit_leaves_its_neighbours_untouched(measure, memory, poison):
    clean = {k: v for k, v in DATA.units.items() if np.isfinite(v).all()}
    spoiled = {**clean, "ties": np.where(np.arange(DATA.symbols) == 100, np.float32(poison), clean["ties"])}
    found = []
    for units in (clean, spoiled):
        data = Data(units, DATA.hypotheses, DATA.kinds, DATA.values)
        state = merged(in_blocks(measure.state_type, data, [90, 180], memory=memory), [])
        found.append(scores(measure, state, data).unit_score)
    others = [i for i, name in enumerate(clean) if name != "ties"]
    assert np.isnan(found[1][:, list(clean).index("ties")]).all()
    np.testing.assert_array_equal(found[0][:, others], found[1][:, others])


@every_measure
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_unit_that_is_constant_where_a_hypothesis_has_a_value_has_no_score_with_it(measure, memory, share):
    """The rounding of what the unit does elsewhere must not pass for variation."""
    rng = np.random.default_rng(3)
    fires = rng.random(600) < share
    y = (rng.random(600) < 0.5).astype(float)
    data = Data(
        {
            f"{level} or more": (level + fires * rng.random(600)).astype(np.float32)
            for level in (0.0, 0.1, -3.7, 1e4, 1e-6)
        },
        {"where it is silent": np.where(fires, np.nan, y), "everywhere": y},
        {"where it is silent": "boolean", "everywhere": "boolean"},
    )
    for cuts in ([], [1], [200, 400], [np.flatnonzero(fires)[0], np.flatnonzero(fires)[0] + 1]):
        check(
            measure,
            merged(in_blocks(measure.state_type, data, cuts, memory=memory), []),
            data,
            approximate=memory != PLENTY,
        )


@every_measure
def test_outliers_do_not_spoil_a_hypothesis_that_is_null_on_them(measure, memory):
    """As with the activations of GPT-2 at the first token, 1,000 times those of others."""
    rng = np.random.default_rng(4)
    first = rng.random(8000) < 0.05
    y = (rng.random(8000) < 0.3).astype(float)
    x = rng.normal(size=8000) + y + 3000 * first
    data = Data(
        {"with outliers": x.astype(np.float32)},
        {"all": y, "not on outliers": np.where(first, np.nan, y)},
        {"all": "boolean", "not on outliers": "boolean"},
    )
    for size in (32, 640):
        check(
            measure,
            block_state(measure.state_type, data, range(0, 8000, size), memory=memory),
            data,
            approximate=memory != PLENTY,
        )


@every_measure
def test_a_perfect_detector_has_its_textbook_value(measure, memory):
    y = (np.arange(500) % 5 == 0).astype(float)
    data = Data(
        {
            "the hypothesis itself": y.astype(np.float32),
            "its negation at 1e4": (1e4 - y).astype(np.float32),
            **{f"0.1 or {i}.7": np.where(y == 1, i + 0.7, 0.1).astype(np.float32) for i in range(20)},
            "hardly blurred": (y + 1e-2 * np.sin(np.arange(500))).astype(np.float32),
        },
        {"y": y},
        {"y": "boolean"},
    )
    state = block_state(measure.state_type, data, [100, 200], memory=memory)
    check(measure, state, data, approximate=memory != PLENTY)
    if measure.name == "pearson":
        np.testing.assert_allclose(scores(measure, state, data).unit_score[0, :2], [1, -1], rtol=0, atol=1e-12)


@every_measure
def test_no_score_leaves_the_range_of_its_measure_by_rounding(measure, memory):
    for seed in range(20):
        x = np.random.default_rng(seed).normal(3, 1, 150).astype(np.float32)
        data = Data({"it": x, "its negation": -x}, {"it": x.astype(np.float64)}, {"it": "number"})
        check(
            measure,
            block_state(measure.state_type, data, [30], shift=label_shift(data), memory=memory),
            data,
            approximate=memory != PLENTY,
        )


@every_state
def test_a_state_that_keeps_rows_is_not_quick(kind, memory):
    """What is no fixed number of sums takes time to score, which must not pass while the database is locked."""
    assert kind.saved or not kind.quick


@every_state
def test_a_written_state_is_read_back_as_it_was_and_goes_on(kind, memory):
    whole = merged(in_blocks(kind, DATA, [100], np.random.default_rng(0), memory=memory), [])
    again = kind.from_arrays(whole.arrays(), CPU)
    assert arrays_equal(whole, again)
    more = block_state(kind, DATA, shift=label_shift(DATA), memory=memory)
    assert arrays_equal(whole.merge(more), again.merge(more))


@every_state
def test_a_written_state_shares_nothing_with_the_one_that_goes_on(kind, memory):
    state = block_state(kind, DATA, memory=memory)
    written = state.arrays()
    before = copy.deepcopy(written)
    labels = BatchLabels.of(label_behavior(DATA), 0, DATA.symbols, np.zeros(len(DATA.column_kinds)), CPU)
    state.update(torch.from_numpy(DATA.x), labels)
    assert all(torch.equal(written[n].nan_to_num(7.5), before[n].nan_to_num(7.5)) for n in written)


@every_state
def test_folding_does_not_change_the_units_or_the_labels(kind, memory):
    behavior, shift = label_behavior(DATA), label_shift(DATA)
    inputs = [torch.from_numpy(a) for a in (DATA.x, behavior.values, behavior.valid, behavior.null_class, shift)]
    before = [x.clone() for x in inputs]
    labels = BatchLabels.of(behavior, 0, DATA.symbols, shift, CPU)
    inputs += [labels.values, labels.valid, labels.null_class, labels.shift]
    before += [x.clone() for x in inputs[5:]]
    units = inputs[0]
    state = kind.first(units, labels, memory).update(units, labels)
    state.merge(kind.first(units, labels, memory)).update(units, labels)
    assert all(torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5)) for a, b in zip(inputs, before, strict=True))


@every_state
def test_merging_leaves_both_states_untouched_even_if_the_result_goes_on(kind, memory):
    a, b = in_blocks(kind, DATA, [100], np.random.default_rng(1), memory=memory)
    before = [kind.from_arrays(s.arrays(), CPU) for s in (a, b)]
    result = a.merge(b)
    behavior = label_behavior(DATA)
    labels = BatchLabels.of(behavior, 0, DATA.symbols, np.zeros(len(DATA.column_kinds)), CPU)
    result.update(torch.from_numpy(DATA.x), labels)
    assert arrays_equal(a, before[0])
    assert arrays_equal(b, before[1])


@pytest.mark.parametrize(("kind", "memory"), [(kind, MEMORY[kind][-1]) for kind in STATES])
def test_a_state_does_not_grow_with_the_number_of_symbols(kind, memory):
    def size(symbols):
        data = hard_data(symbols)
        states = in_blocks(kind, data, range(0, symbols, 60), memory=memory)
        return sum(a.numel() * a.element_size() for a in merged(states, []).arrays().values())

    assert size(1200) == size(240)


@every_measure
def test_a_measure_tells_its_facts(measure, memory):
    assert measure.range[0] < measure.range[1]
    assert set(measure.kinds) == set(REFERENCES[measure.name].kinds)
    assert measure.signed == (measure.range[0] < 0)
    assert measure.description
    assert measure.formula
    assert measure.source
    assert measure.exact


def test_measures_come_once_and_in_order():
    found = measures(["cohens_d", "pearson", "cohens_d"])
    assert [m.name for m in found] == ["cohens_d", "pearson"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pearsn"], "unknown measure 'pearsn'. Did you mean 'pearson' or 'spearman'?"),
        (["xyz"], f"unknown measure 'xyz'. {nearest('', MEASURES)}"),
        (["auc"], "unknown measure 'auc'. Did you mean 'auroc'?"),
        ([], f"no measure is asked for. {nearest('', MEASURES)}"),
        (["pearsn(x := 1)"], "unknown measure 'pearsn'. Did you mean 'pearson' or 'spearman'?"),
        (["pearson(x := 1)"], "measure 'pearson' has no option 'x'. There are: given, permutations, correction."),
        (["density(x := 1)"], "measure 'density' has no option 'x'. It has no options."),
        (["cohens_d(unbiassed := true)"], "measure 'cohens_d' has no option 'unbiassed'. Did you mean 'unbiased'?"),
        (
            ["cohens_d(unbiased := 'yes')"],
            "option 'unbiased' of measure 'cohens_d' cannot be 'yes'. Give true or false.",
        ),
        (
            ["cohens_d(unbiased := true, unbiased := true)"],
            "option 'unbiased' is given twice in 'cohens_d(unbiased := true, unbiased := true)'. Give it once.",
        ),
        (
            ["cohens_d(unbiased = true)"],
            "cannot understand 'unbiased = true' in the measure "
            "'cohens_d(unbiased = true)'. Write option := value; values are numbers, 'text', ['text', ...], true or "
            "false.",
        ),
        (
            ["cohens_d(unbiased := true,)"],
            "cannot understand '' in the measure 'cohens_d(unbiased := true,)'. "
            "Write option := value; values are numbers, 'text', ['text', ...], true or false.",
        ),
        (
            ["cohens_d(true"],
            "cannot understand the measure 'cohens_d(true'. Write a name, or name(option := value, ...).",
        ),
    ],
)
def test_an_unknown_measure_is_refused(names, message):
    with pytest.raises(MeasureError) as error:
        measures(names)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("pearson", "pearson", {}),
        (" pearson ( ) ", "pearson", {}),
        ("x(a := 1, b:=-2.5e3 , c := 'it''s, ok', d := TRUE)", "x", {"a": 1, "b": -2500.0, "c": "it's, ok", "d": True}),
        ("x(a := ')', b := '')", "x", {"a": ")", "b": ""}),
    ],
)
def test_a_call_is_a_name_with_options(text, name, options):
    assert parse_call(text) == (name, options)


def test_a_call_has_one_text():
    assert call_text("cohens_d", {}) == call_text("cohens_d", {"unbiased": False}) == "cohens_d"
    assert call_text("cohens_d", {"unbiased": True}) == "cohens_d(unbiased := true)"
    asked = ["cohens_d(unbiased:=TRUE)", "cohens_d(unbiased := false)", "cohens_d", "cohens_d( unbiased := true )"]
    found = measures(asked)
    assert [m.call for m in found] == ["cohens_d(unbiased := true)", "cohens_d"]
    assert [m.call for m in measures([m.call for m in found])] == [m.call for m in found]


@pytest.mark.parametrize("symbols", [4, 5, 6, 10, 60, 240])
def test_hedges_g_is_cohens_d_times_the_exact_correction(symbols):
    """The bias of d is the mean of sqrt(m) / chi(m), which is integrated here (Hedges 1981)."""
    plain, corrected = measures(["cohens_d", "cohens_d(unbiased := true)"])
    data = hard_data(symbols)
    state = block_state(plain.state_type, data, shift=label_shift(data))
    d, g = scores(plain, state, data), scores(corrected, state, data)
    for h, name in enumerate(targets_of(plain, data)):
        y = data.hypotheses[name]
        m = int((~np.isnan(y)).sum()) - 2
        for u in np.flatnonzero(d.note[h] == 0):
            if m == 1:
                assert NOTES[g.note[h, u]] == "fewer than 4 symbols, too few to correct the bias"
                continue
            factor = 1 / scipy.integrate.quad(lambda x, m=m: np.sqrt(m) / x * scipy.stats.chi(m).pdf(x), 0, np.inf)[0]
            assert g.unit_score[h, u] == pytest.approx(d.unit_score[h, u] * factor, rel=1e-6)
    assert (g.note[d.note != 0] == d.note[d.note != 0]).mean() > 0.5


@every_state
@pytest.mark.parametrize(("units", "hypotheses"), [(1, 1), (7, 3), (40, 2), (5, 60)])
def test_the_memory_of_a_state_is_known_beforehand(kind, memory, units, hypotheses):
    data = Data(
        {str(i): np.arange(9, dtype=np.float32) for i in range(units)},
        {str(i): np.arange(9) % 2.0 for i in range(hypotheses)},
        dict.fromkeys(map(str, range(hypotheses)), "boolean"),
    )
    arrays = block_state(kind, data, memory=memory).arrays().values()
    assert kind.memory(units, hypotheses, 9, memory) == sum(a.numel() * a.element_size() for a in arrays)


def test_the_tolerance_of_the_references_is_what_the_guarantee_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    assert REFERENCES["pearson"].error(0.3, x) == TOLERANCE == 1e-5
    assert REFERENCES["cohens_d"].error(0.3, x) == 1e-5
