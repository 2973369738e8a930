"""What measures of order do beyond the harness: both kernels, sketches and how good they are, options, numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from harness import (
    check,
    information,
    textbook_jaccard,
    textbook_mutual_information,
    textbook_mutual_information_of_numbers,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.errors import MeasureError
from deepbase.measures.base import Target
from deepbase.measures.batch import BatchLabels
from deepbase.measures.order import kendall, sketch, walk
from deepbase.measures.order.codes import NOWHERE, borders, codes, common, decoded
from deepbase.measures.order.scores import STEPS
from deepbase.measures.order.state import PairOrder
from deepbase.measures.registry import MEASURES, measures
from deepbase.testing import (
    CPU,
    LITTLE,
    PLENTY,
    Data,
    block_state,
    hard_data,
    label_behavior,
    label_shift,
    merged,
    scores,
)

OF_ORDER = {name: m() for name, m in MEASURES.items() if m.state_type is PairOrder}
every_measure = pytest.mark.parametrize("measure", [pytest.param(m, id=n) for n, m in OF_ORDER.items()])
DATA = hard_data()
SOME = 2**16


@pytest.fixture
def _with_torch(monkeypatch):
    for module in (walk, sketch, kendall):
        monkeypatch.setattr(module, "kernels", lambda: None)


def tied_data(symbols=3000, seed=1):
    """Units with few ties, many ties and hardly anything else; hypotheses that are true together on tied symbols."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=symbols)
    once = signal + rng.normal(size=symbols)
    few = once.copy()
    few[rng.choice(symbols, 60, replace=False)] = np.repeat(rng.normal(size=20), 3)
    units = {
        "no ties": rng.permutation(symbols) / 7.0,
        "few ties": few,
        "rounded": np.round(once, 1),
        "mostly 0": np.maximum(once - 1, 0),
        "0 and 1": (once > 0.5).astype(float),
        "both zeros": np.where(once > 1, once, np.where(signal > 0, 0.0, -0.0)),
    }
    hypotheses = {
        "often": (signal > 0.3).astype(float),
        "seldom": (signal > 2.2).astype(float),
        "NULL somewhere": np.where(rng.random(symbols) < 0.3, np.nan, signal > 1),
        "nearly always": (signal > -2.2).astype(float),
        "a number": np.round(signal, 1),
        "no tied number": signal,
        "one of five": np.digitize(signal, [-1, 0, 0.5, 1]).astype(float),
    }
    kinds = dict.fromkeys(hypotheses, "boolean") | {"a number": "number", "no tied number": "number"}
    units = {k: v.astype(np.float32) for k, v in units.items()}
    return Data(units, hypotheses, kinds | {"one of five": "category"}, {"one of five": 5})


TIED = tied_data()


@every_measure
@pytest.mark.parametrize("data", [pytest.param(DATA, id="hard"), pytest.param(TIED, id="tied")])
@pytest.mark.parametrize("memory", [PLENTY, LITTLE])
@pytest.mark.usefixtures("_with_torch")
def test_without_numba_the_scores_are_the_textbook_values(measure, data, memory):
    state = block_state(PairOrder, data, range(0, data.symbols, 50), shift=label_shift(data), memory=memory)
    assert (state.sketch is None) == (memory == PLENTY)
    check(measure, state, data, approximate=memory != PLENTY)


@every_measure
@pytest.mark.parametrize("memory", [PLENTY, SOME, 2**16])
def test_ties_give_the_textbook_value(measure, memory):
    state = block_state(PairOrder, TIED, range(0, TIED.symbols, 50), shift=label_shift(TIED), memory=memory)
    check(measure, state, TIED, approximate=memory != PLENTY)


def test_both_ways_to_count_give_the_same_sketch(monkeypatch):
    compiled = block_state(PairOrder, TIED, [100], shift=label_shift(TIED), memory=SOME)
    monkeypatch.setattr(sketch, "kernels", lambda: None)
    plain = block_state(PairOrder, TIED, [100], shift=label_shift(TIED), memory=SOME)
    assert torch.equal(compiled.sketch.counts, plain.sketch.counts)
    assert torch.equal(compiled.sketch.edges, plain.sketch.edges)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_score(threads):
    rng = np.random.default_rng(2)
    units = {str(i): rng.normal(size=300).astype(np.float32) for i in range(100)}
    data = Data(units, {"y": (rng.random(300) < 0.3).astype(float)}, {"y": "boolean"})
    torch.set_num_threads(threads)
    try:
        check(OF_ORDER["auroc"], block_state(PairOrder, data, [90]), data)
        check(OF_ORDER["auroc"], block_state(PairOrder, data, [90], memory=40000), data, approximate=True)
    finally:
        torch.set_num_threads(1)


def large_data(symbols=20000, units=6):
    rng = np.random.default_rng(5)
    signal = rng.normal(size=symbols)
    return Data(
        {str(i): (signal * i / 3 + rng.normal(size=symbols)).astype(np.float32) for i in range(units)},
        {
            "often": (signal > 0).astype(float),
            "seldom": (signal > 2).astype(float),
            "number": signal,
            "one of three": np.digitize(signal, [-0.5, 0.5]).astype(float),
        },
        {"often": "boolean", "seldom": "boolean", "number": "number", "one of three": "category"},
        {"one of three": 3},
    )


@pytest.mark.parametrize(
    ("name", "hypothesis", "bound"),
    [
        ("auroc", "often", 0.002),
        ("auroc", "seldom", 0.002),
        ("average_precision", "often", 0.005),
        ("average_precision", "seldom", 0.05),
        ("f1", "often", 0.002),
        ("f1", "seldom", 0.05),
        ("accuracy", "often", 0.005),
        ("accuracy", "seldom", 0.005),
        ("jaccard", "often", 0.005),
        ("jaccard", "seldom", 0.02),
        ("spearman", "often", 0.005),
        ("spearman", "number", 0.05),
        ("kendall", "often", 0.005),
        ("mutual_information", "often", 0.01),
        ("mutual_information", "number", 0.05),
        ("mutual_information", "one of three", 0.01),
    ],
)
def test_a_sketch_is_small_and_its_scores_are_near(name, hypothesis, bound):
    """With a bound that the note tells, and does not overstate: at most 1 % of what the rows would take."""
    data = large_data()
    states = [
        block_state(PairOrder, data.rows(a, a + 2500), range(0, 2500, 500), shift=label_shift(data), memory=2**18)
        for a in range(0, 20000, 2500)
    ]
    state = states[0]
    for other in states[1:]:
        state = state.merge(other)
    assert state.sketch is not None
    found = scores(OF_ORDER[name], state, data)
    check(OF_ORDER[name], state, data, approximate=True)
    row = [n for n in data.kinds if data.kinds[n] != "category" or name == "mutual_information"].index(hypothesis)
    said = {found.notes[n] for n in found.note[row]}
    assert all(n is None or n.startswith("approximate") for n in said)
    told = [float(n.split("within ")[-1].split("at most ")[-1].split()[0]) for n in said if n]
    assert max(told) <= bound


def test_kendalls_tau_of_a_number_needs_the_rows():
    data = large_data(4000)
    found = scores(OF_ORDER["kendall"], block_state(PairOrder, data, [100], memory=2**15), data)
    assert {found.notes[n] for n in found.note[2]} == {
        "too little memory to keep all rows, which Kendall's tau of a number needs"
    }
    assert np.isnan(found.unit_score[2]).all()


def test_a_bound_that_says_nothing_is_no_score():
    rng = np.random.default_rng(0)
    y = np.zeros(4000)
    y[:3] = 1
    data = Data({"unit": (y * 9 + rng.normal(size=4000)).astype(np.float32)}, {"y": y}, {"y": "boolean"})
    found = scores(OF_ORDER["average_precision"], block_state(PairOrder, data, [2000], memory=1), data)
    assert found.notes[found.note[0, 0]] == "too little memory to keep the order of the values well enough"
    assert np.isnan(found.unit_score).all()


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, TIED.symbols - 1), max_size=5),
    order=st.lists(st.integers(0, 100), max_size=10),
    memory=st.integers(10, 20),
    seed=st.integers(0, 100),
    name=st.sampled_from(list(OF_ORDER)),
)
def test_sketches_of_any_blocks_with_borders_of_their_own_are_as_near_as_they_say(cuts, order, memory, seed, name):
    rng = np.random.default_rng(seed)
    bounds = itertools.pairwise(sorted({0, TIED.symbols, *cuts}))
    states = [
        block_state(PairOrder, TIED.rows(a, b), [(b - a) // 3], shift=label_shift(TIED, rng), rng=rng, memory=2**memory)
        for a, b in bounds
    ]
    check(OF_ORDER[name], merged(states, order), TIED, approximate=True)


def test_sketches_of_the_same_data_share_most_borders():
    data = large_data()
    a, b = (block_state(PairOrder, data.rows(i, i + 9000), [4000], memory=2**18) for i in (0, 9000))
    both = a.merge(b).sketch
    kept = (both.edges != NOWHERE).sum(1) / (a.sketch.edges != NOWHERE).sum(1)
    assert kept.min() > 0.3
    assert kept.mean() > 0.4


@pytest.mark.parametrize("corrected", [True, False])
def test_mutual_information_of_a_sketch_is_that_of_bins_at_its_borders(corrected):
    data = large_data()
    state = block_state(PairOrder, data, range(0, data.symbols, 1000), shift=label_shift(data), memory=2**17)
    measure = replace(OF_ORDER["mutual_information"], corrected=corrected)
    found = scores(measure, state, data)
    borders_of = decoded(state.sketch.edges).numpy()
    for u, x in enumerate(data.units.values()):
        shares = np.array([(x >= b).mean() for b in borders_of[u]])
        cuts = [borders_of[u][::-1][np.abs(shares[::-1] - (1 - k / 16)).argmin()] for k in range(1, 16)]
        binned = np.searchsorted(np.array(cuts), x, side="right")
        for h, name in ((0, "often"), (1, "seldom"), (3, "one of three")):
            exact = information(binned, data.hypotheses[name], corrected)
            assert found.unit_score[h, u] == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("bins", [2, 5, 16, 40])
@pytest.mark.parametrize("corrected", [True, False])
def test_mutual_information_takes_bins_and_a_correction(bins, corrected):
    (measure,) = measures([f"mutual_information(bins := {bins}, corrected := {str(corrected).lower()})"])
    found = scores(measure, block_state(PairOrder, TIED, [7], shift=label_shift(TIED)), TIED)
    for h, (name, y) in enumerate(TIED.hypotheses.items()):
        known = ~np.isnan(y)
        for u, x in enumerate(TIED.units.values()):
            number = TIED.kinds[name] == "number"
            textbook = textbook_mutual_information_of_numbers if number else textbook_mutual_information
            exact = textbook(x[known], y[known], bins, corrected)
            assert found.unit_score[h, u] == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("top", [0.005, 0.05, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("memory", [PLENTY, SOME])
def test_jaccard_takes_a_share(top, memory):
    (measure,) = measures([f"jaccard(top := {top})"])
    found = scores(measure, block_state(PairOrder, TIED, [7], shift=label_shift(TIED), memory=memory), TIED)
    for h, (name, y) in enumerate((n, y) for n, y in TIED.hypotheses.items() if TIED.kinds[n] == "boolean"):
        known = ~np.isnan(y)
        for u, (unit, x) in enumerate(TIED.units.items()):
            exact, note = textbook_jaccard(x[known], y[known], top), found.notes[found.note[h, u]]
            bound = 0.0 if note is None else float(note.split("within ")[1].split()[0])
            assert found.unit_score[h, u] == pytest.approx(exact, abs=bound + 1e-9), (name, unit)


def test_units_that_are_tied_above_the_share_are_never_on():
    data = Data(
        {"0 and 1": np.repeat([0, 1], 50).astype(np.float32)}, {"y": np.repeat([0.0, 1.0], 50)}, {"y": "boolean"}
    )
    assert scores(OF_ORDER["jaccard"], block_state(PairOrder, data), data).unit_score.tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("jaccard(top := 0)", "option 'top' of measure 'jaccard' cannot be 0.0. Give a share between 0 and 1."),
        ("jaccard(top := 1)", "option 'top' of measure 'jaccard' cannot be 1.0. Give a share between 0 and 1."),
        (
            "mutual_information(bins := 1)",
            "option 'bins' of measure 'mutual_information' cannot be 1. Give a whole number from 2 to 256.",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(call, message):
    with pytest.raises(MeasureError) as error:
        measures([call])
    assert str(error.value) == message


def test_a_detector_and_its_opposite():
    y = np.tile([0.0, 1.0, 1.0, 0.0, 0.0], 20)
    data = Data({"y": y.astype(np.float32), "not y": (1 - y).astype(np.float32)}, {"y": y}, {"y": "boolean"})
    state = block_state(PairOrder, data)
    found = {name: scores(m, state, data).unit_score[0].tolist() for name, m in OF_ORDER.items()}
    bits = sklearn.metrics.mutual_info_score(y, y) / np.log(2) + 1 / (200 * np.log(2))
    expected = {
        "auroc": [1, 0],
        "average_precision": [1, 0.4],
        "f1": [1, 0.8 / 1.4],
        "accuracy": [1, 0.6],
        "jaccard": [0, 0],
        "spearman": [1, -1],
        "kendall": [1, -1],
        "mutual_information": [bits, bits],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, abs=1e-12), name


def test_a_second_measure_of_the_same_state_walks_no_more(monkeypatch):
    state = block_state(PairOrder, TIED, shift=label_shift(TIED))
    first = scores(OF_ORDER["auroc"], state, TIED)

    def never(*_):
        raise AssertionError("walked again")

    monkeypatch.setattr("deepbase.measures.order.state.walk", never)
    for name in ("average_precision", "f1", "accuracy", "jaccard", "mutual_information", "spearman"):
        check(OF_ORDER[name], state, TIED)
    np.testing.assert_array_equal(first.unit_score, scores(OF_ORDER["auroc"], state, TIED).unit_score)


def test_layers_share_the_labels_that_they_keep():
    behavior, shift = label_behavior(DATA), label_shift(DATA)
    labels = BatchLabels.of(behavior, 0, DATA.symbols, shift, CPU)
    units = torch.from_numpy(DATA.x)
    states = [PairOrder.first(units, labels, PLENTY) for _ in range(2)]
    assert states[0].labels[0] is states[1].labels[0]
    assert states[0].assembled() is states[1].assembled()
    assert states[0].units[0].data_ptr() == units.data_ptr()


@pytest.mark.parametrize("limit", [1, 50_000, 200_000])
@pytest.mark.parametrize(("units", "hypotheses"), [(3, 2), (40, 30)])
def test_the_memory_of_a_sketch_is_known_beforehand(limit, units, hypotheses):
    rng = np.random.default_rng(0)
    data = Data(
        {str(i): rng.normal(size=3000).astype(np.float32) for i in range(units)},
        {str(i): (rng.random(3000) < 0.5).astype(float) for i in range(hypotheses)},
        dict.fromkeys(map(str, range(hypotheses)), "boolean"),
    )
    state = block_state(PairOrder, data, range(0, 3000, 100), memory=limit)
    size = sum(a.numel() * a.element_size() for a in state.arrays().values())
    assert PairOrder.memory(units, hypotheses, 3000, limit) == size
    least = PairOrder.memory(units, hypotheses, 3000, 1)
    assert size <= max(limit, least)


def test_numbers_that_were_rounded_about_other_pilots_are_still_tied():
    rng = np.random.default_rng(3)
    year = 2020.0 + rng.integers(-2, 3, 600) / 10
    data = Data({"u": (year + rng.normal(size=600)).astype(np.float32)}, {"year": year}, {"year": "number"})
    blocks = [
        block_state(PairOrder, data.rows(a, a + 100), shift=np.array([2020 + 0.1234567 * a]))
        for a in range(0, 600, 100)
    ]
    state = merged(blocks, [])
    assert state.assembled().ranks[0].tied_pairs == sum(n * (n - 1) / 2 for n in np.unique(year, return_counts=True)[1])
    check(OF_ORDER["kendall"], state, data)
    check(OF_ORDER["spearman"], state, data)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_codes_have_the_order_of_the_values(values):
    x = torch.tensor(values, dtype=torch.float32)
    code = codes(x)
    assert torch.equal(code[:, None] < code, x[:, None] < x)
    assert torch.equal(decoded(code), x + 0.0)


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=200), st.integers(2, 40)
)
def test_borders_are_few_and_split_a_sample(values, bins):
    code = codes(torch.tensor(values, dtype=torch.float32)).sort().values[None]
    edges = borders(code, bins)
    assert edges.shape == (1, bins - 1)
    assert (edges.long().diff() >= 0).all()
    assert torch.equal(common(edges, edges), edges)
    per_bin = torch.bincount(torch.searchsorted(edges, code, right=True)[0], minlength=bins)
    places = [len(values) // max(bins - 2, 1) + 1, *np.unique(values, return_counts=True)[1].tolist()]
    assert per_bin.max() <= 2 * max(places)


def test_a_value_that_fills_a_bin_has_one_of_its_own():
    x = torch.tensor([0.0] * 500 + list(np.linspace(1e-6, 3, 500)) + [7.0] * 300, dtype=torch.float32)
    edges = borders(codes(x).sort().values[None], 32)
    bins = torch.searchsorted(edges, codes(x)[None], right=True)[0]
    for value in (0.0, 7.0):
        assert set(bins[x == value].tolist()).isdisjoint(bins[x != value].tolist())


def test_bounds_are_rounded_up_to_a_few_steps():
    assert len(STEPS) == 20
    assert [f"{s:g}" for s in STEPS[-4:]] == ["0.02", "0.05", "0.1", "0.2"]


@pytest.mark.parametrize("seed", range(5))
def test_inversions_are_counted_in_both_ways(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    symbols = [1, 2, 63, 64, 1000][seed]
    x = rng.integers(0, 30, (symbols, 3)).astype(np.float32)
    y = rng.integers(0, 20, symbols).astype(float)
    data = Data({str(i): x[:, i] for i in range(3)}, {"y": y}, {"y": "number"})
    state = block_state(PairOrder, data)
    pairs = [kendall.discordant_pairs(state.units, state.assembled().ranks[0], symbols)]
    monkeypatch.setattr(kendall, "kernels", lambda: None)
    pairs.append(kendall.discordant_pairs(state.units, state.assembled().ranks[0], symbols))
    for discordant, both in pairs:
        for u in range(3):
            signs = np.sign(x[:, u, None] - x[:, u]) * np.sign(y[:, None] - y)
            assert discordant[u] == (signs < 0).sum() / 2
            assert both[u] == (((x[:, u, None] == x[:, u]) & (y[:, None] == y)).sum() - symbols) / 2
    if symbols > 2:
        tau = [scipy.stats.kendalltau(x[:, u], y).statistic for u in range(3)]
        found = OF_ORDER["kendall"].compute(state, [Target("number", (0,))]).unit_score[0]
        np.testing.assert_allclose(found, tau, atol=1e-12)
