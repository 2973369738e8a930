"""What has no INSPECT in it is DuckDB's: the same bytes go in, and the same rows and errors come out."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

import deepbase
from deepbase.query.lexer import statements, tokens
from deepbase.script import _mentions_ours
from deepbase.store import FORMAT, SCRIPTS

CLAUSE = "INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S FROM models M, units U"
INSPECTIONS = [
    f"SELECT S.unit {CLAUSE}",
    f"select s.unit\n{CLAUSE.lower()}",
    f"SELECT S.unit -- no\n/* ; */ {CLAUSE}",
    f"SELECT 1; SELECT count(*), max(S.unit) AS m {CLAUSE}",
    f"EXPLAIN ANALYZE SELECT S.unit {CLAUSE}",
    f"WITH a AS (SELECT S.unit {CLAUSE}) FROM a",
    f"SELECT (SELECT max(S.unit) {CLAUSE})",
    f"CREATE TABLE t AS SELECT S.unit {CLAUSE}",
    f"INSERT INTO inspect SELECT inspect {CLAUSE}",
    f"COPY (SELECT S.unit {CLAUSE}) TO 'x.csv'",
    f"SELECT 1 UNION ALL SELECT S.unit {CLAUSE}",
    f'SELECT "END", x ISNULL {CLAUSE}',
    "SELECT S.unit INSPECT units AND hypotheses",
    "FROM inspect(model := 'm')",
    "FROM a, inspect(model := 'm') S",
    "FROM a JOIN b ON a.x = b.x, inspect(model := 'm')",
    "SELECT 1, 2 FROM a JOIN inspect(model := 'm') USING (unit)",
    "SELECT x, y FROM a, LATERAL inspect(model := 'm')",
    "INSERT INTO t (a, b) FROM inspect(model := 'm')",
]
ODD = [
    "SELECT 1\r\nAS a,\r\n'b\r\nc'\r\n",
    "SELECT 1 -- ends with the line\r+ 1",
    "SELECT 1 -- '\r\n, 2 -- \"\r\n",
    "SELECT 'a'\r\n'b', 'a'\r'b'",
    "\tSELECT\t1\x0b,\x0c2\n\n",
    "\ufeffSELECT 1",
    "SELECT\u00a01\u00a0AS\u00a0a, '\u00a0;' AS b",
    "\u00a0\u3000SELECT\u20031\u200b;\u202f\u205f\u2060",
    "SELECT 1 AS a\u00a0; ",
    "SELECT 1 AS a\x85b, 2 AS \u2028c, 3 AS d\u1680e",
    'SELECT 1 AS e\u0301, \'e\u0301;\' AS \u0301x, "e\u0301" FROM (SELECT 5 AS "e\u0301")',
    "SELECT '\u200d;', 1 AS \U0001f469\u200d\U0001f469, 2 AS \U0001f600e",
    "SELECT\u30001\u3000AS\u3000wide, '\u2009' AS thin",
    "SELECT $\u00e9t\U0001f600$;$\u00e9$;$\u00e9t\U0001f600$",
    "SELECT '\x01;', 1 AS \"\x02\"",
    f"SELECT '{'x;' * 5000}' AS long -- {'y;' * 5000}",
    f"SELECT {'[' * 60}1{']' * 60}",
    f"SELECT 1 {'/*;' * 300} ' {'*/' * 300}, 2",
]
"""What would not survive in the file: ends of lines, blanks and marks of other alphabets, lengths."""
WRONG = [
    "SELEC 1",
    "SELECT 1 FORM t x",
    "SELECT\n  nope,\n  2",
    "SELECT * FROM nope",
    "SELECT nope(1)",
    "SELECT inspect FROM nope",
    "SELECT 1 INSPECT, U.unit FROM nope U",
    "INSERT INTO nope VALUES (1)",
    "SELECT 'x'::INTEGER",
    "SELECT error('; no')",
    "SELECT x -> x + 1",
    "SELECT list_transform([1], x -> x + 1)",
    "CREATE TABLE models (x INTEGER)",
    "CREATE TABLE twice (x INTEGER, x INTEGER)",
    "DROP TABLE nope",
    "ROLLBACK",
    "SELECT 'open",
    'SELECT "open',
    "SELECT `open",
    "SELECT $a$ open $b$",
    "SELECT 1 /* open /* */",
    "SELECT (1;2)",
    "SELECT 1); SELECT (2",
    "SELECT 1; SELECT FROM",
    "EXECUTE nope",
    "SELECT ?",
    "SELECT $a, ?",
    "USE nope",
    "SELECT 1 # 2 x y",
    "SELECT 99999999999::INTEGER",
    "PRAGMA nope",
    "COPY nope TO 'x.csv'",
    "ATTACH '/nope/nope.duckdb'",
    "SELECT 1 UNION SELECT 1, 2",
    "SELECT sum(1) WHERE sum(1) > 1",
]
MADE_INTO_OTHERS = ("PIVOT", "IMPORT", "PRAGMA", "COPY FROM DATABASE", "EXPORT", "BEGIN;")
"""What DuckDB logs is not what it was given, but what it makes of it."""


def sessions():
    """The statements of the corpus, by session: each session is run in order on a connection of its own."""
    text = (Path(__file__).parent / "corpus.sql").read_bytes().decode()
    for session in text.split("-- %%%% ")[1:]:
        name, _, body = session.partition("\n")
        yield name, body.removesuffix("\n").split("\n-- %%\n")


SESSIONS = dict(sessions())
ALL = [s for session in SESSIONS.values() for s in session] + ODD


class Bare:
    """A connection of DuckDB alone, to a database with the same name and tables."""

    def __init__(self, name):
        self.connection = duckdb.connect()
        if name != "memory":
            self.connection.execute(f'ATTACH \':memory:\' AS "{name}"; USE "{name}"')
        for script in SCRIPTS:
            self.connection.execute((files("deepbase.sql") / script).read_text("utf-8"))
        self.connection.execute(f"INSERT INTO deepbase_format VALUES ({FORMAT})")

    def sql(self, text, parameters=None):
        return self.connection.sql(text, params=parameters)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`folder(name)`: work in a folder of this name, which is empty."""

    def change(name):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)

    return change


@pytest.fixture
def db():
    with deepbase.connect() as database:
        yield database


@pytest.fixture
def bare(db):
    found = Bare(db.store.name)
    yield found
    found.connection.close()


def answer(database, text, *, rows=True):
    """Columns, types and rows, or the error; nothing for a statement that only says that it went well."""
    try:
        relation = database.sql(text)
        if relation is None or (relation.columns in (["Count"], ["Success"]) and "RETURNING" not in text):
            return None
        # What stands behind the virtual tables is registered on the connection, where catalog functions see it.
        found = [row for row in relation.fetchall() if "deepbase_" not in repr(row)]
    except duckdb.Error as error:
        return type(error), str(error).split("\nLINE ")[0].strip()
    shape = relation.columns, [str(t) for t in relation.types]
    if "EXPLAIN ANALYZE" in text or "SHOW ALL" in text:
        return shape
    ordered = "ORDER BY" in text
    return *shape, found if ordered else sorted(map(repr, found))


def words(text):
    """The tokens of a text, without the semicolons around it."""
    return [(t.kind, t.text) for t in tokens(text) if t.text != ";" or t.depth]


def log(database):
    query = "SELECT message FROM duckdb_logs() WHERE type = 'QueryLog'"
    return [row[0] for row in database.sql(query).fetchall()]


def test_the_corpus_is_large_and_runs():
    assert len(ALL) > 580
    assert len(set(ALL)) > 560


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_gives_what_a_bare_connection_gives(name, db, bare, folder):
    for statement in SESSIONS[name]:
        folder("bare")
        expected = answer(bare, statement)
        assert expected is None or isinstance(expected[0], list), f"{statement} fails: {expected}"
        folder("ours")
        assert answer(db, statement) == expected, statement


@pytest.mark.parametrize("statement", ODD)
def test_odd_texts_give_what_a_bare_connection_gives(statement, db, bare):
    expected = answer(bare, statement)
    assert isinstance(expected[0], list), expected
    assert answer(db, statement) == expected


@pytest.mark.parametrize("statement", WRONG)
def test_mistakes_are_told_in_the_words_of_duckdb(statement, db, bare):
    expected = answer(bare, statement)
    assert isinstance(expected[0], type), f"{statement} runs"
    assert answer(db, statement) == expected
    assert not _mentions_ours(statement)


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_in_one_text_gives_what_a_bare_connection_gives(name, db, bare, folder):
    texts = [s.rstrip("; \n") if "--" not in s else s + "\n" for s in SESSIONS[name]]
    text = ";\n".join([*texts, "SELECT 'done'"])
    folder("bare")
    expected = answer(bare, text)
    folder("ours")
    assert answer(db, text) == expected
    assert expected[:2] == (["'done'"], ["VARCHAR"])
    tables = "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() ORDER BY ALL"
    assert answer(db, tables) == answer(bare, tables)


@pytest.mark.parametrize("name", SESSIONS)
def test_duckdb_is_given_the_bytes_of_the_user(name, db, folder):
    """DuckDB's own log says so; it leaves out the blanks and comments in front, and semicolons at the end."""
    folder("ours")
    db.sql("CALL enable_logging('QueryLog')")
    for statement in SESSIONS[name]:
        before = len(log(db))
        answer(db, statement)
        if not any(word in statement for word in MADE_INTO_OTHERS):
            given = statement[tokens(statement)[0].start :]
            assert given.rstrip("; \n") in [q.rstrip("; \n") for q in log(db)[before:]], statement


def test_a_script_is_given_to_duckdb_statement_by_statement(db):
    db.sql("CALL enable_logging('QueryLog')")
    text = "-- first;\nSELECT 'a;' /* ; */; -- second\n\n  SELECT\t2 ;;\n/* third */ SELECT 3 -- end;"
    assert db.sql(text).fetchall() == [(3,)]
    found = [q for q in log(db) if q[:8] in ("SELECT '", "SELECT\t2", "SELECT 3")]
    assert found == [
        "SELECT 'a;' /* ; */; -- second",
        "SELECT\t2 ;;\n/* third */",
        "SELECT 3 -- end",
    ]


@pytest.mark.parametrize("name", [*SESSIONS, "odd"])
def test_nothing_is_taken_for_ours(name):
    for statement in SESSIONS.get(name, ODD):
        assert not _mentions_ours(statement), statement


@pytest.mark.parametrize("text", INSPECTIONS)
def test_what_inspects_is_ours(text):
    assert _mentions_ours(text)


def test_what_lies_between_tokens_is_blank_or_a_comment():
    blank = " \t\n\v\f\r\u00a0\u3000\ufeff\u2003\u200b\u202f\u205f\u2060"
    for text in [*ALL, *WRONG]:
        at = 0
        for token in [*tokens(text), None]:
            start = len(text) if token is None else token.start
            between = text[at:start]
            assert between.strip(blank) == "" or between.lstrip(blank).startswith(("--", "/*")), text
            assert "".join(tokens(between)) == ""
            if token is not None:
                assert token.text == text[token.start : token.end]
                at = token.end


def test_statements_end_where_duckdb_ends_them():
    with duckdb.connect() as connection:
        for text in [*ALL, *(";".join(f"{s}\n" for s in session) for session in SESSIONS.values())]:
            expected = [words(s.query) for s in connection.extract_statements(text)]
            assert [words(text[a:b]) for a, b in statements(text)] == expected, text


def test_every_statement_of_a_script_runs_though_only_the_last_is_read(db):
    db.sql("CREATE SEQUENCE s")
    assert db.sql("SELECT nextval('s'); SELECT nextval('s'); SELECT nextval('s')").fetchall() == [(3,)]
    with pytest.raises(duckdb.InvalidInputException, match="first"):
        db.sql("SELECT error('first'); SELECT 1")
    assert db.sql("SHOW DATASETS; SELECT nextval('s'); SELECT nextval('s')").fetchall() == [(5,)]
    found = db.script("SELECT nextval('s'); CREATE TABLE t (x INTEGER); SELECT currval('s')")
    assert [None if r is None else r.fetchall() for r in found] == [[(6,)], None, [(6,)]]


def test_what_a_statement_returns_is_an_answer_whatever_its_name(db):
    db.sql("CREATE TABLE t (x INTEGER)")
    assert db.sql("INSERT INTO t VALUES (5)") is None
    assert db.sql('INSERT INTO t VALUES (6) RETURNING x AS "Count"').fetchall() == [(6,)]
    assert db.sql('SELECT true AS "Success"').fetchall() == [(True,)]


def test_a_text_with_nothing_in_it_does_nothing(db):
    for text in ("", " ", ";", " ; ;; ", "-- only a comment", "/* a /* b */ */ ;", "\ufeff"):
        assert db.sql(text) is None
        assert list(db.script(text)) == []
