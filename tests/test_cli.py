"""The commands: what they print, for people and for programs, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import click
import duckdb
import pytest

import deepbase
from deepbase.cli import main

ODD = """SELECT 'a"b,c' AS "na""me", 'two
lines' AS l, '日本 – ü' AS u, NULL AS n, '' AS e, 1.5 AS d, 12345678901234567890123::HUGEINT AS h, true AS b,
[1, NULL] AS i, {'k': 'v'} AS s, MAP {'k': 1} AS m, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS t, DATE '2024-01-02' AS a,
INTERVAL '14 months 3 days 90 seconds' AS v, 'x"\\xFF'::BLOB AS o, 'nan'::DOUBLE AS x, '{"q": [1]}'::JSON AS j,
1 AS n"""


@pytest.fixture
def study(tmp_path, model_file, text_file):
    path = tmp_path / "deepbase.duckdb"
    with deepbase.connect(path) as db:
        db.register_model("net", f"{model_file}:net")
        db.register_dataset("lines", text_file)
        db.inspect("net", "lines", ["is_vowel", "token = '0'"], ["pearson", "cohens_d"])
    return path


# inspect


def test_inspect_prints_the_strongest_units_and_remarks_beside_them(cli, model_file, text_file):
    done = cli("inspect", f"{model_file}:net", text_file, "-H", "is_vowel", "-H", "token = '0'", "--top", 2)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["hypothesis", "measure", "layer", "unit", "unit_score", "symbols", "records"]
    assert len(lines) == 3
    assert abs(float(lines[1].split()[4])) >= abs(float(lines[2].split()[4]))
    remarks = done.stderr.splitlines()
    assert remarks[0] == "7 scores of 'token = '0'' are missing: hypothesis is constant"
    assert remarks[-2].startswith("run 1: 6 records, 89 symbols, ")
    assert remarks[-2].endswith("s; every record was read")
    assert remarks[-1] == "made the database deepbase.duckdb"


def test_inspect_gives_programs_all_scores(cli, study):
    arguments = ("inspect", "net", "lines", "-H", "is_vowel", "-H", "is_digit")
    rows = json.loads(cli(*arguments, "--format", "json").stdout)
    assert len(rows) == 2 * 7
    assert [r["hypothesis"] for r in rows] == ["is_vowel"] * 7 + ["is_digit"] * 7
    lines = list(csv.DictReader(io.StringIO(cli(*arguments, "--format", "csv").stdout)))
    assert [line["unit"] for line in lines] == [str(row["unit"]) for row in rows]
    assert len(json.loads(cli(*arguments, "--format", "json", "--top", 2).stdout)) == 4


def test_models_and_slices_are_shown_where_there_are_several(cli, study, model_file):
    cli("models", "add", "net-2", f"{model_file}:wide", "--tag", "epoch=2")
    arguments = ("inspect", "net*", "lines", "-H", "is_vowel", "--top", 2)
    lines = cli(*arguments).stdout.splitlines()
    shown = ["hypothesis", "measure", "model", "layer", "unit", "unit_score", "symbols", "records"]
    assert lines[0].split() == shown
    assert len(lines) == 3
    lines = cli(*arguments, "--group-by", "epoch").stdout.splitlines()
    assert lines[0].split() == ["slice", *shown]
    assert [line.split()[0] for line in lines[1:]] == ["2", "2", "NULL", "NULL"]
    rows = json.loads(cli(*arguments, "--group-by", "epoch", "--format", "json").stdout)
    assert [(r["slice"], r["model"]) for r in rows] == [("2", "net-2")] * 2 + [("NULL", "net")] * 2
    listed = list(csv.DictReader(io.StringIO(cli("runs", "--format", "csv").stdout)))
    assert [row["models"] for row in listed] == ["net", "net, net-2", "net, net-2", "net, net-2"]


def test_inspect_writes_a_file_and_keeps_nothing_where_it_is_told_so(cli, model_file, text_file, tmp_path):
    done = cli("inspect", f"{model_file}:net", text_file, "-H", "is_vowel", "--db", ":memory:", "--out", "s.parquet")
    assert done.exit_code == 0, done.stderr
    assert duckdb.execute(f"SELECT count(*) FROM '{tmp_path}/s.parquet'").fetchall() == [(7,)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.parquet"]


def test_options_reach_the_run(cli, study):
    done = cli("inspect", "net", "lines", "-H", "is_vowel", "-m", "mean_difference", "-m", "pearson", "--layers", "mi*",
               "--at", "word", "--behavior", "abs", "--where", "length(text) > 5", "--records", 3, "--seed", 7,
               "--batch-size", 2, "--window", "--exact", "--device", "cpu", "--memory", 0.5, "--checkpoint", 0,
               "--unit", 1, "--unit", 0, "--group-by", "dataset",
               "--group-by", "parameters", "--error", 0.05, "--confidence", 0.9,
                   "--seconds", 600, "--threshold", 0.5, "--top", 2, "--ties", 0.03, "--population")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    spec = json.loads(cli("runs", "show", 2, "--format", "json").stdout)[0]["spec"]
    spec.pop("fingerprints")
    assert spec == {
        "models": ["net"], "dataset": "lines", "hypotheses": ["is_vowel"], "measures": ["mean_difference", "pearson"],
        "layers": [], "units": {"net": {"mix": [[0, 2]]}}, "group_by": ["inputs.dataset", "models.parameters"],
        "at": "word", "behavior": "abs", "where": "length(text) > 5", "selection": "", "records": 3, "window": True,
        "seed": 7, "batch_size": 2, "device": "cpu", "memory": 0.5, "error": 0.05, "confidence": 0.9,
        "query": "", "seconds": 600.0, "exact": True, "thresholds": [-0.5, 0.5], "top": 2, "by": "strength",
        "within": ["hypothesis", "measure", "slice"], "ties": 0.03, "of": "unit_score", "population": True,
    }  # fmt: skip


def test_a_command_line_without_sense_is_exit_2(cli, study):
    for arguments, message in (
        (["inspect", "net", "lines"], "give a MODEL, a DATASET and at least one -H, or --resume RUN"),
        (["inspect", "--resume", "1", "-H", "x"], "a resumed run is what it was: leave --hypothesis out"),
        (["inspect", "--resume", "1", "net"], "a resumed run is what it was: leave MODEL out"),
        (["inspect", "net", "lines", "-H", "x", "--seed", "-1"], "Invalid value for '--seed'"),
        (["sql"], "give a QUERY, '-', or -f FILE"),
        (["sql", "SELECT 1", "-f", "x.sql"], "does not exist"),
        (["models", "add", "x", "y", "--tag", "epoch"], "Invalid value for --tag: 'epoch' is not KEY=VALUE"),
        (["models", "list", "--db", ""], "Invalid value for --db"),
        (["nonsense"], "No such command 'nonsense'"),
    ):
        done = cli(*arguments)
        assert (done.exit_code, done.stdout) == (2, ""), arguments
        assert message in done.stderr


# sql


def test_json_and_csv_parse_back(cli):
    row = json.loads(cli("sql", ODD, "--format", "json").stdout)[0]
    assert row == {
        'na"me': 'a"b,c', "l": "two\nlines", "u": "日本 – ü", "n": None, "e": "", "d": 1.5,
        "h": 12345678901234567890123, "b": True, "i": [1, None], "s": {"k": "v"}, "m": {"k": 1},
        "t": "2024-01-01 00:00:00+00:00", "a": "2024-01-02", "v": "1 year 2 months 3 days 00:01:30",
        "o": 'x"\\xFF', "x": None, "j": {"q": [1]}, "n_1": 1,
    }  # fmt: skip
    header, values = csv.reader(io.StringIO(cli("sql", ODD, "--format", "csv").stdout))
    assert header[:3] == ['na"me', "l", "u"]
    assert values == [
        'a"b,c', "two\nlines", "日本 – ü", "", "", "1.5", "12345678901234567890123", "true", "[1, null]", '{"k": "v"}',
        '{"k": 1}', "2024-01-01 00:00:00+00:00", "2024-01-02", "1 year 2 months 3 days 00:01:30", 'x"\\xFF', "nan",
        '{"q": [1]}', "1",
    ]  # fmt: skip


def test_csv_tells_null_from_the_empty_text(cli, tmp_path):
    (tmp_path / "out.csv").write_text(cli("sql", "SELECT NULL AS n, '' AS e, 'x' AS x", "--format", "csv").stdout)
    read = f"SELECT n, e FROM read_csv('{tmp_path}/out.csv', header = true, allow_quoted_nulls = false)"
    assert duckdb.execute(read).fetchall() == [(None, "")]


def test_tables_are_for_people(cli):
    printed = cli("sql", ODD).stdout
    assert "日本 – ü" in printed
    assert "2024-01-01 00:00:00+00:00" in cli("sql", "SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00' AS t").stdout
    assert cli("sql", "SELECT 0.5 AS a, 2.0 AS b, 1e9 AS c, '[b]x[/b]' AS d").stdout.split() == [
        "a", "b", "c", "d", "0.5", "2.0", "1e+09", "[b]x[/b]",
    ]  # fmt: skip
    assert cli("sql", "SELECT 1 AS a WHERE false").stdout.strip() == "a"
    assert cli("sql", "SELECT 1 AS a WHERE false", "--format", "json").stdout == "[]\n"


def test_a_table_is_cut_with_a_word_and_programs_get_all(cli):
    done = cli("sql", "FROM range(1005)")
    assert len(done.stdout.splitlines()) == 1001
    assert done.stderr.startswith("only the first 1000 rows are shown")
    assert len(cli("sql", "FROM range(25000)", "--format", "csv").stdout.splitlines()) == 25001


def test_sql_is_several_statements_from_anywhere(cli, write):
    script = "CREATE TABLE notes (n INTEGER);\nINSERT INTO notes VALUES (1), (2);\n-- both\nFROM notes;\nSELECT 3 AS x"
    for done in (
        cli("sql", script, "--format", "csv"),
        cli("sql", "-", "--format", "csv", input="FROM notes; SELECT 3 AS x"),
    ):
        assert (done.exit_code, done.stdout) == (0, "n\n1\n2\n\nx\n3\n")
    assert cli("sql", "-f", write("q.sql", "FROM notes")).stdout.split() == ["n", "1", "2"]
    for silent in (
        "CREATE TABLE t (a INTEGER)",
        "INSERT INTO t VALUES (1)",
        "DROP TABLE t",
        "SET threads = 1",
        "",
        ";",
    ):
        assert cli("sql", silent).stdout == ""
    assert cli("sql", "INSERT INTO notes VALUES (3) RETURNING n").stdout.split() == ["n", "3"]
    assert cli("sql", 'SELECT count(*) AS "Count" FROM notes').stdout.split() == ["Count", "3"]


def test_duckdb_says_where_an_error_is(cli):
    done = cli("sql", "SELECT 1;\n\nSELECT 2,\n  nope FROM models")
    assert done.exit_code == 1
    assert done.stderr.startswith('Error: Binder Error: Referenced column "nope" not found in FROM clause')
    assert "LINE 4:   nope FROM models\n          ^" in done.stderr
    far = "LINE 11: SELECT nope FROM models\n                ^"
    assert far in cli("sql", "\n" * 10 + "SELECT nope FROM models").stderr
    assert "LINE 1: SELEC 1\n        ^" in cli("sql", "SELEC 1").stderr
    late = cli(
        "sql", "SELECT CASE WHEN range > 30000 THEN error('too far') END AS x FROM range(40000)", "--format", "csv"
    )
    assert late.exit_code == 1
    assert late.stderr.strip().splitlines()[0].startswith("Error: Invalid Input Error: too far")


def test_hypotheses_are_functions_in_sql(cli, study, write):
    file = write("own.py", "def has_e(token: str) -> bool:\n    return 'e' in token\n")
    assert cli("hypotheses", "add", f"{file}:has_e").stderr == "registered hypothesis has_e\n"
    printed = cli("sql", "SELECT has_e('bed') AS a, is_vowel('b') AS b", "--format", "json").stdout
    assert json.loads(printed) == [{"a": True, "b": False}]


# The nouns


def test_lists_and_shows(cli, study):
    for noun, columns in (
        ("models", "model,architecture,parameters,context,padding,source"),
        ("datasets", "dataset,records,source"),
        ("hypotheses", "hypothesis,kind,description,source"),
        ("runs", "run,started,status,models,dataset,records_seen,symbols_seen,seconds,stopped_because"),
    ):
        assert cli(noun, "list", "--format", "csv").stdout.splitlines()[0] == columns
        assert cli(noun, "--format", "csv").stdout == cli(noun, "list", "--format", "csv").stdout
    assert re.search(r"net  Net, 527 parameters, \w{12}\n.*embed  4", cli("models", "show", "net").stdout)
    layers = json.loads(cli("models", "show", "net", "--format", "json").stdout)
    assert [(x["layer"], x["width"]) for x in layers] == [("embed", 4), ("mix", 3)]
    assert cli("datasets", "show", "lines").stderr.startswith("lines: 6 records from ")
    shown = cli("runs", "show", 1).stdout
    for fact in ("status", "spec.models", "versions.torch", "counts.records_cut"):
        assert re.search(rf"^{fact}  ", shown, re.MULTILINE)
    assert re.search(r"^started +\d{4}-\d\d-\d\d \d\d:", shown, re.MULTILINE)


def test_hypotheses_are_added_shown_and_removed(cli, write):
    file = write("own.py", '''
        import deepbase

        @deepbase.hypothesis
        def one(token: str) -> bool:
            """The first."""
            return True

        def two(token: str) -> bool:
            return True
    ''')  # fmt: skip
    assert cli("hypotheses", "add", file).stderr == "registered hypothesis one\nmade the database deepbase.duckdb\n"
    assert cli("hypotheses", "add", f"{file}:two", "--name", "zwei").stderr == "registered hypothesis zwei\n"
    assert cli("hypotheses", "add", "length(token) > 3", "--name", "long").stderr == "registered hypothesis long\n"
    assert cli("hypotheses", "add", "is_vowel").stderr == "is_vowel is known already, and needs no registering\n"
    rows = json.loads(cli("hypotheses", "--format", "json").stdout)
    assert [(r["hypothesis"], r["kind"], r["description"]) for r in rows] == [
        ("long", "boolean", "length(token) > 3"), ("one", "boolean", "The first."), ("zwei", "boolean", ""),
    ]  # fmt: skip
    assert json.loads(cli("hypotheses", "show", "zwei", "--format", "json").stdout)[0]["source"] == f"{file}:two"
    assert cli("hypotheses", "remove", "zwei").stderr == "removed hypothesis zwei\n"
    assert "is_capitalized" in cli("hypotheses", "library").stdout


def test_tags_are_shown_with_the_models(cli, model_file):
    tags = ["--tag", "epoch=3", "--tag", "rate=1e-4", "--tag", "note=a=b", "--tag", "code=007"]
    assert cli("models", "add", "net", f"{model_file}:net", *tags).exit_code == 0
    row = json.loads(cli("models", "--format", "json").stdout)[0]
    assert {k: row[k] for k in ("epoch", "rate", "note", "code")} == {
        "epoch": 3, "rate": 0.0001, "note": "a=b", "code": "007",
    }  # fmt: skip


def test_a_run_is_removed_with_its_scores(cli, study):
    assert cli("runs", "remove", 1).stderr == "removed run 1\n"
    assert cli("sql", "SELECT count(*) AS n FROM scores", "--format", "csv").stdout == "n\n0\n"


def test_reading_makes_no_file(cli, tmp_path):
    for arguments in (["models"], ["runs", "list"], ["hypotheses", "show", "is_vowel"]):
        done = cli(*arguments)
        assert done.exit_code == 0
        assert done.stderr.startswith("Note: there is no database deepbase.duckdb here yet\n")
    assert cli("models", "--db", "typo.duckdb").stderr.startswith("Error: there is no database ")
    assert cli("inspect", "nothing.py:net", "nothing.txt", "-H", "is_vowel").exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_database_and_asks_for_tracebacks(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPBASE_DB", str(tmp_path / "other.duckdb"))
    assert cli("hypotheses", "add", "length(token) > 3", "--name", "long").exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["other.duckdb"]
    monkeypatch.setenv("DEEPBASE_DEBUG", "1")
    with pytest.raises(deepbase.DeepBaseError, match="there is no model 'x'"):
        raise cli("models", "show", "x").exception


def test_a_noun_that_has_nothing_says_what_to_do(cli):
    for noun in ("models", "datasets", "runs"):
        assert re.search(rf"No {noun} yet: deepbase \w+ ", cli(noun).stderr)
    assert "deepbase hypotheses library" in cli("hypotheses").stderr


# Help


def _commands(command, path=()):
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(p, c, id=" ".join(p) or "main") for p, c in _commands(main)]
)
def test_help_is_complete(cli, path, command):
    done = cli(*path, "--help")
    assert done.exit_code == 0
    assert done.stdout == cli(*path, "-h").stdout
    assert "..." not in done.stdout.partition("\n")[2], "a sentence is cut"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith((".", "].")), parameter.help
    assert max(map(len, done.stdout.splitlines())) <= 100


# Processes


def test_a_pipe_that_closes_early_is_no_error(study):
    command = (
        f"{sys.executable} -c 'from deepbase.cli import main; main()' sql --db {study} 'FROM range(300000)' --format"
    )
    for form in ("csv", "json"):
        done = subprocess.run(["bash", "-c", f"{command} {form} | head -2"], check=True, capture_output=True, text=True)
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 2


def test_ctrl_c_ends_a_query(start, study):
    process = start("sql", "--db", study, "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 8")
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (1, "", "Error: interrupted\n")


def test_progress_is_for_terminals(cli, study):
    arguments = ("inspect", "--db", study, "net", "lines", "-H", "is_vowel", "--batch-size", "1", "--format", "csv")
    silent = cli(*arguments)
    assert silent.stderr == ""
    master, slave = pty.openpty()
    watched = subprocess.Popen(
        [sys.executable, "-c", "from deepbase.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm"}, text=True,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # the other side is closed
        pass
    os.close(master)
    assert watched.communicate(timeout=30)[0] == silent.stdout
    assert "inspecting" in shown.decode()
    assert "6/6 records" in shown.decode()
