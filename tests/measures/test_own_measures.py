"""A class that is a measure of one's own: what is asked of it, how it is tried, and who is named where it fails."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestCentroid

import deepbase
from deepbase.errors import MeasureError
from deepbase.measures.batch import BatchLabels
from deepbase.measures.own import UNKNOWN, checked, conventional, naming, tried
from deepbase.measures.probes.base import AbstractProbe, classified
from deepbase.measures.registry import MEASURES, call_text, measures
from deepbase.python_files import execute
from deepbase.testing import CPU, Reference, check_measure, hard_data, label_behavior, label_shift

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "my_measures.py"
GOOD = """
from dataclasses import dataclass, field, replace
import torch
import deepbase

@dataclass(frozen=True)
class Sums(deepbase.MeasureState):
    total: torch.Tensor

    @classmethod
    def first(cls, units, labels, memory):
        return cls(units.sum(0))

    def empty_like(self, labels):
        return Sums(torch.zeros_like(self.total))

    def update(self, units, labels):
        return Sums(self.total + units.sum(0))

    def merge(self, other):
        return Sums(self.total + other.total)

    @classmethod
    def memory(cls, units, columns, symbols, limit):
        return 4 * units

@dataclass(frozen=True)
class Total(deepbase.Measure):
    scale: float = 1.0

    name = "total"
    description = "what a unit adds up to"
    state_type = Sums
    range = (-1e9, 1e9)
    signed = True
    kinds = ("boolean",)

    def compute(self, state, targets):
        score = self.scale * state.total.expand(len(targets), -1)
        return deepbase.Values.of(score, "none")
"""


def loaded(tmp_path: Path, content: str, name: str = "Total") -> object:
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(content))
    return vars(execute(path, MeasureError))[name]


def said(kind: object) -> str:
    """What is said of a class that does not keep the contract."""
    with pytest.raises(MeasureError) as error:
        tried(checked(kind, "'it'")())
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(deepbase.Measure)", "", "'it' is no measure, but a class Total. A measure is a class under "),
        ("@dataclass(frozen=True)\nclass Total", "class Total", "'it' is no frozen dataclass. Write @dataclass(froz"),
        ("def compute", "def score", "'it' does not define compute. See docs/own-measures.md."),
        ('    name = "total"\n', "", "'it' does not say its name. Give the class a text: name = 'my_measure'."),
        ('name = "total"', 'name: str = "total"', "'it' annotates name, which makes it an option of the measure. Write "
            "it without its type, as in name = 'my_measure', or as a ClassVar."),
        ('"total"', '"my total"', "'it' cannot have 'my total' as its name. Give a text: name = 'my_measure'."),
        ('"total"', '"größe"', "'it' cannot have 'größe' as its name."),
        ('"what a unit adds up to"', '""', "'it' cannot have '' as its description."),
        ("    state_type = Sums\n", "", "'it' does not say its state_type. Give the class a state: state_type = deepb"),
        ("state_type = Sums", "state_type = dict", "'it' cannot have <class 'dict'> as its state_type."),
        ("range = (-1e9, 1e9)", "range = (1, 0)", "'it' cannot have (1, 0) as its range. Give the least and the gre"),
        ("    range = (-1e9, 1e9)\n", "", "'it' does not say its range."),
        ("signed = True", "signed = 1", "'it' cannot have 1 as its signed. Give True or False: signed = True."),
        ('kinds = ("boolean",)', 'kinds = ("bool",)', "'it' cannot have ('bool',) as its kinds. Give a tuple of kinds"),
        ('kinds = ("boolean",)', 'kinds = "boolean"', "'it' cannot have 'boolean' as its kinds."),
        ("def merge", "def join", "the state Sums of 'it' does not define merge. See docs/own-measures.md."),
        ("scale: float = 1.0", "scale: float", "option 'scale' of 'it' has no default. Give it one."),
        ("scale: float = 1.0", "Scale: float = 1.0", "option 'Scale' of 'it' has capital letters."),
        ("scale: float = 1.0", "scale: list = field(default_factory=list)", "option 'scale' of 'it' cannot be <class "
            "'list'>. It may be bool, int, float, str or tuple[str, ...]."),
        ("scale: float = 1.0", "scale: float = 1", "the default of option 'scale' of 'it' is 1, and not float."),
        ("scale: float = 1.0", "scale: 'Nothing' = 1.0", "the annotations of 'it' cannot be read: name 'Nothing' is "),
    ],
)  # fmt: skip
def test_a_class_that_does_not_keep_the_contract_is_refused(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    assert said(loaded(tmp_path, GOOD.replace(old, new))).startswith(message)


@pytest.mark.parametrize("thing", [3, "pearson", lambda state: state])
def test_what_is_no_class_is_no_measure(thing):
    assert said(thing).startswith(f"'it' is no measure, but a {type(thing).__name__}.")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return Sums(self.total + units.sum(0))", "pass", "Sums in {file}: update gave nothing. Return a Sums."),
        ("return Sums(self.total + other.total)", "return self.total", "Sums in {file}: merge gave a Tensor."),
        ("return 4 * units", "return 4.5 * units", "Sums in {file}: memory gave 13.5. Give the bytes, a whole number."),
        ("total: torch.Tensor", "total: list\n    def arrays(self):\n        return {'a/b': self.total}", "Sums in "
            "{file}: arrays gave 'a/b': Tensor. Give tensors under names without a slash, or let the state have `"),
        ("return Sums(self.total + units.sum(0))", "return Sums(self.total + units.sum(2))", "measure 'total' raised "
            "IndexError: Dimension out of range (expected to be in range of [-2, 1], but got 2) while folding a batch "
            "in, in {file}, line 18. Mend its class."),
        ("score = self.scale * state.total.expand(len(targets), -1)", "return state.total / {}['x']", "measure 'total' "
            "raised KeyError: 'x' while computing scores, in {file}, line 39. Mend its class."),
        ('return deepbase.Values.of(score, "none")', "return score", "Total in {file}: compute gave a Tensor. Return "
            "deepbase.Values, such as "),
        ('return deepbase.Values.of(score, "none")', "pass", "Total in {file}: compute gave nothing."),
        ("Values.of(score,", "Values.of(score[:1],", "measure 'total' gave scores of the shape (1, 3) and notes of "
            "(1, 3) for 2 targets and 3 units. Give one for each target and unit."),
        ('Values.of(score, "none")', "Values(score.numpy(), score.numpy().astype(int) + 99)", "measure 'total' gave "
            "notes that are none of its own."),
    ],
)  # fmt: skip
def test_a_class_that_does_not_work_is_found_by_trying_it(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    expected = message.replace("{file}", str(tmp_path / "mine.py"))
    assert said(loaded(tmp_path, GOOD.replace(old, new))).startswith(expected)


def test_a_class_of_another_place_is_blamed_for_nothing():
    good = MEASURES["pearson"]()
    with pytest.raises(ZeroDivisionError), naming([good]):
        raise ZeroDivisionError


def test_who_raises_an_error_of_deepbase_is_heard_as_it_is(tmp_path):
    kind = loaded(tmp_path, GOOD.replace("return cls(units.sum(0))", "raise deepbase.DeepBaseError('not today')"))
    with pytest.raises(deepbase.DeepBaseError, match=r"^not today$"):
        tried(checked(kind, "'it'")())


def test_a_class_that_keeps_the_contract_is_called_like_any_other(tmp_path):
    kind = checked(loaded(tmp_path, GOOD), "'it'")
    known = {**MEASURES, "total": kind}
    tried(kind())
    assert [m.call for m in measures(["total", "total(scale := 2)", "pearson"], known)] == [
        "total", "total(scale := 2.0)", "pearson",
    ]  # fmt: skip
    assert call_text("total", {"scale": 1.0}, known) == "total"
    with pytest.raises(MeasureError, match=r"^unknown measure 'totl'\. Did you mean 'total'"):
        measures(["totl"], known)
    with pytest.raises(MeasureError, match=r"^measure 'total' has no option 'scal'\. Did you mean 'scale'"):
        measures(["total(scal := 1)"], known)
    with pytest.raises(MeasureError, match="unknown measure 'total'"):
        measures(["total"])


def test_the_conventions_hold_for_a_measure_that_does_not_know_them(tmp_path):
    measure = checked(loaded(tmp_path, GOOD), "'it'")()
    targets = [deepbase.Target("boolean", (0,)), deepbase.Target("number", (1,))]
    found = deepbase.Values(np.array([[1.0, np.nan, np.inf, np.nan]] * 2), np.array([[0, 0, 0, 1]] * 2), (None, "mine"))
    values = conventional(measure, found, targets, 4)
    assert [values.notes[n] for n in values.note[0]] == [None, UNKNOWN, UNKNOWN, "mine"]
    np.testing.assert_array_equal(values.unit_score[0], [1.0, np.nan, np.nan, np.nan])
    assert {values.notes[n] for n in values.note[1]} == {"measure needs a boolean hypothesis"}
    assert np.isnan(values.unit_score[1]).all()


def test_values_that_are_not_finite_have_the_one_note():
    found = deepbase.Values.of(torch.tensor([[1.5, math.nan], [math.inf, -2]]), "why not")
    np.testing.assert_array_equal(found.unit_score, [[1.5, np.nan], [np.nan, -2.0]])
    assert [[found.notes[n] for n in row] for row in found.note] == [[None, "why not"], ["why not", None]]


def test_labels_say_where_they_have_a_value():
    data = hard_data(40)
    labels = BatchLabels.of(label_behavior(data), 0, 40, label_shift(data), CPU)
    np.testing.assert_array_equal(labels.known.numpy(), ~np.isnan(data.y))
    some = labels.rows(slice(0, 0))
    assert some.known.shape == (0, data.y.shape[1])


@dataclass(frozen=True)
class Share(deepbase.Measure):
    """A class of a module, with annotated facts and an option."""

    least: float = field(default=0.0, metadata={"description": "above what a unit is active"})

    name: ClassVar[str] = "share"
    description: ClassVar[str] = "mean"
    state_type: ClassVar[type[deepbase.MeasureState]] = deepbase.PairMoments
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    signed: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("boolean", "number", "category")

    def compute(self, state, targets):
        return deepbase.pair_values(state.xy, state, targets, self.kinds)


def test_annotated_facts_and_shipped_states_will_do():
    tried(checked(Share, "'Share'")())


def loaded_example(name: str) -> type[deepbase.Measure]:
    return vars(execute(EXAMPLES, MeasureError))[name]


@pytest.mark.parametrize("standardized", [False, True])
def test_the_slope_of_the_page_is_that_of_least_squares(standardized):
    """Its tolerance is in units of the slope at which unit and hypothesis would be one line."""

    def slope(x, y):
        centred = y - y.mean()
        return (centred @ (x - x.mean())) / (centred @ centred) / (x.std() if standardized else 1)

    def tolerance(_, x, y):
        return 1e-5 * (1 if standardized else x.std()) / y.std()

    check_measure(loaded_example("Slope")(standardized), Reference(slope, tolerance))


def test_the_margin_of_the_page_is_that_of_the_extremes():
    defined = ("constant unit", "few positives", "few negatives")
    reference = Reference(lambda x, y: x[y == 1].min() - x[y == 0].max(), 1e-6, defined=defined)
    with pytest.raises(AssertionError, match=r"check 'one pass' .*\n  unit 'heavy tails', hypothesis 'half': -39\."):
        check_measure(loaded_example("Margin"), reference)  # a difference of two float32
    check_measure(loaded_example("Margin"), Reference(reference.score, defined=defined))


@dataclass(frozen=True)
class Nearest(AbstractProbe):
    """A probe of one's own: of two means, the nearer one; a unit weighs as much as they differ in it."""

    name = "nearest"
    description = "the nearer of two means"
    kinds = ("boolean",)

    def fit(self, fold, kind):
        x, y = (torch.cat(parts).double() for parts in zip(*fold.train.read(), strict=True))
        true, false = (w.T @ x / w.sum(0)[:, None] for w in (y, 1 - y))
        weights = true - false
        return classified((weights, -((true + false) / 2 * weights).sum(1)), fold, kind)


def nearest(x, y, held_x, held_y):
    fit = NearestCentroid().fit(x, y)
    return f1_score(held_y, fit.predict(held_x)), fit.centroids_[1] - fit.centroids_[0]


def test_a_probe_of_ones_own_passes_the_same_checks():
    check_measure(Nearest, nearest)


def test_a_probe_that_learns_from_the_held_out_records_is_found():
    @dataclass(frozen=True)
    class Peeking(Nearest):
        name = "peeking"

        def fit(self, fold, kind):
            return super().fit(replace(fold, train=fold.test), kind)

    with pytest.raises(AssertionError, match=r"^measure 'peeking', check 'reference' \(hypothesis 'yes'\): the"):
        check_measure(Peeking, nearest)
