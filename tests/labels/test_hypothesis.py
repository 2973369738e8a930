"""A Python function as a hypothesis: what its signature says, what it may return, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, Optional

import numpy as np
import pyarrow as pa
import pytest

import deepbase
from deepbase.errors import HypothesisError
from deepbase.labels.hypothesis import Hypothesis, hypothesis


def made(signature: str, body: str = "return None", **options: Any) -> Hypothesis:
    """A hypothesis `f` from the text of its signature, as in `(word: str) -> bool`."""
    names: dict[str, Any] = {"Literal": Literal, "Optional": Optional, "Sequence": Sequence, "np": np, "pa": pa}
    exec(f"def f{signature}:\n    {body}", names)
    return hypothesis(names["f"], **options)


def test_a_decorated_function_can_still_be_called():
    @deepbase.hypothesis
    def is_long(word: str, least: int = 4) -> bool:
        """The word is long.

        And more that nobody needs in a table.
        """
        return len(word) >= least

    assert is_long("four")
    assert not is_long("four", least=5)
    assert (is_long.name, is_long.kind, is_long.description) == ("is_long", "boolean", "The word is long.")
    assert repr(is_long) == "<hypothesis is_long(word): boolean>"
    assert is_long.source == "python"
    assert re.fullmatch(r".*test_hypothesis\.py:\d+", is_long.where)


def test_a_decorator_with_arguments_says_what_the_function_does_not():
    @deepbase.hypothesis(name="part of speech", description="A guess.", values=["noun", "other"])
    def guess(word):
        return "noun" if word[0].isupper() else "other"

    assert (guess.name, guess.description, guess.kind) == ("part of speech", "A guess.", "category")
    assert guess.values == ("noun", "other")
    assert guess("Paris") == "noun"


def test_a_function_without_a_docstring_has_no_description():
    assert made("(word: str) -> bool").description == ""


@pytest.mark.parametrize(
    ("parameter", "sql", "takes_null"),
    [
        ("word: str", "VARCHAR", False),
        ("word_index: int", "BIGINT", False),
        ("score: float", "DOUBLE", False),
        ("flag: bool", "BOOLEAN", False),
        ("word: str | None", "VARCHAR", True),
        ("word: Optional[str]", "VARCHAR", True),
        ("score: int | float", "DOUBLE", False),
        ("score: int | float | None", "DOUBLE", True),
        ("token: list[str]", "VARCHAR[]", False),
        ("word: list[str | None]", "VARCHAR[]", False),
        ("start: Sequence[int]", "BIGINT[]", False),
        ("start: tuple[int, ...]", "BIGINT[]", False),
        ("flag: list[bool] | None", "BOOLEAN[]", True),
        ("token: list", "VARCHAR[]", False),
        ("start: list", "BIGINT[]", False),
        ("word", "VARCHAR", False),
        ("position", "BIGINT", False),
        ("head", "BIGINT", False),
        ("upos: 'str'", "VARCHAR", False),
    ],
)
def test_a_parameter_names_a_column_and_its_annotation_the_type(parameter, sql, takes_null):
    found = made(f"({parameter}) -> bool")
    assert found.sql_parameters == [sql]
    assert found.parameters[0].column == parameter.partition(":")[0]
    assert found.parameters[0].takes_null == takes_null
    assert found.per_record == sql.endswith("[]")


def test_a_parameter_with_a_default_is_an_option_and_no_column():
    found = made("(word: str, position: int = 3, *, strict: bool = False) -> bool")
    assert [p.column for p in found.parameters] == ["word"]


@pytest.mark.parametrize(
    ("result", "kind", "values", "sql"),
    [
        ("bool", "boolean", (), "BOOLEAN"),
        ("int", "number", (), "DOUBLE"),
        ("float", "number", (), "DOUBLE"),
        ("int | float", "number", (), "DOUBLE"),
        ("bool | None", "boolean", (), "BOOLEAN"),
        ("Optional[float]", "number", (), "DOUBLE"),
        ("Literal['a', 'b']", "category", ("a", "b"), "VARCHAR"),
        ("Literal['a', 'b'] | None", "category", ("a", "b"), "VARCHAR"),
        ("Literal['a', None]", "category", ("a",), "VARCHAR"),
        ("list[bool]", "boolean", (), "BOOLEAN[]"),
        ("list[float | None]", "number", (), "DOUBLE[]"),
        ("list[bool] | None", "boolean", (), "BOOLEAN[]"),
        ("list[Literal['a', 'b']]", "category", ("a", "b"), "VARCHAR[]"),
    ],
)
def test_the_return_annotation_says_the_kind(result, kind, values, sql):
    found = made(f"(text: str) -> {result}")
    assert (found.kind, found.values, found.sql_result) == (kind, values, sql)
    assert found.per_record == sql.endswith("[]")


@pytest.mark.parametrize(
    ("parameters", "body", "kind", "per_record"),
    [
        ("word", "return word.isupper()", "boolean", False),
        ("word", "return word[0] == 'P' or None", "boolean", False),
        ("word", "return len(word)", "number", False),
        ("word", "return {'Paris': 0.5}[word]", "number", False),
        ("position", "return position % 2 == 0", "boolean", False),
        ("word", "return np.float32(1)", "number", False),
        ("word", "return np.bool_(True)", "boolean", False),
        ("text", "return [c == ' ' for c in text]", "boolean", True),
        ("text", "return tuple(map(ord, text))", "number", True),
        ("text", "return np.zeros(len(text))", "number", True),
        ("token: list", "return [len(t) for t in token]", "number", True),
        ("word", "raise RuntimeError", "boolean", False),
        ("word", "return None", "boolean", False),
    ],
)
def test_a_function_without_annotations_is_tried(parameters, body, kind, per_record):
    found = made(f"({parameters})", body)
    assert (found.kind, found.per_record) == (kind, per_record)


def test_what_the_decorator_says_goes_before_what_the_annotation_says():
    assert made("(word: str) -> int", kind="boolean").kind == "boolean"
    assert made("(word: str) -> Literal['a', 'b']", values=["a", "b", "c"]).values == ("a", "b", "c")
    assert made("(word: str) -> str", values=["a"]).kind == "category"
    by_character = made("(text)", "return [c for c in text]", values=["x"])
    assert (by_character.kind, by_character.per_record) == ("category", True)


@pytest.mark.parametrize(
    ("signature", "returned", "value"),
    [
        ("(word: str) -> bool", "True", True),
        ("(word: str) -> bool", "np.bool_(False)", False),
        ("(word: str) -> bool", "None", None),
        ("(word: str) -> float", "3", 3.0),
        ("(word: str) -> float", "np.float32(0.5)", 0.5),
        ("(word: str) -> float", "np.int64(7)", 7.0),
        ("(word: str) -> int", "True", 1.0),
        ("(word: str) -> int", "None", None),
        ("(word: str) -> Literal['a', 'b']", "'b'", "b"),
        ("(word: str) -> Literal['a', 'b']", "np.str_('a')", "a"),
        ("(word: str) -> Literal['a', 'b']", "None", None),
    ],
)
def test_python_and_numpy_results_are_taken(signature, returned, value):
    found = made(signature, f"return {returned}").value("x")
    assert found == value
    assert type(found) is type(value)


RECORDS = ["[True, None]", "(True, None)", "np.array([True, None])", "pa.array([True, None])"]


@pytest.mark.parametrize("returned", RECORDS)
def test_a_function_of_a_record_returns_any_list(returned):
    found = made("(token: list[str]) -> list[bool]", f"return {returned}")
    assert found.record_values(["a", "b"]) == [True, None]


def test_null_reaches_only_a_parameter_that_takes_it():
    plain = made("(word: str, upos: str) -> bool", "return word == upos")
    assert plain.value("a", None) is None
    asking = made("(word: str, upos: str | None) -> bool", "return upos is None")
    assert asking.value("a", None) is True
    assert asking.value(None, "a") is None
    record = made("(text: str, upos: list[str] | None) -> list[bool]", "return [upos is None]")
    assert record.record_values("x", None) == [True]
    assert record.record_values(None, ["a"]) is None


def test_a_function_of_one_column_is_called_once_a_value():
    calls = []

    def is_a(word: str | None) -> bool:
        calls.append(word)
        return word == "a"

    found = hypothesis(is_a).arrow(pa.chunked_array([["a", "b", None], ["a", None, "b"]]))
    assert found.to_pylist() == [True, False, False, True, False, False]
    assert sorted(calls, key=str) == [None, "a", "b"]


ANNOTATION = "It may return bool, int, float, Literal['a', 'b'], or a list of one of these."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: hypothesis(lambda word: True),
            "a hypothesis needs a name. Give one: hypothesis(function, name='...').",
        ),
        (
            lambda: made("() -> bool"),
            "hypothesis 'f' has no parameters. "
            "Its parameters name the columns that it reads: token, word, text, position, ...",
        ),
        (
            lambda: made("(word: str = 'a') -> bool"),
            "hypothesis 'f' has no parameters. "
            "Its parameters name the columns that it reads: token, word, text, position, ...",
        ),
        (
            lambda: made("(*columns) -> bool"),
            "hypothesis 'f' takes *columns. Name the columns that it reads as its parameters.",
        ),
        (
            lambda: made("(word: bytes) -> bool"),
            "parameter 'word' of hypothesis 'f' is annotated as <class 'bytes'>. "
            "It may be str, int, float, bool, or a list of one of these.",
        ),
        (
            lambda: made("(word: list[list[str]]) -> bool"),
            "parameter 'word' of hypothesis 'f' is annotated as list[str]. "
            "It may be str, int, float, bool, or a list of one of these.",
        ),
        (
            lambda: made("(word: str | int) -> bool"),
            "parameter 'word' of hypothesis 'f' is annotated as str | int. "
            "It may be str, int, float, bool, or a list of one of these.",
        ),
        (
            lambda: made("(word: str) -> bytes"),
            f"hypothesis 'f' is annotated to return <class 'bytes'>. {ANNOTATION}",
        ),
        (
            lambda: made("(word: str) -> Literal[1, 2]"),
            f"hypothesis 'f' is annotated to return typing.Literal[1, 2]. {ANNOTATION}",
        ),
        (
            lambda: made("(word: str) -> str"),
            "hypothesis 'f' returns text but does not say which values it may return. "
            "Annotate it as -> Literal['a', 'b'], or pass values=['a', 'b'].",
        ),
        (
            lambda: made("(word)", "return word"),
            "hypothesis 'f' returns text but does not say which values it may return. "
            "Annotate it as -> Literal['a', 'b'], or pass values=['a', 'b'].",
        ),
        (
            lambda: made("(word: str)", kind="bool"),
            "hypothesis 'f' cannot be of the kind 'bool'. Did you mean 'boolean'?",
        ),
        (
            lambda: made("(word: 'Missing') -> bool"),
            "the annotations of hypothesis 'f' cannot be read: name 'Missing' is not defined. "
            "Import the names that they use.",
        ),
        (
            lambda: made("(word: 'no python!') -> bool"),
            "the annotations of hypothesis 'f' cannot be read: Forward reference must be an expression -- got "
            "'no python!'. Import the names that they use.",
        ),
        (
            lambda: hypothesis(max),
            "hypothesis 'max' does not tell its parameters: no signature found for builtin <built-in function max>. "
            "Write a function around it, whose parameters name the columns that it reads.",
        ),
    ],
)
def test_a_signature_that_says_nothing_is_refused(make, message):
    with pytest.raises(HypothesisError) as error:
        make()
    assert str(error.value) == message


PROMISE = "Make the function return what its annotation says."


@pytest.mark.parametrize(
    ("signature", "returned", "message"),
    [
        ("(word: str) -> bool", "1", f"hypothesis 'f' returned 1 (int), expected True, False or None. {PROMISE}"),
        ("(word: str) -> bool", "'y'", f"hypothesis 'f' returned 'y' (str), expected True, False or None. {PROMISE}"),
        ("(word: str) -> float", "'1'", f"hypothesis 'f' returned '1' (str), expected a number or None. {PROMISE}"),
        ("(word: str) -> float", "1j", f"hypothesis 'f' returned 1j (complex), expected a number or None. {PROMISE}"),
        (
            "(word: str) -> float",
            "'x' * 100",
            f"hypothesis 'f' returned '{'x' * 36}... (str), expected a number or None. {PROMISE}",
        ),
        ("(word: str) -> Literal['a', 'b']", "1", f"hypothesis 'f' returned 1 (int), expected text or None. {PROMISE}"),
        (
            "(word: str) -> Literal['a', 'b']",
            "'c'",
            "hypothesis 'f' returned 'c', which is not among its values a, b. "
            "Add it to the values that the hypothesis declares.",
        ),
    ],
)
def test_a_wrong_result_is_refused(signature, returned, message):
    with pytest.raises(HypothesisError) as error:
        made(signature, f"return {returned}").value("x")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            "True",
            "hypothesis 'f' returned True (bool) instead of a list. "
            "A hypothesis that takes a whole record returns a list with one value per symbol.",
        ),
        ("[True]", "hypothesis 'f' returned 1 values for 2 symbols. Return exactly one value per symbol."),
        ("[True] * 3", "hypothesis 'f' returned 3 values for 2 symbols. Return exactly one value per symbol."),
        ("[True, 'x']", f"hypothesis 'f' returned 'x' (str), expected True, False or None. {PROMISE}"),
    ],
)
def test_a_wrong_list_is_refused(returned, message):
    with pytest.raises(HypothesisError) as error:
        made("(token: list[str]) -> list[bool]", f"return {returned}").record_values(["a", "b"])
    assert str(error.value) == message


def test_the_fingerprint_is_that_of_the_code_its_defaults_and_what_it_encloses():
    def longer(least, default=0):
        def f(word: str, extra: int = default) -> bool:
            return len(word) > least + extra

        return hypothesis(f).fingerprint

    assert longer(3) == longer(3)
    assert len({longer(3), longer(4), longer(3, 1)}) == 3
    assert made("(word: str) -> bool", "return True").fingerprint != made("(word: str) -> bool").fingerprint


def test_the_fingerprint_of_a_set_does_not_depend_on_its_order():
    def fingerprint(words):
        def f(word: str, known: Any = words) -> bool:
            return word in known

        return hypothesis(f).fingerprint

    numbers = [*range(0, 80, 8)]
    assert list({*numbers}) != list({*reversed(numbers)}), "equal sets in another order"
    assert fingerprint({*numbers}) == fingerprint({*reversed(numbers)})
