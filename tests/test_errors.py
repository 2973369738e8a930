"""Bad input: one line that says what, where and what to do, exit 1, and a database that is as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from outside import contents

import deepbase
from deepbase.errors import CatalogError, DeepBaseError, HypothesisError, nearest

GOOD = "def good(token: str) -> bool:\n    return True\n"
FILES = {
    "empty.txt": "",
    "blank.txt": "\n\n",
    "utf16.txt": "text".encode("utf-16"),
    "nul.txt": b"a\0b\n",
    "columns.csv": "a,b\n1,2.5\n",
    "empty.csv": "text,label\n",
    "quote.csv": 'text,n\n"abc,1\n',
    "ragged.tsv": "text\tn\nabc\n",
    "cut.jsonl": '{"text": "a"}\n{"text": "b\n',
    "cut.json": '[{"text": "a"}, {"te',
    "list.jsonl": '{"text": "ab cd", "pos": ["A", "B"]}\n{"text": "ef gh", "pos": ["A", "B"]}\n'
    '{"text": "ij kl", "pos": ["A"]}\n',
    "cut.parquet": b"PAR1" + b"\0" * 50,
    "cut.conllu": "# text = a\n1\ta\ta\tDET\t_\n\n",
    "data.xyz": "x",
    "bad.py": "def (",
    "fails.py": "import deepbase\n\n1 / 0\n",
    "none.py": "x = 1\n",
    "twice.py": "from deepbase import hypothesis\n"
    "a = hypothesis(lambda token: True, name='same')\nb = hypothesis(lambda token: False, name='same')\n",
    "one.py": GOOD,
    "two.py": GOOD + "# another file\n",
    "h.py": """
def raises(token: str) -> bool:
    if token == "7":
        raise ValueError("no sevens, please")
    return True
def wrong_type(token: str) -> bool:
    return "yes"
def wrong_length(token: list[str]) -> list[bool]:
    return [True]
def no_list(token: list[str]) -> list[bool]:
    return True
def bare():
    return True
def text(token: str) -> str:
    return token
def unknown_column(tokne: str) -> bool:
    return True
""",
    "m.py": """
import torch, deepbase
from torch import nn
def characters(text):
    return [(ord(c) % 128, i, i + 1) for i, c in enumerate(text)]
def fails():
    raise RuntimeError("no weights today")
def number():
    return 3
def not_finite():
    module = nn.Sequential(nn.Embedding(128, 3), nn.Linear(3, 2))
    with torch.no_grad():
        module[1].weight[0, 0] = float("nan")
    return deepbase.Model(module, characters)
def no_tokenizer():
    return deepbase.Model(nn.Embedding(128, 3))
def other_net():
    return deepbase.Model(nn.Embedding(128, 3), characters)
def narrow():
    return deepbase.Model(nn.Embedding(40, 3), lambda text: [(ord(c) % 128, i, i + 1) for i, c in enumerate(text)])
""",
}

DATASETS = {
    "nothing.txt": "There is no file 'nothing.txt'",
    "nowhere/a.csv": "There is no directory 'nowhere' either",
    "empty.txt": "'empty.txt' is empty",
    "blank.txt": "'blank.txt' has no records",
    "utf16.txt": "'utf16.txt' is UTF-16, not UTF-8. Convert it",
    "nul.txt": "'nul.txt' has a NUL byte in line 1",
    "columns.csv": "'columns.csv' does not say which of its columns is the text: a (BIGINT), b (DOUBLE)",
    "empty.csv": "'empty.csv' has no records",
    "quote.csv": "'quote.csv' is malformed: line 2 has a quote that is not closed",
    "ragged.tsv": "'ragged.tsv' is malformed: line 2 has 1 columns, the header has 2",
    "cut.jsonl": "'cut.jsonl' cannot be read: Malformed JSON",
    "cut.json": "'cut.json' cannot be read: Malformed JSON",
    "list.jsonl": "'list.jsonl', record 2: column 'pos' has 1 values for 2 words",
    "cut.parquet": "'cut.parquet' cannot be read",
    "cut.conllu": "'cut.conllu', sentence at line 1: the line of 'a' has 5 columns, not ten",
    "data.xyz": "'data.xyz' is of no kind that can be read",
    ".": "'.' is a directory",
    "SELECT 1 AS n": "the query does not say which of its columns is the text: n (INTEGER)",
    "SELECT 'a' AS text WHERE false": "the query has no records",
    "SELECT FROM": "the query cannot be read: ",
}

HYPOTHESES = {
    "h.py:raises": "hypothesis 'raises' raised ValueError: no sevens, please at record 2 (token='7'). "
    "It is defined at ",
    "h.py:wrong_type": "hypothesis 'wrong_type' returned 'yes' (str), expected True, False or None at record ",
    "h.py:wrong_length": "hypothesis 'wrong_length' returned 1 values for ",
    "h.py:no_list": "hypothesis 'no_list' returned True (bool) instead of a list at record ",
    "h.py:bare": "hypothesis 'bare' has no parameters",
    "h.py:text": "hypothesis 'text' returns text but does not say which values it may return",
    "h.py:unknown_column": "tokne",
    "h.py:missing": "'h.py' defines no function 'missing'. There are: raises, wrong_type",
    "nothing.py": "there is no file 'nothing.py'",
    "bad.py": "'bad.py', line 1 fails: SyntaxError",
    "fails.py": "'fails.py', line 3 fails: ZeroDivisionError: division by zero",
    "none.py": "'none.py' defines no hypothesis",
    "twice.py": "'twice.py' defines two hypotheses 'same'",
    "is_vowl": "unknown hypothesis 'is_vowl'. Did you mean 'is_vowel'",
    "mood=happy": "column 'mood' never has the value 'happy'. Did you mean 'unhappy'?",
    "moo=sad": "unknown hypothesis 'moo=sad'. Did you mean 'mood=sad'",
    "length(wrod) > 3": "cannot understand the hypothesis 'length(wrod) > 3': Binder Error: Referenced column \"wrod\"",
    "upper(token)": "hypothesis 'upper(token)' gives VARCHAR, which is neither boolean nor a number",
    "token = 'a": 'cannot understand the hypothesis "token = \'a"',
}

MODELS = {
    ".net": "there is no model '.net': There is no directory '.net'. Did you mean 'net'?",
    "nothing.py:net": "There is no file 'nothing.py'",
    "./nowhere": "There is no directory './nowhere'",
    "m.py": "m.py is a file, not a model directory. Write m.py:name",
    "m.py:fails": "m.py:fails failed: RuntimeError: no weights today",
    "m.py:number": "m.py:number gives no model: number returned a int",
    "m.py:other": "m.py:other gives no model: other is not a function in it",
    "m.py:not_finite": "The weights '1.weight' of Sequential hold 1 NaN or infinite value out of 6",
    "m.py:no_tokenizer": "has no tokenizer",
    "m.py:narrow": "index out of range",
    "pickle": "The weights of pickle are a pickle, which can execute code when it is read",
}

REQUESTS = {
    ("-m", "pearsn"): "unknown measure 'pearsn'. Did you mean 'pearson' or 'spearman'?",
    ("--layers", "mx*"): "no layer of model 'net' matches 'mx*'. ",
    ("--layers", "mixx"): "no layer of model 'net' matches 'mixx'. Did you mean 'mix'?",
    ("--unit", "99"): "layer 'embed' of model 'net' has no unit 99. Its units are 0 to ",
    ("--group-by", "moot"): "cannot group by 'moot': there is no such column. Did you mean 'mood'",
    ("--group-by", "inputs.moods"): "cannot group by 'inputs.moods': there is no such column. Did you mean 'mood'",
    ("-m", "cohens_d(unbiased := 1)"): "option 'unbiased' of measure 'cohens_d' cannot be 1. Give true or false.",
    ("--where", "lenght(text) > 3"): "cannot filter records by 'lenght(text) > 3'",
    ("--where", "nope = 3"): "The columns are: record, text, mood.",
    ("--where", "false"): "no record passes the filter 'false'",
    ("--device", "gpu"): "cannot be moved to the device 'gpu'",
    ("--device", "cuda:99"): "cannot be moved to the device 'cuda:99'",
    ("--behavior", "derivative", "--at", "record"): "a record has no derivative",
    ("--out", "scores.xlsx"): "cannot write 'scores.xlsx'. End its name with one of: .parquet, .csv, .json, .jsonl.",
    ("--out", "nowhere/s.csv"): "cannot write 'nowhere/s.csv': there is no folder 'nowhere'. Make it first.",
    ("--out", "/proc/scores.csv"): "cannot write '/proc/scores.csv': ",
    ("--padding", "left"): "model 'net' is registered, so that it has its padding already",
    ("--text", "mood"): "dataset 'lines' is registered, so that it has its column of texts already",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, model_file):
    """A folder with all the bad files, and a database that none of them may change."""
    folder = tmp_path_factory.mktemp("errors")
    for name, content in FILES.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    _pickle(folder / "pickle")
    with deepbase.connect(folder / "deepbase.duckdb") as db:
        db.register_model("net", f"{model_file}:net", tags={"epoch": 1})
        texts = ["the cat", "a dog", "Is it 7 or 8?", "one two"]
        moods = ["sad", "unhappy", "sad", "unhappy"]
        db.register_dataset("lines", [{"text": t, "mood": m} for t, m in zip(texts, moods, strict=True)])
        db.register_hypotheses("token = 'a'", name="is_a")
    return folder


@pytest.fixture
def study(place, tmp_path):
    """A copy of the database."""
    return Path(shutil.copy(place / "deepbase.duckdb", tmp_path))


def _pickle(folder):
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 4, "num_attention_heads": 1}')
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02.")


@pytest.fixture(scope="module")
def before(place):
    return contents(place / "deepbase.duckdb")


@pytest.fixture
def fails(cli, place, before, monkeypatch):
    """`fails(message, *arguments)`: the command ends in one line with this message, and leaves the database alone."""
    monkeypatch.chdir(place)

    def check(message, *arguments):
        done = cli(*arguments)
        lines = done.stderr.splitlines()
        assert done.exit_code == 1, (done.exit_code, done.stdout, done.stderr)
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("Error: ")
        assert message in lines[0]
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        assert contents(place / "deepbase.duckdb") == before

    return check


@pytest.mark.parametrize("source", DATASETS)
def test_bad_datasets(fails, source):
    fails(DATASETS[source], "datasets", "add", "new", source)


@pytest.mark.parametrize("source", ["empty.txt", "cut.jsonl", "list.jsonl", "SELECT FROM", "nothing.txt"])
def test_bad_datasets_of_an_inspection(fails, source):
    fails(DATASETS[source], "inspect", "net", source, "-H", "is_vowel")


@pytest.mark.parametrize("source", HYPOTHESES)
def test_bad_hypotheses(fails, source):
    fails(HYPOTHESES[source], "inspect", "net", "lines", "-H", "one.py:good", "-H", source)


@pytest.mark.parametrize("source", MODELS)
def test_bad_models(fails, source):
    fails(MODELS[source], "inspect", source, "lines", "-H", "one.py:good")
    if source != ".net":
        fails(MODELS[source], "models", "add", "new", source)


@pytest.mark.parametrize("options", REQUESTS, ids=" ".join)
def test_bad_requests(fails, options):
    fails(REQUESTS[options], "inspect", "net", "lines", "-H", "one.py:good", *options)


def test_names_that_are_unknown_or_taken(fails):
    fails("there is neither a dataset nor a file 'line'. Did you mean 'lines'?", "inspect", "net", "line", "-H", "is_a")
    fails(
        "two hypotheses are called 'good': one from ",
        "inspect",
        "net",
        "lines",
        "-H",
        "one.py:good",
        "-H",
        "two.py:good",
    )
    for noun, name, near in (("model", "nett", "net"), ("dataset", "liens", "lines"), ("hypothesis", "is_b", "is_a")):
        group = "hypotheses" if noun == "hypothesis" else f"{noun}s"
        fails(f"there is no {noun} '{name}'. Did you mean '{near}'", group, "show", name)
        fails(f"there is no {noun} '{name}'. Did you mean '{near}'?", group, "remove", name)
    fails("there is no run 3. There are none yet.", "runs", "show", 3)
    fails("there is no run 3. There are none yet.", "inspect", "--resume", 3)
    fails("there is already a hypothesis 'is_a'", "hypotheses", "add", "token = 'b'", "--name", "is_a")
    fails("there is already a dataset 'lines', with other records", "datasets", "add", "lines", "SELECT 'x' AS text")
    fails("there is already a model 'net'", "models", "add", "net", "m.py:other_net")


def test_names_that_cannot_be(fails):
    fails("\"token = 'b'\" cannot be the name of a hypothesis", "hypotheses", "add", "token = 'b'")
    fails("unknown hypothesis 'foo'", "hypotheses", "add", "foo")
    fails("'h.py' defines no hypothesis. Decorate its functions with", "hypotheses", "add", "h.py")
    fails("'two words*' cannot be the name of a dataset", "datasets", "add", "two words*", "SELECT 'x' AS text")
    fails(
        "'source' cannot be a tag", "models", "add", "new", "m.py:narrow" if False else "net", "--tag", "source=1"
    ) if False else None


def test_several_hypotheses_are_registered_together_or_not_at_all(study):
    before = contents(study)
    with deepbase.connect(study) as db, pytest.raises(HypothesisError, match="neither boolean nor a number"):
        db.register_hypotheses(["position > 1 AND true", "upper(token)"], name=None)
    assert contents(study) == before


def test_a_hypothesis_that_fails_gives_its_name_back_to_the_one_before(study, tmp_path):
    def good(token: str) -> bool:
        return True

    def failing(token: str) -> bool:
        raise ValueError("no")

    failing.__name__ = "good"
    with deepbase.connect(study) as db:
        db.register_hypotheses(good)
        known = db.hypothesis("good")
        with pytest.raises(HypothesisError, match="'good' raised ValueError: no"):
            db.inspect("net", "lines", failing)
        assert db.hypothesis("good") == known
        assert db.sql("SELECT count(*) FROM runs").fetchall() == [(0,)]


# Files that are no database of DeepBase


def _sqlite(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE scores (a)")
    other.close()


def _foreign(path):
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE runs (a INTEGER)")


def _damaged(path):
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE a AS SELECT range AS n FROM range(100000)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 20_000)


STRANGERS = {
    "a SQLite file": (_sqlite, "is not a DuckDB database. Name another file, or a new one."),
    "a text file": (lambda p: p.write_text("hello, this is a text"), "is not a DuckDB database"),
    "an empty file": (lambda p: p.touch(), "is an empty file, not a database. Delete it, or name another file."),
    "another's tables": (_foreign, "was not made by DeepBase and has a table 'runs' of its own. Open another file."),
    "a damaged file": (_damaged, "is damaged: "),
    "a folder": (lambda p: p.mkdir(), "is a folder, not a database file. Name a file in it."),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_files_that_are_no_database(cli, tmp_path, kind):
    make, message = STRANGERS[kind]
    path = tmp_path / "strange.duckdb"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for arguments in (["models", "list"], ["datasets", "add", "new", "SELECT 'x' AS text"]):
        done = cli(*arguments, "--db", path)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: ")
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr
    assert before is None or path.read_bytes() == before


def test_a_folder_that_is_missing(cli, tmp_path):
    done = cli("datasets", "add", "new", "SELECT 'x' AS text", "--db", tmp_path / "nowhere" / "x.duckdb")
    assert done.exit_code == 1
    assert done.stderr == f"Error: folder '{tmp_path}/nowhere' does not exist. Make it, or choose another file.\n"


def test_a_locked_database_names_who_holds_it(cli, study):
    code = f"import duckdb; c = duckdb.connect({str(study)!r}); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        done = cli("datasets", "list")
        assert done.exit_code == 1
        assert done.stderr == (
            f"Error: database '{study}' is in use by process {holder.pid}. Close it there, or wait until it is done.\n"
        )
    finally:
        holder.communicate()


def test_a_connection_of_the_users_own_in_this_process_holds_the_file(study):
    with duckdb.connect(str(study)), pytest.raises(CatalogError, match=r"is in use by .* a connection of its own"):
        deepbase.connect(study)


def test_a_file_that_may_not_be_written_is_read(cli, study, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may do anything
    assert "net" in cli("models").stdout
    for arguments in (["models", "remove", "net"], ["inspect", "net", "lines", "-H", "is_vowel"]):
        done = cli(*arguments)
        assert done.exit_code == 1
        assert done.stderr == (
            f"Error: database '{study}' is open for reading only. It may not be written: change that, or copy it.\n"
        )


# The words


def test_messages_are_one_line_and_end_once():
    assert str(DeepBaseError("a\n  b.", "do\nthis.")) == "a b. do this."
    assert str(DeepBaseError("DuckDB shouts!", "Look.")) == "DuckDB shouts! Look."
    assert str(DeepBaseError("nothing to add")) == "nothing to add"


def test_hints_name_what_is_near():
    assert nearest("uops", ["upos", "xpos"]) == "Did you mean 'upos' or 'xpos'?"
    assert nearest("q", [f"n{i}" for i in range(10)]) == "There are: n0, n1, n2, n3, n4, n5, n6, n7 and 2 more."
    assert nearest("q", []) == "There are none yet."


def test_every_error_of_ours_is_a_deepbase_error():
    from deepbase import errors

    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    assert all(issubclass(k, DeepBaseError) for k in kinds if not issubclass(k, Warning))
