"""A user's own measures in a database: registered as they are used, known by name, recognized again, resumed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import deepbase
from deepbase.engine.driver import RunInterrupted
from deepbase.errors import CatalogError, DeepBaseError, InspectionError, MeasureError, QueryError

EXAMPLES = (Path(__file__).parents[1] / "docs" / "examples" / "my_measures.py").read_text()
REQUEST = ["ascii(token) % 3 = 0", "ascii(token)"]
INSPECT = """SELECT S.layer, S.unit, S.measure, S.unit_score
    INSPECT U.unit AND H.hypothesis USING {measures} OVER D.record AS S
    FROM models M, units U, hypotheses H, inputs D
    WHERE M.model = 'net' AND H.hypothesis = 'is_vowel' AND D.dataset = 'lines' ORDER BY ALL"""


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def file(write):
    return write("mine.py", EXAMPLES)


@pytest.fixture
def path(tmp_path, model_file, text_file):
    """A database file with a model and texts."""
    with deepbase.connect(tmp_path / "study.duckdb") as db:
        db.register_model("net", f"{model_file}:net")
        db.register_dataset("lines", text_file)
    return tmp_path / "study.duckdb"


@pytest.fixture
def db(path):
    with deepbase.connect(path) as database:
        yield database


def own(db):
    return [row[0] for row in db.sql("SELECT measure FROM measures ORDER BY measure").fetchall()]


def scores(found, measure):
    rows = found.scores.filter(f"measure = '{measure}'").project("layer, unit, hypothesis, unit_score, note").fetchall()
    return {row[:3]: row[3:] for row in rows}


def refused(kind, act, *arguments, **options):
    with pytest.raises(kind) as error:
        act(*arguments, **options)
    return str(error.value).strip()


# What they give.


def test_scores_are_the_textbook_values_of_the_behaviors(db, file):
    """In float64, from the values that SQL gives of the units and the hypotheses."""
    hypotheses = ["is_vowel", "ascii(token)", "position"]
    measures = [f"{file}:Slope", f"{file}:Slope(standardized := true)", f"{file}:Margin"]
    found = db.inspect("net", "lines", hypotheses, measures, layers="*")
    slope, standardized, margin = (scores(found, m) for m in ("slope", "slope(standardized := true)", "margin"))
    assert len(slope) == len(margin) == 7 * 3
    for layer, unit, hypothesis in slope:
        x = np.array([r[0] for r in db.sql(
            f"SELECT value FROM unit_activations('net', 'lines', '{layer}', {unit}) ORDER BY record, position"
        ).fetchall()])  # fmt: skip
        y = np.array([float(r[0]) for r in db.sql(
            f"SELECT {hypothesis if '(' in hypothesis or hypothesis == 'position' else 'is_vowel(token)'} "
            "FROM symbols('lines', 'net') ORDER BY record, position"
        ).fetchall()])  # fmt: skip
        expected = np.polyfit(y, x, 1)[0]
        scale = x.std() / y.std()
        key = (layer, unit, hypothesis)
        assert slope[key][0] == pytest.approx(expected, abs=1e-5 * scale)
        assert standardized[key][0] == pytest.approx(expected / x.std(), abs=1e-5 / y.std())
        if hypothesis == "is_vowel":
            assert margin[key][0] == pytest.approx(x[y == 1].min() - x[y == 0].max(), abs=1e-5)
        else:
            assert margin[key] == (None, "measure needs a boolean hypothesis")


def test_groups_have_states_of_their_own(db, file):
    db.sql("CREATE DATASET halves AS SELECT text, record % 2 = 0 AS even FROM inputs WHERE dataset = 'lines'")
    found = db.inspect("net", "halves", ["is_vowel"], [f"{file}:Margin"], layers="mix", group_by="even")
    for value in ("true", "false"):
        alone = db.inspect("net", "halves", ["is_vowel"], ["margin"], layers="mix", where=f"even = {value}")
        rows, expected = (r.project("unit, unit_score").order("ALL").fetchall() for r in (
            found.scores.filter(f"slice = '{value}'"), alone.scores
        ))  # fmt: skip
        assert len(rows) == 3
        assert np.array(rows) == pytest.approx(np.array(expected), abs=1e-5)


def test_the_strongest_are_the_greatest_where_the_sign_is_no_direction(db, file):
    from deepbase.report.terminal import best_units

    found = db.inspect("net", "lines", ["is_vowel"], [f"{file}:Margin", f"{file}:Slope"], layers="*")
    columns, rows = best_units(found, 7)
    shown = {m: [r[columns.index("unit_score")] for r in rows_ if r[columns.index("measure")] == m]
             for rows_ in [list(rows)] for m in ("margin", "slope")}  # fmt: skip
    assert shown["margin"] == sorted(shown["margin"], reverse=True)
    assert shown["slope"] == sorted(shown["slope"], key=abs, reverse=True)
    assert found.unsigned == ["margin"]


# How they become known.


def test_what_an_inspection_uses_is_known_by_its_name_afterwards(path, file):
    with deepbase.connect(path) as db:
        assert own(db) == []
        before = scores(db.inspect("net", "lines", ["is_vowel"], f"{file}:Slope(standardized := true)"), "slope")
        run = db.inspect("net", "lines", ["is_vowel"], ["slope", "slope(standardized := true)", "pearson"]).run
        assert run["spec"]["measures"] == ["slope", "slope(standardized := true)", "pearson"]
        row = db.sql("FROM measures").fetchall()[0]
        assert row[:2] == ("slope", f"{file}:Slope")
        assert row[3] == "how much a unit changes where the hypothesis is one greater"
        assert run["spec"]["fingerprints"]["measures"] == {"slope": row[2]}
        rows = db.sql(INSPECT.format(measures="slope, slope(standardized := true)")).fetchall()
    assert before == {}
    with deepbase.connect(path) as db:
        assert db.sql(INSPECT.format(measures="slope, slope(standardized := true)")).fetchall() == rows
        again = db.sql(
            "FROM inspect(model := 'net', dataset := 'lines', hypotheses := ['is_vowel'], "
            f"measures := ['slope', '{file}:Margin'], layers := '*')"
        )
        assert again.aggregate("measure, count(*)").order("measure").fetchall() == [("margin", 7), ("slope", 7)]
        assert own(db) == ["margin", "slope"]


def test_a_file_gives_all_its_measures(db, file):
    assert db.register_measures(file) == ["slope", "margin"]
    assert db.register_measures(str(file)) == ["slope", "margin"]
    found = db.inspect("net", "lines", ["is_vowel"], [Path(file), "pearson"])
    assert found.run["spec"]["measures"] == ["slope", "margin", "pearson"]
    assert refused(MeasureError, db.inspect, "net", "lines", ["is_vowel"], f"{file}(standardized := true)") == (
        f"'{file}' defines 2 measures, which cannot share options. Name one of them: 'file.py:Name(option := value)'."
    )


def test_nobodys_code_runs_before_it_is_named(path, write, tmp_path):
    file = write("mine.py", EXAMPLES + f"\nwith open({str(tmp_path / 'log')!r}, 'a') as log:\n    log.write('x')\n")
    with deepbase.connect(path) as db:
        db.register_measures(f"{file}:Slope")
    (tmp_path / "log").unlink()
    import sys

    for name in [n for n in sys.modules if n.startswith("deepbase_file_")]:
        del sys.modules[name]
    with deepbase.connect(path) as db:
        db.inspect("net", "lines", ["is_vowel"], ["pearson"])
        db.sql("SHOW MEASURES").fetchall()
        with pytest.raises(MeasureError, match=r"unknown measure 'slop'\. Did you mean 'slope'"):
            db.inspect("net", "lines", ["is_vowel"], ["slop"])
        assert not (tmp_path / "log").exists()
        db.inspect("net", "lines", ["is_vowel"], ["slope"])
    assert (tmp_path / "log").read_text() == "x"


def test_what_failed_leaves_nothing_registered(db, file):
    with pytest.raises(DeepBaseError, match="unknown hypothesis"):
        db.inspect("net", "lines", ["is_vowl"], [f"{file}:Slope"])
    assert own(db) == []
    db.register_measures(f"{file}:Slope")
    before = db.sql("FROM measures").fetchall()
    with pytest.raises(DeepBaseError, match="has no option 'standardised'"):
        db.inspect("net", "lines", ["is_vowel"], [f"{file}:Margin", f"{file}:Slope(standardised := true)"])
    assert db.sql("SELECT * EXCLUDE (registered) FROM measures").fetchall() == [row[:4] for row in before]
    db.explain(INSPECT.format(measures="slope"))
    assert own(db) == ["slope"]


def test_a_class_and_an_instance_are_handed_over_and_gone_with_the_process(path):
    def made(twice):
        @dataclass(frozen=True)
        class Spread(deepbase.Measure):
            power: int = 1
            name = "spread"
            description = "standard deviation"
            state_type = deepbase.PairMoments
            range = (0.0, math.inf)
            signed = False
            kinds = ("boolean", "number")

            def compute(self, state, targets):
                spread = state.unit_moments()[1].sqrt()[state.null_class] * (2 if twice else 1)
                return deepbase.pair_values(spread**self.power, state, targets, self.kinds)

        return Spread

    with deepbase.connect(path) as db:
        kind = made(False)
        found = db.inspect("net", "lines", ["is_vowel"], [kind, kind(power=2)], layers="mix")
        one, two = scores(found, "spread"), scores(found, "spread(power := 2)")
        assert len(one) == 3
        assert all(two[key][0] == pytest.approx(one[key][0] ** 2) for key in one)
        assert db.sql("SELECT measure, source FROM measures").fetchall() == [("spread", "python")]
        assert len(db.sql(INSPECT.format(measures="spread")).fetchall()) == 7
        old = db.sql("SELECT fingerprint FROM measures").fetchall()
        again = scores(db.inspect("net", "lines", ["is_vowel"], made(True), layers="mix"), "spread")
        assert all(again[key][0] == pytest.approx(2 * one[key][0]) for key in one)
        assert db.sql("SELECT fingerprint FROM measures").fetchall() != old
        assert db.inspect("net", "lines", ["is_vowel"], [type(db.measures.known()["pearson"]())]).run["spec"][
            "measures"
        ] == ["pearson"]
    with deepbase.connect(path) as db:
        assert refused(CatalogError, db.inspect, "net", "lines", ["is_vowel"], ["spread"]) == (
            "measure 'spread' was handed over as a Python class, which is gone. Hand it over again, or register a file."
        )
        db.inspect("net", "lines", ["is_vowel"], ["pearson"])


# What is refused.


def test_a_changed_file_is_refused_until_it_is_registered_again(path, write, file):
    with deepbase.connect(path) as db:
        db.register_measures(f"{file}:Slope")
        old = db.sql("SELECT fingerprint FROM measures").fetchall()[0][0]
    write("mine.py", EXAMPLES.replace("/ var_y[:, None]", "/ var_y[:, None] * 2"))
    with deepbase.connect(path) as db:
        said = refused(CatalogError, db.inspect, "net", "lines", ["is_vowel"], ["slope"])
        pattern = rf"measure 'slope' in {re.escape(str(file))}:Slope has changed: its fingerprint was {old[:12]} and is"
        assert re.match(pattern + r" now \w{12}\. Register it again, or put the old file back\.$", said)
        assert refused(CatalogError, db.sql, INSPECT.format(measures="slope")) == said
        db.inspect("net", "lines", ["is_vowel"], [f"{file}:Slope"])
        db.inspect("net", "lines", ["is_vowel"], ["slope"])
    file.rename(file.with_name("moved.py"))
    with deepbase.connect(path) as db:
        said = refused(MeasureError, db.inspect, "net", "lines", ["is_vowel"], ["slope"])
        assert re.match(
            rf"measure 'slope' \(fingerprint \w{{12}}\) cannot be loaded again: there is no file '{file}'\. If it was ",
            said,
        )
        assert db.register_measures(f"{file.with_name('moved.py')}:Slope") == ["slope"]
        db.inspect("net", "lines", ["is_vowel"], ["slope"])


def test_names_are_taken_once(db, file, write):
    db.register_measures(f"{file}:Slope")
    other = write("other.py", EXAMPLES)
    assert db.register_measures(f"{other}:Slope") == ["slope"], "it is the same code"
    third = write("third.py", EXAMPLES + "\n# more\n")
    assert refused(CatalogError, db.register_measures, f"{third}:Slope") == (
        "there is already a measure 'slope'. Choose another name, remove it, or replace it (--replace, replace=True)."
    )
    assert refused(CatalogError, db.inspect, "net", "lines", ["is_vowel"], f"{third}:Slope").startswith("there is alre")
    assert db.register_measures(f"{third}:Slope", replace=True) == ["slope"]
    assert refused(MeasureError, db.register_measures, [f"{file}:Margin", f"{third}:Margin"]) == (
        f"two measures are called 'margin': one from {file}:Margin and one from {third}:Margin. Rename one of them."
    )
    taken = write("taken.py", EXAMPLES.replace('name = "slope"', 'name = "pearson"'))
    assert refused(MeasureError, db.register_measures, taken) == (
        f"'{taken}:Slope' is called 'pearson', as is a measure that DeepBase brings along. Give it another name."
    )
    word = write("word.py", EXAMPLES.replace('name = "slope"', 'name = "over"'))
    assert refused(MeasureError, db.register_measures, f"{word}:Slope") == (
        f"'{word}:Slope' is called 'over', which is a word of SQL. Call it otherwise."
    )
    assert own(db) == ["slope"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("x = 1", "", "'{file}' defines no measure. A measure is a class under deepbase.Measure."),
        ("x = 1", ":Slope", "'{file}' defines no class 'Slope'. There are none yet."),
        (EXAMPLES, ":Slop", "'{file}' defines no class 'Slop'. Did you mean 'Slope'?"),
        (EXAMPLES, ":math", "'{file}:math' is no measure, but a module."),
        (EXAMPLES, ":Extremes", "'{file}:Extremes' is no measure, but a class Extremes."),
        ("from deepbase.measures.pairs import Pearson", "", "'{file}' defines no measure."),
        ("from deepbase.measures.pairs import Pearson", ":Pearson", "'{file}:Pearson' is DeepBase's own. Name it"),
        ("import deepbase\n\n1 / 0", "", "'{file}', line 3 fails: ZeroDivisionError: division by zero. Mend the file."),
        ("import deepbase\nclass A(deepbase.Measure):\n    name = 'a'", "", "'{file}:A' is no frozen dataclass. Write"),
        (EXAMPLES.replace("standardized: bool = False", "standardized: bool = False\n    def __post_init__(self):\n  "
            "      int('x')"), ":Slope", "'{file}:Slope' cannot be made with the defaults of its options: ValueError"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_said_with_what_is_wrong(db, write, content, name, message):
    file = write("wrong.py", content)
    for act in (db.register_measures, lambda source: db.inspect("net", "lines", ["is_vowel"], source)):
        assert refused(MeasureError, act, f"{file}{name}").startswith(message.replace("{file}", str(file)))
    assert own(db) == []


def test_what_is_no_file_and_no_class_is_said(db):
    assert refused(MeasureError, db.register_measures, "slope") == (
        "'slope' is no Python file. Give file.py, or file.py:Name."
    )
    assert refused(MeasureError, db.inspect, "net", "lines", ["is_vowel"], ["no.py:A"]).startswith(
        "there is no file 'n"
    )
    assert refused(MeasureError, db.inspect, "net", "lines", ["is_vowel"], [3]) == (
        "a int is no measure. Give a name, file.py:Name, or a class under deepbase.Measure."
    )


# What goes wrong while it runs.

LATE = EXAMPLES.replace("least, greatest = self.least.clone()", "{update}least, greatest = self.least.clone()")
LATE = LATE.replace("columns = [target.columns[0]", "{compute}columns = [target.columns[0]")


def late(write, update="", compute=""):
    """The example with mistakes in it that a few symbols do not show."""
    return write("late.py", LATE.replace("{update}", update).replace("{compute}", compute))


def test_what_raises_while_it_folds_ends_the_run_by_name(db, write):
    file = late(write, update="assert len(units) < 20, 'too many'; ")
    said = refused(MeasureError, db.inspect, "net", "lines", ["is_vowel"], ["pearson", f"{file}:Margin"])
    assert said == (
        "measure 'margin' raised AssertionError: too many while folding a batch in, in "
        f"{file}, line {line(file, 'too many')}. Mend its class."
    )
    assert db.sql("FROM runs").fetchall() == []
    assert own(db) == []
    db.register_measures(f"{file}:Margin")
    assert refused(MeasureError, db.explain, INSPECT.format(measures="margin")) == said


def test_what_raises_while_it_computes_leaves_a_failed_run_without_scores(db, write):
    file = late(write, compute="assert len(targets) < 2 or state.least.shape[1] == 3, 'too wide'; ")
    request = ("net", "lines", ["is_vowel", "has_digit"], ["pearson", f"{file}:Margin"])
    said = refused(MeasureError, db.inspect, *request, layers="*")
    assert said.startswith("measure 'margin' raised AssertionError: too wide while computing scores, in ")
    ((status, because, seen),) = db.sql("SELECT status, stopped_because, records_seen FROM runs").fetchall()
    assert (status, because, seen) == ("failed", f"MeasureError: {said}", 6)
    assert db.sql("FROM scores").fetchall() == []
    assert own(db) == ["margin"], "the run can be resumed"


def line(file, text):
    return next(i for i, written in enumerate(file.read_text().splitlines(), 1) if text in written)


SAME = '''
@dataclass(frozen=True)
class PairMoments(deepbase.MeasureState):
    """It has the name of a state that there is already."""

    n: torch.Tensor

    @classmethod
    def first(cls, units, labels, memory):
        return cls(torch.zeros(1, units.shape[1], dtype=torch.float64)).update(units, labels)

    def empty_like(self, labels):
        return PairMoments(torch.zeros_like(self.n))

    def update(self, units, labels):
        return PairMoments(self.n + len(units))

    def merge(self, other):
        return PairMoments(self.n + other.n)

    @classmethod
    def memory(cls, units, columns, symbols, limit):
        return 8 * units


@dataclass(frozen=True)
class Count(deepbase.Measure):
    name = "count_"
    description = "how many symbols there are"
    state_type = PairMoments
    range = (0.0, math.inf)
    signed = False
    kinds = ()

    def compute(self, state, targets):
        return deepbase.Values.of(state.n, "none")
'''


class StopError(Exception):
    """Ends a run."""


def test_a_run_is_resumed_to_the_same_scores(tmp_path, model_file, long_texts, write):
    """Also where two states have one name."""
    file = write("mine.py", EXAMPLES + SAME)
    measures = [f"{file}:Slope", f"{file}:Margin", f"{file}:Count", "mean"]
    query = "SELECT * EXCLUDE (run) FROM scores WHERE run = {} ORDER BY ALL"
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        db.register_model("slow", f"{model_file}:slow")
        db.register_dataset("long", long_texts)
        db.inspect("slow", "long", REQUEST, measures)
        whole = db.sql(query.format(1)).fetchall()

        def stop(progress):
            if progress.records_seen > 15:
                raise StopError

        with pytest.raises(StopError):
            db.inspect("slow", "long", REQUEST, measures, progress=stop)
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        seen = db.run(2)["records_seen"]
        assert 0 < seen < 40
        db.inspect(resume=2)
        assert db.run(2)["records_seen"] == 40
        assert db.sql(query.format(2)).fetchall() == whole
    assert len(whole) == 7 * (2 * 2 + 2)
    assert {row[6] for row in whole if row[4] == "count_"} == {800.0}


def test_a_run_whose_scores_failed_for_a_while_is_resumed(tmp_path, model_file, long_texts, write):
    """It has no scores until then: those of its last checkpoint are of fewer records than it counts."""
    flag = tmp_path / "full"
    file = late(write, compute=f"assert not __import__('os').path.exists({str(flag)!r}), 'disk is full'; ")
    request = (f"{model_file}:slow", long_texts, REQUEST, ["pearson", f"{file}:Margin"])
    seen = []

    def later(progress):
        if progress.records_seen > 15 and not seen:
            seen.append(db.sql("SELECT count(unit_score) FROM scores").fetchall()[0][0])
            flag.touch()

    with deepbase.connect(tmp_path / "x.duckdb") as db:
        said = refused(MeasureError, db.inspect, *request, checkpoint=0, progress=later)
        assert said.startswith("measure 'margin' raised AssertionError: disk is full while computing scores")
        assert seen[0] > 0, "a checkpoint had scores"
        assert db.sql("SELECT status FROM runs").fetchall() == [("failed",)]
        assert db.sql("FROM scores").fetchall() == []
        assert db.run(1)["records_seen"] > 15
        assert db.sql("SELECT run FROM checkpoints").fetchall() == [(1,)]
        flag.unlink()
        found = db.inspect(resume=1).scores.fetchall()
        whole = db.inspect("slow", "long", REQUEST, ["pearson", "margin"]).scores.fetchall()
    assert sorted(r[2:] for r in found) == sorted(r[2:] for r in whole)
    assert len(found) == 7 * 2 * 2


def test_a_run_whose_measure_changed_is_not_resumed(tmp_path, model_file, long_texts, write):
    file = write("mine.py", EXAMPLES)

    def stop(progress):
        if progress.records_seen > 15:
            raise StopError

    with deepbase.connect(tmp_path / "x.duckdb") as db:
        with pytest.raises(StopError):
            db.inspect(f"{model_file}:slow", long_texts, REQUEST, f"{file}:Margin", progress=stop)
        write("mine.py", EXAMPLES + "\n# changed\n")
        db.register_measures(f"{file}:Margin")
        assert refused(InspectionError, db.inspect, resume=1) == (
            "run 1 cannot be resumed: its measures changed since it began. Start a new run."
        )
        db.remove("measure", "margin")
        assert refused(MeasureError, db.inspect, resume=1).startswith("unknown measure 'margin'")


# In SQL and on the command line.


def tell(db, text):
    told = []
    assert db.sql(text, tell=told.append) is None
    return told


def test_statements_register_list_describe_and_remove(db, file):
    assert tell(db, f"CREATE MEASURES FROM '{file}'") == ["registered measure slope", "registered measure margin"]
    assert tell(db, f"create or replace measures from '{file}:Slope';") == ["registered measure slope"]
    rows = db.sql("SHOW MEASURES").fetchall()
    assert rows[-2:] == [
        ("margin", "least value of a unit where the hypothesis is true, less its greatest where it is false",
         f"{file}:Margin"),
        ("slope", "how much a unit changes where the hypothesis is one greater", f"{file}:Slope"),
    ]  # fmt: skip
    assert ("pearson", "linear correlation of a unit with a hypothesis", "deepbase.measures.pairs:Pearson") in rows
    relation = db.sql("DESCRIBE MEASURE slope")
    facts = dict(zip(relation.columns, relation.fetchall()[0], strict=True))
    expected = db.measure("slope")
    assert facts == {**expected, "reference": None}
    assert (facts["options"], facts["least"], facts["signed"], facts["state"]) == (
        "standardized := false", None, True, "PairMoments",
    )  # fmt: skip
    assert db.sql("DESC MEASURE pearson").fetchall()[0][5:7] == (-1.0, 1.0)
    assert tell(db, "DROP MEASURE margin; DROP MEASURE IF EXISTS margin") == ["removed measure margin"]
    assert refused(CatalogError, db.sql, "DROP MEASURE pearson") == "there is no measure 'pearson'. There are: slope."
    assert refused(CatalogError, db.sql, "DESCRIBE MEASURE slop") == "there is no measure 'slop'. Did you mean 'slope'?"
    assert refused(QueryError, db.sql, "CREATE MEASURES 'x.py'").startswith("CREATE MEASURES expects FROM, and found")
    assert db.sql("SHOW measures").fetchall() == db.sql("SHOW MEASURES").fetchall()


def test_a_mistake_in_a_query_is_shown_in_its_place(db, file):
    db.register_measures(file)
    said = refused(QueryError, db.sql, INSPECT.format(measures="slope(standardised := true)"))
    assert said.startswith("measure 'slope' has no option 'standardised'. Did you mean 'standardized'?\nLINE 2, COLUMN")
    assert "option 'standardized' of measure 'slope' cannot be 1. Give true or false." in refused(
        QueryError, db.sql, INSPECT.format(measures="slope(standardized := 1)")
    )


def test_explain_shows_them_like_others(db, file):
    db.register_measures(file)
    plan = db.explain(INSPECT.format(measures="slope, pearson, margin"))
    assert plan.startswith("INSPECT 7 units x 1 hypothesis, by slope, pearson, margin\n")
    assert "states: PairMoments, shared by slope, pearson: " in plan
    assert "states: Extremes of margin: 112 bytes in two copies" in plan


def test_commands_register_list_show_and_remove(cli, model_file, text_file, file):
    measures = ["-m", f"{file}:Slope", "-m", "pearson", "-m", f"{file}:Slope(standardized := true)"]
    found = cli("inspect", f"{model_file}:net", text_file, "-H", "is_vowel", *measures, "--top", 1, "--format", "json")
    assert found.exit_code == 0, found.output
    assert [r["measure"] for r in json.loads(found.stdout)] == ["slope", "pearson", "slope(standardized := true)"]
    assert cli("inspect", "tiny", text_file, "-H", "is_vowel", "-m", "slope").exit_code == 1
    assert cli("measures", "add", f"{file}").stderr == "registered measure slope\nregistered measure margin\n"
    listed = json.loads(cli("measures", "--format", "json").stdout)
    assert [r["measure"] for r in listed][-2:] == ["margin", "slope"]
    assert listed[0]["source"].startswith("deepbase.measures.")
    assert json.loads(cli("measures", "show", "margin", "--format", "json").stdout)[0]["source"] == f"{file}:Margin"
    assert cli("measures", "remove", "margin").stderr == "removed measure margin\n"
    gone = cli("measures", "remove", "margin")
    assert (gone.exit_code, gone.stderr) == (1, "Error: there is no measure 'margin'. There are: slope.\n")
    wrong = cli("inspect", f"{model_file}:net", text_file, "-H", "is_vowel", "-m", f"{file}:Extremes")
    assert (wrong.exit_code, wrong.stderr) == (
        1,
        f"Error: '{file}:Extremes' is no measure, but a class Extremes. A measure is a class under deepbase.Measure.\n",
    )


def test_one_call_takes_them_with_nothing_registered(model_file, text_file, file):
    found = deepbase.inspect(f"{model_file}:net", text_file, ["is_vowel"], [f"{file}:Margin"], layers="mix")
    assert len(scores(found, "margin")) == 3


def test_ctrl_c_is_no_mistake_of_a_measure(db, write):
    file = late(write, update="\n        if len(units) > 20:\n            raise KeyboardInterrupt\n        ")
    with pytest.raises(RunInterrupted):
        db.inspect("net", "lines", ["is_vowel"], f"{file}:Margin")
