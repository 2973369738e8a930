"""What holds for every hypothesis of the library."""

import doctest

import pytest

from deepbase.hypotheses import characters, structure, words
from deepbase.labels.hypothesis import Hypothesis

MODULES = (words, characters, structure)
LIBRARY = [(module, h) for module in MODULES for h in vars(module).values() if isinstance(h, Hypothesis)]
COLUMNS = {"word", "word_index", "token", "text", "start", "end"}


def name_of(value):
    return value.name if isinstance(value, Hypothesis) else ""


def test_no_two_hypotheses_share_a_name():
    names = [h.name for _, h in LIBRARY]
    assert len(names) == len(set(names)) >= 30


@pytest.mark.parametrize(("module", "hypothesis"), LIBRARY, ids=name_of)
def test_it_is_described_in_one_line_and_reads_known_columns(module, hypothesis):
    assert hypothesis.description.endswith((".", "^ ~."))
    assert len(hypothesis.description) <= 120
    assert {p.column for p in hypothesis.parameters} <= COLUMNS
    assert getattr(module, hypothesis.name) is hypothesis


@pytest.mark.parametrize(("module", "hypothesis"), LIBRARY, ids=name_of)
def test_its_examples_are_true(module, hypothesis):
    examples = doctest.DocTestParser().get_doctest(hypothesis.__doc__, vars(module), hypothesis.name, None, None)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples).failed == 0


@pytest.mark.parametrize(
    ("module", "hypothesis"), [(m, h) for m, h in LIBRARY if h.sql_parameters == ["VARCHAR"]], ids=name_of
)
@pytest.mark.parametrize("value", ["", " ", "a", "\u0000", "é", "\u0301", "😀", "((", "'", "\n", "a" * 1000])
def test_any_text_has_a_value_of_the_promised_kind(module, hypothesis, value):
    result = hypothesis.value(value)
    assert isinstance(result, {"boolean": bool, "number": float, "category": str}[hypothesis.kind])


@pytest.mark.parametrize(("module", "hypothesis"), [(m, h) for m, h in LIBRARY if h.per_record], ids=name_of)
def test_a_record_of_missing_values_has_as_many_answers(module, hypothesis):
    lists = {"VARCHAR": "a(b", "VARCHAR[]": [None, "a", None], "BIGINT[]": [None, 0, None]}
    result = hypothesis.record_values(*(lists[t] for t in hypothesis.sql_parameters))
    assert len(result) == 3
