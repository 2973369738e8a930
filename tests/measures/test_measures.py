"""Every registered measure equals its textbook value, in whatever portions the symbols come."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from harness import GROUP_REFERENCES, REFERENCES, TOLERANCE

from deepbase.errors import MeasureError, nearest
from deepbase.measures.facts import UnitSums
from deepbase.measures.notes import NOTES
from deepbase.measures.registry import MEASURES, call_text, measures, parse_call
from deepbase.testing import LITTLE, PLENTY, Data, block_state, check_measure, hard_data, label_shift, scores
from deepbase.testing.states import size, targets_of

UNIT_MEASURES = {name: m for name, m in MEASURES.items() if not m.grouped}
STATES = list(dict.fromkeys(m.state_type for m in UNIT_MEASURES.values()))
MEMORY = {kind: [PLENTY] if kind.memory(9, 9, 9999, PLENTY) < 9999 else [PLENTY, LITTLE] for kind in STATES}
"""A state that grows with what it sees is tried with too little memory, too."""
every_state = pytest.mark.parametrize(("kind", "memory"), [(kind, m) for kind in STATES for m in MEMORY[kind]])


KINDS = {
    "pearson": ("boolean", "number"),
    "spearman": ("boolean", "number"),
    "kendall": ("boolean", "number"),
    "mutual_information": ("boolean", "number", "category"),
    "correlation_ratio": ("category",),
}


def test_every_measure_of_units_has_a_reference():
    assert REFERENCES.keys() == UNIT_MEASURES.keys()
    assert GROUP_REFERENCES.keys() <= MEASURES.keys() - UNIT_MEASURES.keys()


@pytest.mark.parametrize("name", UNIT_MEASURES)
def test_a_measure_of_units_gives_the_textbook_value_however_the_symbols_come(name):
    check_measure(MEASURES[name], REFERENCES[name])


@pytest.mark.parametrize("name", ["pearson", "correlation_ratio", "auroc", "spearman", "kurtosis"])
def test_other_data_and_many_trees_of_each_state_give_the_textbook_value(name):
    """Measures of one state share what is folded and merged; of these, every state has one that sees all of it."""
    check_measure(MEASURES[name], REFERENCES[name], seed=1, trees=60)


PROBES = ["sparse(k := 4)" if n == "sparse" else n for n, m in MEASURES.items() if m.grouped and m.kinds]


@pytest.mark.parametrize("call", PROBES)
def test_a_probe_gives_the_scores_of_one_pass_however_the_symbols_come(call):
    (measure,) = measures([call])
    check_measure(measure, GROUP_REFERENCES.get(measure.name), trees=4)


@pytest.mark.parametrize("call", ["logistic(penalty := 'l1')", "lda(control := true)", "mass_mean(whitened := true)"])
def test_a_probe_with_options_gives_the_scores_of_one_pass(call):
    check_measure(*measures([call]), trees=4)


def test_a_perfect_detector_has_a_correlation_of_one_to_the_last_digits():
    y = (np.arange(500) % 5 == 0).astype(float)
    data = Data({"y": y.astype(np.float32), "not y": (1e4 - y).astype(np.float32)}, {"y": y}, {"y": "boolean"})
    pearson = MEASURES["pearson"]()
    found = scores(pearson, block_state(pearson.state_type, data, [100, 200]), data)
    np.testing.assert_allclose(found.unit_score[0], [1, -1], rtol=0, atol=1e-12)


@every_state
def test_a_state_that_keeps_rows_is_not_quick(kind, memory):
    """What is no fixed number of sums takes time to score, which must not pass while the database is locked."""
    assert kind.saved or not kind.quick


@pytest.mark.parametrize("measure", UNIT_MEASURES.values())
def test_a_measure_tells_its_facts(measure):
    assert measure.range[0] < measure.range[1]
    assert measure.kinds == KINDS.get(measure.name, () if measure.state_type is UnitSums else ("boolean",))
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


@lru_cache
def bias_of_d(m):
    return scipy.integrate.quad(lambda x: np.sqrt(m) / x * scipy.stats.chi(m).pdf(x), 0, np.inf)[0]


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
            assert g.unit_score[h, u] == pytest.approx(d.unit_score[h, u] / bias_of_d(m), rel=1e-6)
    assert (g.note[d.note != 0] == d.note[d.note != 0]).mean() > 0.5


@every_state
@pytest.mark.parametrize(("units", "hypotheses"), [(1, 1), (7, 3), (40, 2), (5, 60)])
def test_the_memory_of_a_state_is_known_beforehand(kind, memory, units, hypotheses):
    data = Data(
        {str(i): np.arange(9, dtype=np.float32) for i in range(units)},
        {str(i): np.arange(9) % 2.0 for i in range(hypotheses)},
        dict.fromkeys(map(str, range(hypotheses)), "boolean"),
    )
    assert kind.memory(units, hypotheses, 9, memory) == size(block_state(kind, data, memory=memory))


def test_the_tolerance_of_the_references_is_what_the_guarantee_says():
    x = np.random.default_rng(0).normal(size=50)
    for name in ("pearson", "spearman", "kendall", "auroc", "average_precision", "jaccard", "f1", "mutual_information"):
        assert REFERENCES[name].allowance(MEASURES[name](), 0.3, x, x) == TOLERANCE == 1e-5
    assert REFERENCES["cohens_d"].allowance(MEASURES["cohens_d"](), 0.3, x, x) == 1e-5
