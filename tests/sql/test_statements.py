"""CREATE DATASET and its kin: what they say, what they refuse, and where in the user's text a mistake is shown."""

from __future__ import annotations

import textwrap

import duckdb
import pytest

import deepbase
from deepbase.errors import CatalogError, DatasetError, QueryError

SEE = "See docs/sql.md for the statements."


@pytest.fixture
def db(tmp_path, monkeypatch, write):
    """A database, in a folder with a text, a table and a hypothesis."""
    monkeypatch.chdir(tmp_path)
    write("lines.txt", "a b\nc d\n")
    write("words.csv", "words,n\na b,1\nc,2\n")
    write(
        "own.py", "import deepbase\n\n\n@deepbase.hypothesis\ndef is_x(token: str) -> bool:\n    return token == 'x'\n"
    )
    with deepbase.connect() as database:
        yield database


def tell(db, text, parameters=None):
    told = []
    assert db.sql(text, parameters, tell=told.append) is None
    return told


def names(db):
    return [row[0] for row in db.sql("SHOW DATASETS").fetchall()]


def refused(db, text, kind=QueryError):
    with pytest.raises(kind) as error:
        db.sql(text)
    return str(error.value).strip()


# What they do.


def test_datasets_come_and_go(db):
    assert tell(db, "CREATE DATASET lines FROM 'lines.txt'") == ["registered dataset lines: 2 records"]
    assert tell(db, "create or replace dataset lines from 'words.csv' with (text = 'words');") == [
        "registered dataset lines: 2 records"
    ]
    assert tell(db, "CREATE DATASET IF NOT EXISTS lines FROM 'nowhere'") == []
    assert tell(db, "CREATE DATASET asked AS SELECT 'x; y' AS text -- ;") == ["registered dataset asked: 1 records"]
    assert tell(db, "CREATE DATASET w FROM 'words.csv' WITH (TEXT := 'wor' || 'ds')") == [
        "registered dataset w: 2 records"
    ]
    assert db.sql("SHOW DATASETS").columns == ["dataset", "records", "source"]
    assert names(db) == ["asked", "lines", "w"]
    assert tell(db, "DROP DATASET lines; DROP DATASET IF EXISTS lines; drop dataset w") == [
        "removed dataset lines",
        "removed dataset w",
    ]
    assert refused(db, "DROP DATASET w", CatalogError) == "there is no dataset 'w'. There are: asked."


def test_hypotheses_come_and_go(db):
    assert tell(db, "CREATE HYPOTHESIS long AS length(token) > 6") == ["registered hypothesis long"]
    assert tell(db, "CREATE HYPOTHESIS IF NOT EXISTS long AS length(token) > 8") == []
    assert tell(db, "CREATE OR REPLACE HYPOTHESIS long AS token IN (';', 'it''s') -- ;") == [
        "registered hypothesis long"
    ]
    assert db.hypothesis("long").expression == "token IN (';', 'it''s')"
    assert tell(db, "CREATE HYPOTHESES FROM 'own.py'") == ["registered hypothesis is_x"]
    assert tell(db, "CREATE HYPOTHESIS x FROM 'own.py:is_x'") == ["registered hypothesis x"]
    assert [r[0] for r in db.sql("SHOW HYPOTHESES").fetchall()] == ["is_x", "long", "x"]
    assert db.sql("DESCRIBE HYPOTHESIS long").fetchall()[0][:3] == ("long", "boolean", "sql")
    assert db.sql("DESC HYPOTHESIS is_vowel").fetchall()[0][2] == "deepbase.hypotheses.characters:is_vowel"
    assert tell(db, "DROP HYPOTHESIS x") == ["removed hypothesis x"]


def test_models_come_and_go(db, model_file):
    source = f"{model_file}:net"
    assert tell(db, f"CREATE MODEL net FROM '{source}' WITH (epoch = 1 + 2, padding = 'right')") == [
        "registered model net: Net, 2 layers, 7 units"
    ]
    assert tell(db, f"CREATE MODEL IF NOT EXISTS net FROM '{source}'") == []
    assert db.sql("SELECT model, epoch FROM models").fetchall() == [("net", 3)]
    assert [r[0] for r in db.sql("DESCRIBE MODEL net").fetchall()] == ["embed", "mix"]
    assert db.sql("SHOW MODELS").columns[:2] == ["model", "architecture"]
    assert tell(db, "DROP MODEL net") == ["removed model net"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a-b.c", "a-b.c"),
        ("7b-x_1.5:2", "7b-x_1.5:2"),
        ("ünï", "ünï"),
        ("模型😀", "模型😀"),
        ('"q; x"', "q; x"),
        ('"MODEL"', "MODEL"),
        ("`back tick`", "back tick"),
        ("'as text'", "as text"),
        ("$$d$$", "d"),
        ("E'e\\x41'", "eA"),
        ("dataset", "dataset"),
    ],
)
def test_names_are_written_in_many_ways(db, written, name):
    assert tell(db, f"CREATE DATASET {written} FROM 'lines.txt'") == [f"registered dataset {name}: 2 records"]
    assert names(db) == [name]
    db.sql(f"DESCRIBE DATASET {written}" if "-" not in written else "SHOW DATASETS")
    assert tell(db, f"DROP DATASET IF EXISTS {written}") == [f"removed dataset {name}"]
    assert names(db) == []


def test_they_stand_among_statements_of_duckdb(db):
    text = """
        CREATE TABLE t AS SELECT 'one; two' AS text; -- CREATE DATASET no FROM 'x';
        /* ; */ CREATE DATASET d AS FROM t;
        SHOW DATASETS;
        INSERT INTO t VALUES ('three');
        SELECT count(*) FROM t
    """
    told = []
    found = [None if r is None else r.fetchall() for r in db.script(text, tell=told.append)]
    assert [f if f is None else f[0][:2] for f in found] == [None, None, ("d", 1), None, (2,)]
    assert told == ["registered dataset d: 1 records"]


# Mistakes.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "CREATE DATASET",
            f"CREATE DATASET expects the name of a dataset, and found the end. {SEE}\n"
            "LINE 1, COLUMN 14: CREATE DATASET\n"
            "                                ^",
        ),
        (
            "CREATE DATASET x FORM 'y'",
            f"CREATE DATASET expects FROM, and found 'FORM'. {SEE}\n"
            "LINE 1, COLUMN 18: CREATE DATASET x FORM 'y'\n"
            "                                    ^^^^",
        ),
        (
            "SELECT 1;\n\n-- c\n  CREATE DATASET x FROM y;\nSELECT 2",
            f"CREATE DATASET expects its source, such as 'path/to/it', and found 'y'. {SEE}\n"
            "LINE 4, COLUMN 25:   CREATE DATASET x FROM y;\n"
            "                                           ^",
        ),
        (
            "CREATE DATASET x\n\tFROM 'lines.txt' 'more'",
            f"CREATE DATASET expects the end of the statement, and found 'more'. {SEE}\n"
            "LINE 2, COLUMN 19: \tFROM 'lines.txt' 'more'\n"
            "                   \t                 ^^^^^^",
        ),
        (
            "CREATE DATASET x FROM 'words.csv' WITH (txet = 'words')",
            "unknown option 'txet'. Did you mean 'text'?\n"
            "LINE 1, COLUMN 41: CREATE DATASET x FROM 'words.csv' WITH (txet = 'words')\n"
            "                                                           ^^^^",
        ),
        (
            "CREATE DATASET x FROM 'words.csv' WITH text",
            "WITH expects its options in parentheses, and found 'text'. Write it as in WITH (option = value, ...)\n"
            "LINE 1, COLUMN 40: CREATE DATASET x FROM 'words.csv' WITH text\n"
            "                                                          ^^^^",
        ),
        (
            "CREATE HYPOTHESIS h AS",
            f"CREATE HYPOTHESIS expects an expression, and found the end. {SEE}\n"
            "LINE 1, COLUMN 22: CREATE HYPOTHESIS h AS\n"
            "                                        ^",
        ),
        (
            "DROP DATASET a, b",
            f"DROP DATASET expects the end of the statement, and found ','. {SEE}\n"
            "LINE 1, COLUMN 15: DROP DATASET a, b\n"
            "                                 ^",
        ),
    ],
)
def test_a_mistake_is_shown_in_its_line(db, text, message):
    assert refused(db, text) == message


def test_what_is_not_there_is_said(db):
    assert refused(db, "DROP MODEL m", CatalogError) == "there is no model 'm'. There are none yet."
    assert refused(db, "DESCRIBE DATASET d", CatalogError) == "there is no dataset 'd'. There are none yet."
    assert refused(db, "CREATE DATASET d AS SELECT nope", DatasetError).startswith(
        'the query cannot be read: Referenced column "nope" was not found'
    )


# The errors of DuckDB, in the lines of the user.

OURS = "SHOW DATASETS;"


def duckdbs(db, text):
    """What DuckDB shows of a text: the number of the line, the line, and what the caret points at."""
    shown = refused(db, text, duckdb.Error).partition("LINE ")[2]
    number, _, rest = shown.partition(": ")
    line, caret = rest.split("\n")[:2]
    return int(number), line, caret


@pytest.mark.parametrize("before", ["", OURS, "SELECT 1;", f"{OURS}SELECT ';';{OURS}"])
@pytest.mark.parametrize(
    ("lead", "line"),
    [
        ("", 1),
        ("\n\n", 3),
        ("-- a comment; here\n\n", 3),
        ("/* one; /* two */\n */ ", 2),
        ("\r\n-- x\r\n\t", 3),
        ("-- é 日本 😀\n", 2),
    ],
)
def test_errors_of_duckdb_keep_the_line_of_the_user(db, before, lead, line):
    number, shown, caret = duckdbs(db, f"{before}{lead}SELECT 1,\n  nope,\n  2; SELECT 3")
    assert (number, shown) == (line + 1, "  nope,")
    assert caret.rstrip("^") == " " * len(f"LINE {number}:   ")
    number, shown, _ = duckdbs(db, f"{before}{lead}SELECT 1,\n  x y z,\n  2")
    assert (number, shown) == (line + 1, "  x y z,")


@pytest.mark.parametrize(
    ("line", "width"),
    [
        ("SELECT nope", 7),
        ("SELECT '日本語', nope", 17),
        ("SELECT 'e\u0301\U0001f600', nope", 14),
        ("SELECT 'é',\u00a0nope", 12),
        (f"SELECT '{'a' * 90}', nope, '{'b' * 90}'", 101),
        (f"SELECT '{'日' * 90}', nope, '{'b' * 90}'", 191),
        ("SELECT '...', nope -- and so on...", 14),
    ],
)
def test_the_caret_stands_below_what_is_wrong(db, line, width):
    number, shown, caret = duckdbs(db, f"{OURS}\n\n{line}\n;")
    assert (number, shown) == (3, line)
    assert caret == " " * (len("LINE 3: ") + width) + "^^^^"


def test_tabs_stay_tabs_below(db):
    assert duckdbs(db, f"{OURS}\nSELECT\t1,\tnope") == (2, "SELECT\t1,\tnope", "              \t  \t^^^^")


def test_a_value_that_duckdb_refuses_is_shown_in_the_statement(db):
    text = "SELECT 1;\nCREATE DATASET x FROM 'lines.txt' WITH (\n  text = 'wor' || nope)"
    expected = """\
        Binder Error: Referenced column "nope" was not found because the FROM clause is missing

        LINE 3:   text = 'wor' || nope)
                                  ^^^^"""
    assert refused(db, text, duckdb.Error) == textwrap.dedent(expected)


def test_what_stood_before_a_mistake_is_done(db):
    told = []
    with pytest.raises(duckdb.Error, match="nope"):
        db.sql("CREATE DATASET a FROM 'lines.txt'; SELECT nope; CREATE DATASET b FROM 'lines.txt'", tell=told.append)
    assert told == ["registered dataset a: 2 records"]
    assert names(db) == ["a"]
