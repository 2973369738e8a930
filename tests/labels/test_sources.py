"""Files of hypotheses: what is found in them, what is wrong with them, and how they are recognized again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import deepbase
from deepbase.errors import CatalogError, HypothesisError
from deepbase.labels.sources import library, load_file

TWO = """
import deepbase

@deepbase.hypothesis
def is_long(word: str) -> bool:
    "The word is long."
    return helper(word) > 6

@deepbase.hypothesis(name="shape", values=["upper", "lower"])
def shape_of(word):
    return "upper" if word.isupper() else "lower"

def helper(word):
    return len(word)
"""

FACTORY = """
from deepbase import hypothesis

def starting(letter):
    def starts(word: str) -> bool:
        return word.startswith(letter)
    return hypothesis(starts, name=f"begins_with_{letter}")

of_a, of_b = starting("a"), starting("b")
_hidden = hypothesis(lambda word: word == "b", name="is_b", kind="boolean")
"""


@pytest.fixture
def file(tmp_path):
    """`file(content, name)`: a file with this content."""

    def write(content: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    return write


def refused(source: object) -> str:
    with pytest.raises(HypothesisError) as error:
        load_file(str(source))
    return str(error.value)


def test_a_file_gives_its_decorated_functions(file):
    path = file(TWO)
    found = load_file(str(path))
    assert [(h.name, h.kind, h.description, h.source) for h in found] == [
        ("is_long", "boolean", "The word is long.", f"{path}:is_long"),
        ("shape", "category", "", f"{path}:shape_of"),
    ]
    assert found[0]("tremendous")


def test_one_function_of_a_file_may_be_named(file):
    path = file(TWO)
    assert [h.name for h in load_file(f"{path}:shape_of")] == ["shape"]
    assert [(h.name, h.kind) for h in load_file(f"{path}:helper")] == [("helper", "number")]


def test_what_a_file_imports_is_not_its_own(file):
    path = file("from deepbase.hypotheses.words import is_capitalized\n" + TWO)
    assert [h.name for h in load_file(str(path))] == ["is_long", "shape"]


def test_a_hypothesis_with_two_names_in_the_file_comes_once(file):
    path = file(TWO + "\nagain = is_long\n")
    assert [h.name for h in load_file(str(path))] == ["is_long", "shape"]


def test_a_hypothesis_that_a_factory_made_is_found_again_by_its_source(file):
    found = load_file(str(file(FACTORY)))
    assert [h.name for h in found] == ["begins_with_a", "begins_with_b", "is_b"]
    for hypothesis in found:
        (again,) = load_file(hypothesis.source)
        assert (again.name, again.fingerprint, again.kind) == (hypothesis.name, hypothesis.fingerprint, "boolean")
        assert again("b") == hypothesis("b")


def test_a_relative_path_is_the_same_file(file, monkeypatch):
    path = file(TWO)
    monkeypatch.chdir(path.parent)
    assert [h.source for h in load_file("mine.py:is_long")] == [f"{path}:is_long"]


def test_a_file_is_executed_once_however_often_it_is_named(file, tmp_path):
    path = file(TWO + f"\nwith open({str(tmp_path / 'log')!r}, 'a') as log:\n    log.write('x')\n")
    for _ in range(3):
        load_file(str(path))
    load_file(f"{path}:is_long")
    assert (tmp_path / "log").read_text() == "x"


def test_who_renames_what_was_loaded_does_not_rename_it_for_others(file):
    path = file(TWO)
    load_file(f"{path}:is_long")[0].name = "mine"
    assert load_file(f"{path}:is_long")[0].name == "is_long"


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(file):
    here, there = file(TWO), file(TWO, "elsewhere/other.py")
    changed = file(TWO.replace("return len(word)", "return len(word) + 1"), "changed.py")
    fingerprints = [{h.name: h.fingerprint for h in load_file(str(p))} for p in (here, there, changed)]
    assert fingerprints[0] == fingerprints[1]
    assert fingerprints[0]["is_long"] != fingerprints[0]["shape"]
    assert fingerprints[0]["is_long"] != fingerprints[2]["is_long"], "it calls what changed"


def test_a_file_that_changes_is_read_anew(file):
    assert load_file(str(file(TWO)))[0]("seven__")
    assert not load_file(str(file(TWO.replace("> 6", "> 7"))))[0]("seven__")


def test_a_missing_file_is_said_with_its_neighbours(file, tmp_path):
    file(TWO, "nouns.py")
    assert refused(tmp_path / "noun.py") == f"there is no file '{tmp_path / 'noun.py'}'. Did you mean 'nouns.py'?"
    assert refused(tmp_path / "no" / "x.py") == f"there is no file '{tmp_path / 'no' / 'x.py'}'. There are none yet."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "'{path}' defines no hypothesis. "
            "Decorate its functions with @deepbase.hypothesis, or name one: file.py:name."),
        ("\n\ndef f(:\n", "'{path}', line 3 fails: SyntaxError: invalid syntax (mine.py, line 3). Mend the file."),
        ("import deepbase\n\n1 / 0\n", "'{path}', line 3 fails: ZeroDivisionError: division by zero. Mend the file."),
        ("def f():\n    raise KeyError('x')\n\nf()", "'{path}', line 2 fails: KeyError: 'x'. Mend the file."),
        ("import there_is_no_such_module", "'{path}', line 1 fails: ModuleNotFoundError: No module named "
            "'there_is_no_such_module'. Mend the file."),
        ("raise SystemExit(3)", "'{path}', line 1 fails: SystemExit: 3. Mend the file."),
        ("import deepbase\n@deepbase.hypothesis\ndef f(x: bytes) -> bool: ...", "parameter 'x' of hypothesis 'f' is "
            "annotated as <class 'bytes'>. It may be str, int, float, bool, or a list of one of these."),
        (TWO + "\nother = deepbase.hypothesis(helper, name='shape')", "'{path}' defines two hypotheses 'shape'. "
            "Rename one of them."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("relative", [False, True])
def test_a_file_that_cannot_be_used_is_said_with_its_line(file, monkeypatch, content, message, relative):
    path = file(content)
    monkeypatch.chdir(path.parent)
    shown = Path(path.name) if relative else path
    assert refused(shown) == message.format(path=shown)
    assert not [m for m in sys.modules if m.startswith("deepbase_file_") and "fails" in message and m in refused(shown)]


def test_a_function_that_is_not_in_the_file_is_said_with_the_nearest(file):
    path = file(TWO)
    assert refused(f"{path}:is_lon") == f"'{path}' defines no function 'is_lon'. Did you mean 'is_long'?"


def test_after_a_failure_the_mended_file_is_read(file):
    path = file("1 / 0")
    refused(path)
    refused(path)
    assert len(load_file(str(file(TWO)))) == 2


def test_the_library_is_loaded_by_name():
    found = library()
    assert found["is_capitalized"].source == "deepbase.hypotheses.words:is_capitalized"
    assert list(found) == sorted(found)


TEXTS = ["Anna sees a bear", "bears see Anna", "an apple"] * 5


@pytest.fixture
def scores_of(tmp_path, letters):
    """`scores_of(db, *hypotheses)`: the scores of the model by hypothesis."""

    def run(db, *hypotheses):
        rows = db.inspect(letters, TEXTS, list(hypotheses)).scores.fetchall()
        return {name: [r[7] for r in rows if r[4] == name] for name in dict.fromkeys(r[4] for r in rows)}

    return run


def test_a_file_is_registered_once_under_any_name(file, scores_of):
    path = file(FACTORY)
    with deepbase.connect() as db:
        assert db.register_hypotheses(f"{path}:of_a", name="one") == ["one"]
        assert db.register_hypotheses(f"{path}:of_a", name="two") == ["two"]
        assert db.register_hypotheses(path) == ["begins_with_a", "begins_with_b", "is_b"]
        assert db.register_hypotheses(path) == ["begins_with_a", "begins_with_b", "is_b"]
        found = scores_of(db, "one", "two", "begins_with_b")
    assert list(found) == ["one", "two", "begins_with_b"]
    assert found["one"] == found["two"] != found["begins_with_b"]


def test_a_file_of_hypotheses_works_in_a_database_that_is_opened_again(file, tmp_path, scores_of):
    path = file(FACTORY)
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        db.register_hypotheses(path)
        db.register_hypotheses(f"{path}:of_b", name="mine")
        before = scores_of(db, "begins_*", "is_b", "mine")
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        assert scores_of(db, "begins_*", "is_b", "mine") == before
    assert list(before) == ["begins_with_a", "begins_with_b", "is_b", "mine"]


def test_a_registered_file_that_changed_is_refused_until_it_is_registered_again(file, tmp_path, scores_of):
    path = file(TWO)
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        db.register_hypotheses(path)
    file(TWO.replace("> 6", "> 4"))
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        with pytest.raises(CatalogError, match=r"hypothesis 'is_long' in .* has changed"):
            scores_of(db, "is_long")
        db.register_hypotheses(path)
        assert list(scores_of(db, "is_long")) == ["is_long"]


def test_a_function_that_is_handed_over_again_with_other_values_is_another_one(scores_of):
    def longer(least):
        def is_longer(word: str) -> bool:
            return len(word) > least

        return is_longer

    with deepbase.connect() as db:
        found = [scores_of(db, longer(least))["is_longer"] for least in (1, 3, 1)]
    assert found[0] == found[2] != found[1]
