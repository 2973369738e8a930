"""`deepbase.testing` finds what is wrong with a measure, says what and where, and passes what is right."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from harness import REFERENCES as TEXTBOOKS

import deepbase
from deepbase.errors import MeasureError
from deepbase.measures.registry import MEASURES
from deepbase.measures.spread import Spread
from deepbase.testing import CHECKS, GROUP_CHECKS, Data, Reference, check_measure, group_data, hard_data


@dataclass(frozen=True)
class Sums(deepbase.MeasureState):
    """What is right: float64 sums about a pilot value, by hypothesis, where it has a value; NaN marks what is spoiled.

    Attributes:
        pilot: float64[unit].
        n: float64[2, hypothesis], symbols where it is false and where it is true.
        sums: float64[2, hypothesis, unit].
        squares: float64[hypothesis, unit].
    """

    pilot: torch.Tensor
    n: torch.Tensor
    sums: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def first(cls, units, labels, memory):
        pilot = units.double().nan_to_num(0, 0, 0).mean(0) if len(units) else units.new_zeros(units.shape[1]).double()
        return cls.zero(pilot, len(labels.kinds)).update(units, labels)

    @classmethod
    def zero(cls, pilot, hypotheses):
        size = (hypotheses, len(pilot))
        return cls(
            pilot, torch.zeros(2, hypotheses).double(), torch.zeros(2, *size).double(), torch.zeros(size).double()
        )

    def empty_like(self, labels):
        return self.zero(self.pilot, len(labels.kinds))

    def update(self, units, labels):
        x, known, true = units.double() - self.pilot, labels.known, labels.values > 0
        of = torch.stack([known & ~true, known & true]).double()
        spoiled = torch.where(x.isfinite().all(0), 0.0, torch.nan)
        x = x.nan_to_num(0, 0, 0)
        return replace(
            self,
            n=self.n + of.sum(1),
            sums=self.sums + of.transpose(1, 2) @ x + spoiled,
            squares=self.squares + known.double().T @ (x * x),
        )

    def merge(self, other):
        return replace(
            self,
            n=self.n + other.n,
            sums=self.sums + self.moved(other),
            squares=self.squares
            + other.squares
            + 2 * other.sums.sum(0) * (other.pilot - self.pilot)
            + other.n.sum(0)[:, None] * (other.pilot - self.pilot).square(),
        )

    def moved(self, other):
        return other.sums + other.n[:, :, None] * (other.pilot - self.pilot)

    @classmethod
    def memory(cls, units, columns, symbols, limit):
        return 8 * (units + 2 * columns + 3 * units * columns)


@dataclass(frozen=True)
class Difference(deepbase.Measure):
    """What a unit does where a hypothesis is true, less what it does elsewhere."""

    name = "difference"
    description = "difference of means"
    state_type = Sums
    range = (-math.inf, math.inf)
    signed = True
    kinds = ("boolean",)

    def compute(self, state, targets):
        score, few = self.parts(state)
        columns = [target.columns[0] for target in targets]
        return deepbase.Values.of(torch.where(few, torch.nan, score)[columns], "too little is known")

    def parts(self, state):
        false, true = state.sums / state.n[:, :, None]
        n = state.n.sum(0)[:, None]
        mean = state.sums.sum(0) / n
        variance = (state.squares / n - mean.square()).clamp_min(0)
        floor = torch.maximum(2.0**-23 * (mean + state.pilot).abs(), 1e-7 * mean.abs()).clamp_min(1e-18)
        return true - false, (variance.sqrt() <= floor) | (state.n < 2).any(0)[:, None]


def textbook(x, y):
    return x[y == 1].mean() - x[y == 0].mean()


def with_state(name="Broken", measure=None, **methods):
    """The right measure with a state of which some methods are others."""
    state = dataclass(frozen=True)(type(name, (Sums,), methods))
    return dataclass(frozen=True)(type("Wrong", (Difference,), {"state_type": state, **(measure or {})}))


def update_float32(self, units, labels):
    """Sums of float32 about 0."""
    x, known, true = units, labels.known, labels.values > 0
    of = torch.stack([known & ~true, known & true]).float()
    new = Sums.update(self, units, labels)
    spoiled = torch.where(x.isfinite().all(0), 0.0, torch.nan)
    sums = of.transpose(1, 2) @ x.nan_to_num(0, 0, 0) + spoiled
    pilot = of.sum(1)[:, :, None] * self.pilot
    return replace(new, sums=self.sums + (sums - pilot.float()).double())


def update_in_place_of_units(self, units, labels):
    new = Sums.update(self, units, labels)
    units.nan_to_num_(0)
    return new


def merge_in_place(self, other):
    found = Sums.merge(self, other)
    self.sums.copy_(found.sums)
    return replace(found, sums=self.sums)


def merge_last_in_place(self, other):
    return merge_in_place(self, other)


def merge_last_forgets(self, other):
    return self


def merge_without_pilots(self, other):
    return replace(Sums.merge(self, other), sums=self.sums + other.sums)


def merge_keeps_one(self, other):
    return replace(Sums.merge(self, other), n=torch.maximum(self.n, other.n))


def update_forgets_nulls(self, units, labels):
    return Sums.update(self, units, replace(labels, valid=None, null_class=torch.zeros_like(labels.null_class)))


def update_by_last_batch(self, units, labels):
    """Later batches count more."""
    new = Sums.update(self, units, labels)
    return replace(new, sums=new.sums + 1e-4 * (new.sums - self.sums) * self.n.sum())


def update_spoils_neighbours(self, units, labels):
    return Sums.update(self, units + (0 if units.isfinite().all() else 1e-7), labels)


def update_of_spoiled(self, units, labels):
    return Sums.update(self, units.nan_to_num(0, 1, -1), labels)


def arrays_shared(self):
    return {n: getattr(self, n) for n in ("pilot", "n", "sums", "squares")}


def update_in_place(self, units, labels):
    new = Sums.update(self, units, labels)
    self.sums.copy_(new.sums)
    return replace(new, sums=self.sums)


def arrays_float32(self):
    return {name: value.float() for name, value in deepbase.MeasureState.arrays(self).items()}


def from_float32(cls, arrays, device):
    return cls(**{name: value.to(device).double() for name, value in arrays.items()})


def memory_of_nothing(cls, units, columns, symbols, limit):
    return 8


def compute_no_note(self, state, targets):
    values = Difference.compute(self, state, targets)
    return replace(values, unit_score=np.where(np.isnan(values.unit_score), 0.0, values.unit_score))


def compute_nothing(self, state, targets):
    return deepbase.Values.of(Difference.parts(self, state)[0][: len(targets)] + math.nan, "not today")


def compute_once(self, state, targets):
    found = Difference.compute(self, state, targets)
    state.sums.zero_()
    return found


def spread_of_the_pilot(self, state, targets, found):
    """Standard errors that depend on the first batch."""
    return Spread(np.abs(state.pilot.numpy()) + np.ones((len(targets), 1)), np.full(len(targets), 15.0))


FAULTS = {
    "float32 sums about 0": ({"update": update_float32}, "one pass"),
    "NULLs that count as false": ({"update": update_forgets_nulls}, "one pass"),
    "NaN and infinities that are numbers": ({"update": update_of_spoiled}, "one pass"),
    "later batches that count more": ({"update": update_by_last_batch}, "batches"),
    "a merge that forgets the pilot values": ({"merge": merge_without_pilots}, "merge trees"),
    "a merge that keeps one of two": ({"merge": merge_keeps_one}, "merge trees"),
    "neighbours of a spoiled unit": ({"update": update_spoils_neighbours}, "neighbours"),
    "an update that writes to the units": ({"update": update_in_place_of_units}, "untouched"),
    "a merge in place": ({"merge": merge_in_place}, "untouched"),
    "a last merge into the first": ({"merge_last": merge_last_in_place}, "untouched"),
    "a last merge that is none": ({"merge_last": merge_last_forgets}, "untouched"),
    "a written form that is shared": ({"update": update_in_place, "arrays": arrays_shared}, "written form"),
    "a written form that is rounded": (
        {"arrays": arrays_float32, "from_arrays": classmethod(from_float32)},
        "written form",
    ),
    "a memory that is understated": ({"memory": classmethod(memory_of_nothing)}, "memory"),
    "numbers where there is no score": ({"measure": {"compute": compute_no_note}}, "one pass"),
    "no scores": ({"measure": {"compute": compute_nothing}}, "one pass"),
    "scores that use up the state": ({"measure": {"compute": compute_once}}, "untouched"),
    "standard errors of the first batch": ({"measure": {"spread": spread_of_the_pilot}}, "intervals"),
    "a range that is too small": ({"measure": {"range": (-1.0, 1.0)}}, "one pass"),
}


def test_what_is_right_passes():
    check_measure(Difference, textbook)
    check_measure(Difference)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_the_check_that_is_about_it(fault):
    methods, check = FAULTS[fault]
    wrong = with_state(**methods)
    with pytest.raises(AssertionError, match=rf"^measure 'difference', check '{check}'"):
        check_measure(wrong, textbook, only=[check])
    with pytest.raises(AssertionError, match=r"^measure 'difference', check '"):
        check_measure(wrong, textbook)


@pytest.mark.parametrize("fault", [f for f in FAULTS if f not in ("float32 sums about 0", "NULLs that count as false")])
def test_most_faults_are_found_without_a_reference(fault):
    with pytest.raises(AssertionError, match=r"^measure 'difference', check '"):
        check_measure(with_state(**FAULTS[fault][0]))


def test_nulls_that_count_are_found_without_a_reference():
    wrong = with_state(update=update_forgets_nulls)
    with pytest.raises(AssertionError, match=r"^measure 'difference', check 'null rows' .other values of the units"):
        check_measure(wrong, only=["null rows"])


def test_a_message_says_what_is_wrong_and_where():
    def off_by_one(x, y):
        return textbook(x, y) + (x.mean() > 9000)

    with pytest.raises(AssertionError) as error:
        check_measure(Difference, off_by_one, only=["merge trees"], trees=1, seed=3)
    first, second, *more = str(error.value).splitlines()
    assert first.startswith("measure 'difference', check 'merge trees' (blocks that begin at [0, ")
    assert first.endswith(" scores are wrong")
    assert second.startswith("  unit 'mean of 1e4', hypothesis 'half': ")
    assert " instead of " in second
    assert second.endswith(" within 2.2e-05")
    assert len(more) <= 10


def test_what_a_class_raises_is_told_with_its_line():
    def merge(self, other):
        return self.nothing

    with pytest.raises(MeasureError, match=r"^measure 'difference' raised AttributeError: .* while merging two states"):
        check_measure(with_state(merge=merge))


def test_a_class_or_an_instance_that_is_no_measure_is_refused():
    for thing in (Sums, 3, "pearson"):
        with pytest.raises(MeasureError, match="is no measure, but a"):
            check_measure(thing)


@pytest.mark.parametrize("name", ["pearson", "lda"])
def test_an_unknown_check_is_refused(name):
    with pytest.raises(MeasureError, match=r"^unknown check 'merge tres'\. Did you mean 'merge trees'\?$"):
        check_measure(MEASURES[name], only=["merge tres"])


def test_one_of_our_own_has_to_say_the_note_of_the_conventions_or_of_the_reference():
    never = Reference(lambda x, y: math.nan, undefined="why not")
    with pytest.raises(AssertionError, match=r"NaN \(no variation within the classes\) instead of NaN \(why not\)"):
        check_measure(MEASURES["cohens_d"], replace(TEXTBOOKS["cohens_d"], undefined="why not"))
    with pytest.raises(AssertionError, match=r"hypothesis 'half': [-.0-9]+ instead of NaN \(why not\)"):
        check_measure(MEASURES["cohens_d"], never, only=["one pass"])


@pytest.mark.parametrize("make", [hard_data, group_data])
def test_the_data_are_made_from_a_seed(make):
    one, same, other = make(60), make(60), make(60, 1)
    assert np.array_equal(one.x, same.x, equal_nan=True)
    assert np.array_equal(one.y, same.y, equal_nan=True)
    assert not np.array_equal(one.x, other.x, equal_nan=True)
    assert one.x.shape == (one.symbols, len(one.units))
    assert one.y.shape[1] == sum(len(t.columns) for t in one.targets.values()) == len(one.column_kinds)


def test_rows_of_data_keep_their_records():
    data = hard_data(60)
    assert data.rows(4, 10).record.tolist() == [1, 1, 2, 2, 2, 3]
    assert Data(data.units, data.hypotheses, data.kinds, data.values).starts.tolist() == list(range(0, 60, 3))


def test_every_check_says_what_it_shows():
    for check in (*CHECKS.values(), *GROUP_CHECKS.values()):
        assert check.__doc__
