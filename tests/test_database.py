"""The database as Python users hold it, and its file as everybody else sees it."""

from __future__ import annotations

import importlib.util
import threading

import duckdb
import pyarrow as pa
import pytest
from outside import contents, look

import deepbase
from deepbase.errors import CatalogError, HypothesisError, ModelError, QueryError

SENTENCES = [
    {"text": "The cat sat", "words": ["The", "cat", "sat"], "upos": ["DET", "NOUN", "VERB"], "good": True},
    {"text": "A dog ran off", "words": ["A", "dog", "ran", "off"], "upos": ["DET", "NOUN", "VERB", "X"], "good": False},
    {"text": "Cats sleep", "words": ["Cats", "sleep"], "upos": ["NOUN", "VERB"], "good": True},
]  # fmt: skip


def characters(text):
    return [(ord(c), i, i + 1) for i, c in enumerate(text)]


def has_a(token: str) -> bool:
    """The token is an a."""
    return token == "a"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.duckdb"


@pytest.fixture
def db(path, model_file, text_file):
    """A database with a model and two datasets."""
    with deepbase.connect(path) as database:
        database.register_model("net", f"{model_file}:net")
        database.register_dataset("lines", text_file)
        database.register_dataset("sentences", SENTENCES)
        yield database


# The examples of the design.


def test_register_inspect_and_take_the_scores_along(db, write):
    file = write(
        "my_hypotheses.py",
        """
        import deepbase

        @deepbase.hypothesis
        def is_capitalized(word: str) -> bool:
            return word[:1].isupper()
        """,
    )
    assert db.register_hypotheses(str(file)) == ["is_capitalized"]
    assert db.register_hypotheses("upos") == []
    found = db.inspect(
        model="net", dataset="sentences", hypotheses=["upos=NOUN", "is_capitalized"], measures=["pearson"], layers="em*"
    )
    assert found.run["status"] == "done"
    assert found.run["spec"]["layers"] == ["em*"]
    rows = found.scores.fetchall()
    assert len(rows) == 4 * 2
    assert len(found.scores.df()) == found.scores.to_arrow_table().num_rows == 8
    if importlib.util.find_spec("polars"):
        assert len(found.scores.pl()) == 8
    assert found.scores.filter("unit_score > 2").fetchall() == []
    best = db.sql("SELECT S.unit, M.architecture FROM scores S JOIN models M USING (model) ORDER BY unit_score LIMIT 1")
    assert best.columns == ["unit", "architecture"]
    assert repr(found) == f"<Inspection: run 1 of <Database {str(db.store.path)!r}>>"


def test_one_call_with_nothing_registered(model_file):
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(128, 5), nn.Linear(5, 2))
    found = deepbase.inspect(
        module,
        ["a cat", "banana", "a hat and a bat"],
        hypotheses=[has_a],
        measures=["pearson"],
        tokenize=characters,
    )
    assert [f[0] for f in found.scores.project("layer").distinct().order("layer").fetchall()] == ["0", "1"]
    assert found.run["records_seen"] == 3
    assert found.run["symbols_seen"] == len("a catbananaa hat and a bat")


def test_datasets_come_from_anywhere(db, tmp_path):
    table = pa.table({"text": ["one", "two"], "label": [1, 2]})
    db.sql("CREATE TABLE mine AS SELECT 'three' AS text")
    (tmp_path / "file.txt").write_text("from a file\n")
    for name, source in (
        ("arrow", table),
        ("frame", table.to_pandas()),
        ("list", ["one", "two"]),
        ("query", "SELECT text FROM mine"),
        ("path", tmp_path / "file.txt"),
    ):
        assert db.register_dataset(name, source).records in (1, 2)
    assert db.sql("SELECT dataset, text FROM inputs WHERE dataset = 'query'").fetchall() == [("query", "three")]


# Opening again.


def test_what_was_registered_is_there_when_the_file_is_opened_again(path, model_file, text_file, write):
    file = write("own.py", "def has_e(token: str) -> bool:\n    return token == 'e'\n")
    with deepbase.connect(path) as db:
        db.register_model("net", f"{model_file}:net", tags={"epoch": 3})
        db.register_dataset("lines", text_file)
        db.register_hypotheses(f"{file}:has_e")
        db.register_hypotheses("token = 't'", name="is_t")
        first = db.inspect("net", "lines", ["has_e", "is_t", "is_vowel"]).scores.project("* EXCLUDE run").fetchall()
    with deepbase.connect(path) as db:
        again = db.inspect("net", "lines", ["has_e", "is_t", "is_vowel"]).scores.project("* EXCLUDE run").fetchall()
        assert again == first
        assert db.sql("SELECT has_e('e'), is_vowel('b')").fetchall() == [(True, False)]
        assert db.model("net").layers[0].layer == "embed"
        assert db.dataset("lines").records == 6
        assert db.hypothesis("is_t").expression == "token = 't'"
        assert db.hypothesis("is_vowel").source.startswith("deepbase.hypotheses.")


def test_opening_a_file_and_reading_scores_runs_nobodys_code(path, model_file, text_file, write, tmp_path):
    trace = tmp_path / "trace"
    touch = f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
    code = f"{touch}def mine(token: str) -> bool:\n    return token == 'e'\n"
    file = write("own.py", code)
    with deepbase.connect(path) as db:
        db.inspect(f"{model_file}:net", text_file, f"{file}:mine")
    file.write_text(code.replace("'e'", "'f'"))  # that it has changed bothers nobody who only asks for scores
    trace.unlink()
    with deepbase.connect(path) as db:
        rows = db.sql("SELECT * FROM scores WHERE hypothesis = 'mine'").fetchall()
        assert len(rows) == 7
        assert db.hypothesis("mine").kind == "boolean"
    assert not trace.exists()


def test_a_hypothesis_that_changed_or_moved_is_named_with_its_fingerprints(db, write):
    file = write("own.py", "def mine(token: str) -> bool:\n    return token == 'e'\n")
    db.register_hypotheses(f"{file}:mine")
    old = db.hypothesis("mine").fingerprint[:12]
    file.write_text("def mine(token: str) -> bool:\n    return token == 'f'\n")
    with deepbase.connect(db.store.path) as again:
        with pytest.raises(CatalogError, match=f"'mine' in {file}:mine has changed: its fingerprint was {old} and is"):
            again.inspect("net", "lines", "mine")
        with pytest.raises(CatalogError, match="has changed"):
            again.sql("SELECT mine('e')")
        again.register_hypotheses(f"{file}:mine")
        assert again.sql("SELECT mine('f')").fetchall() == [(True,)]
        moved = file.rename(file.with_name("elsewhere.py"))
    with deepbase.connect(db.store.path) as again:
        with pytest.raises(HypothesisError, match=r"'mine' \(fingerprint \w{12}\) cannot be loaded again: .*own.py"):
            again.inspect("net", "lines", "mine")
        assert again.register_hypotheses(f"{moved}:mine") == ["mine"]
        assert again.inspect("net", "lines", "mine").run["status"] == "done"


def test_a_model_that_changed_or_moved_is_named_with_its_fingerprints(path, model_file, text_file, write):
    file = write("own.py", model_file.read_text())
    with deepbase.connect(path) as db:
        old = db.register_model("net", f"{file}:net", tags={"epoch": 1}).fingerprint[:12]
        db.register_dataset("lines", text_file)
    file.write_text(model_file.read_text().replace("manual_seed(0)", "manual_seed(1)"))
    with deepbase.connect(path) as db:
        with pytest.raises(CatalogError, match=f"'net' at {file}:net has changed: its fingerprint was {old} and is"):
            db.inspect("net", "lines", "is_vowel")
        file.rename(file.with_name("elsewhere.py"))
        with pytest.raises(ModelError, match=rf"'net' \(fingerprint {old}\) cannot be loaded again: .*own.py"):
            db.inspect("net", "lines", "is_vowel")
        assert db.register_model("net", f"{model_file}:net").fingerprint[:12] == old
        assert db.inspect("net", "lines", "is_vowel").run["status"] == "done"
        assert db.sql("SELECT epoch FROM models").fetchall() == [(1,)]


def test_what_was_handed_over_is_gone_with_its_process(path, text_file, model_file):
    from torch import nn

    with deepbase.connect(path) as db:
        db.register_model("module", nn.Embedding(128, 3), tokenize=characters)
        db.register_hypotheses(has_a)
        db.inspect("module", text_file, "has_a")
    with deepbase.connect(path) as db:
        with pytest.raises(CatalogError, match="'module' was handed over as a Python object, which is gone"):
            db.inspect("module", "lines", "is_vowel")
        with pytest.raises(CatalogError, match="'has_a' was handed over as a Python function, which is gone"):
            db.inspect(f"{model_file}:net", "lines", "has_a")
        assert db.sql("SELECT model FROM models").fetchall() == [("module",)], "nothing was half registered"


# One file, several users.


def test_a_file_is_opened_twice_in_one_process(db, path):
    with deepbase.connect(path) as other:
        other.sql("CREATE TABLE notes AS SELECT 1 AS n")
        assert db.sql("FROM notes").fetchall() == [(1,)]
        db.register_hypotheses("token = 'a'", name="is_a")
        assert other.inspect("net", "lines", "is_a").run["status"] == "done"
    assert db.sql("SELECT count(*) FROM runs").fetchall() == [(1,)]
    db.close()
    assert look(path, "SELECT count(*) FROM runs") == [(1,)], "the file is free when the last of them is closed"


def test_a_file_that_was_deleted_while_it_is_open_is_not_taken_for_the_new_one(db, path):
    path.unlink()
    with pytest.raises(CatalogError, match="was deleted or replaced while this process has it open"):
        deepbase.connect(path)


def test_a_database_that_is_closed_says_so(path):
    db = deepbase.connect(path)
    db.close()
    for use in (lambda: db.sql("FROM scores"), lambda: db.model("x"), lambda: db.inspect("a", "b", "c")):
        with pytest.raises(CatalogError, match=r"study\.duckdb' is closed\. Connect again\."):
            use()
    db.close()


def test_threads_share_a_database(db):
    results, errors = [], []

    def ask(number):
        try:
            for _ in range(20):
                results.append(db.sql("SELECT sum(range) FROM range(1000) WHERE range % ? = 0", [number]).fetchall())
                db.register_hypotheses(f"length(token) > {number}", name=f"longer_than_{number}", replace=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=[n]) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(results) == 80
    assert db.sql("SELECT count(*) FROM hypotheses").fetchall() == [(4,)]


def test_a_file_for_reading_only(db, path):
    db.inspect("net", "lines", "is_vowel")
    db.close()
    before = contents(path)
    with deepbase.connect(path, read_only=True) as reader, deepbase.connect(path, read_only=True) as second:
        assert reader.sql("FROM scores").fetchall() == second.sql("FROM scores").fetchall()
        assert second.model("net").architecture == "Net"
        for change in (lambda: reader.remove("model", "net"), lambda: reader.inspect("net", "lines", "is_vowel")):
            with pytest.raises(CatalogError, match="is open for reading only"):
                change()
        with pytest.raises(duckdb.Error, match="read-only"):
            reader.sql("DELETE FROM runs")
    assert contents(path) == before


def test_a_database_is_made_only_where_that_is_wanted(tmp_path):
    with pytest.raises(CatalogError, match=r"there is no database '.*new.duckdb'"):
        deepbase.connect(tmp_path / "new.duckdb", create=False)
    with duckdb.connect(str(tmp_path / "own.duckdb")) as plain:
        plain.execute("CREATE TABLE mine (a INTEGER)")
    before = contents(tmp_path / "own.duckdb")
    with pytest.raises(CatalogError, match=r"own.duckdb' holds nothing of DeepBase"):
        deepbase.connect(tmp_path / "own.duckdb", create=False)
    assert contents(tmp_path / "own.duckdb") == before
    with deepbase.connect(tmp_path / "own.duckdb") as db:
        assert db.sql("FROM mine").fetchall() == []


# Names, tags, datasets.


@pytest.mark.parametrize("name", ["ünï 模型", "a/b-c.d:e", "x y", "'", 'quo"te', "a*", " lead", "", "a\nb", "(x)"])
def test_names_are_taken_whole_or_refused(db, model_file, text_file, name):
    odd = not name or name != name.strip() or any(c in name for c in "'\"*\n(")
    for noun, register in (
        ("model", lambda: db.register_model(name, f"{model_file}:net")),
        ("dataset", lambda: db.register_dataset(name, text_file)),
        ("hypothesis", lambda: db.register_hypotheses("token = 'a'", name=name)),
    ):
        if odd:
            with pytest.raises(CatalogError, match=f"cannot be the name of a {noun}"):
                register()
        else:
            register()
    if not odd:
        found = db.inspect(name, name, name)
        assert found.scores.project("model, hypothesis").distinct().fetchall() == [(name, name)]
        assert db.sql("SELECT count(*) FROM inputs WHERE dataset = ?", [name]).fetchall() == [(6,)]
        for noun in ("model", "dataset", "hypothesis"):
            db.remove(noun, name)


def test_tags_are_columns_of_models(db, model_file):
    db.register_model("a", f"{model_file}:net", tags={"epoch": 3, 'odd "tag"': "x"})
    db.register_model("b", f"{model_file}:wide", tags={"epoch": 4, "Epoch ": None})
    assert db.sql("SELECT model, epoch FROM models ORDER BY model").fetchall() == [("a", 3), ("b", 4), ("net", None)]
    db.register_model("c", f"{model_file}:net", tags={"EPOCH": 4.5})
    assert db.sql("SELECT max(epoch) FROM models").fetchall() == [(4.5,)]
    db.register_model("a", f"{model_file}:net")
    assert db.sql('SELECT epoch, "odd ""tag""" FROM models ORDER BY model LIMIT 1').fetchall() == [(3, "x")]
    for tags, message in (
        ({"epoch": "late"}, "tag 'epoch' is DOUBLE for other models, and 'late' is not"),
        ({"Source": "x"}, "'Source' cannot be a tag"),
        ({" ": "x"}, "cannot be a tag"),
    ):
        with pytest.raises(CatalogError, match=message):
            db.register_model("d", f"{model_file}:net", tags=tags)
    assert db.sql("SELECT count(*) FROM models WHERE model = 'd'").fetchall() == [(0,)]


def test_inputs_holds_datasets_whose_columns_do_not_fit_together(db):
    db.register_dataset("scalar", [{"text": "a b", "upos": "X", "good": "yes", "n": 1}])
    db.register_dataset("fraction", [{"text": "a b", "n": 1.5}])
    rows = db.sql("SELECT dataset, upos, good, n FROM inputs WHERE record = 0 ORDER BY dataset").fetchall()
    assert rows == [
        ("fraction", None, None, 1.5),
        ("lines", None, None, None),
        ("scalar", "X", "yes", 1.0),
        ("sentences", "[DET, NOUN, VERB]", "true", None),
    ]
    with pytest.raises(CatalogError, match="there is already a dataset 'lines', which SQL does not tell from 'LINES'"):
        db.register_dataset("LINES", ["x"])


def test_what_is_handed_over_again_keeps_its_name_and_what_changed_gets_another(db, model_file, write):
    file = write("more.txt", "one\ntwo\n")
    for expected in ("more", "more"):
        assert db.inspect(f"{model_file}:net", file, has_a).run["spec"]["dataset"] == expected
    file.write_text("three\nfour\n")
    assert db.inspect(f"{model_file}:net", file, has_a).run["spec"]["dataset"] == "more-2"
    assert db.inspect("net", ["a", "b"], has_a).run["spec"]["dataset"] == "dataset"
    assert db.inspect("net", ["a", "b"], has_a).run["spec"]["dataset"] == "dataset"
    assert db.inspect(f"{model_file}:net", file, has_a, padding="left").run["spec"]["models"] == ["net-2"]


def test_options_of_what_is_registered_are_refused(db):
    with pytest.raises(QueryError, match="model 'net' is registered, so that it has its padding already"):
        db.inspect("net", "lines", "is_vowel", padding="left")
    with pytest.raises(QueryError, match="dataset 'lines' is registered, so that it has its column of texts already"):
        db.inspect("net", "lines", "is_vowel", text="words")
    with pytest.raises(TypeError, match="leyers"):
        db.inspect("net", "lines", "is_vowel", leyers="x")


def test_a_run_says_what_its_hypotheses_are(db, write):
    file = write("own.py", """
        import deepbase

        @deepbase.hypothesis
        def long(word: str) -> bool:
            "A long word."
            return len(word) > 3
    """)  # fmt: skip
    db.register_hypotheses("length(word) > 4", name="longer")
    asked = ["upos=NOUN", "good", "good=true", "length(word)", "longer", str(file)]
    found = db.inspect("net", "sentences", asked)
    query = f"FROM run_hypotheses WHERE run = {found.run_id}"
    rows = db.sql(f"SELECT hypothesis, kind, source, description, expression {query}").fetchall()
    assert rows == [
        ("upos=NOUN", "boolean", "column", "upos is NOUN", '"upos"'),
        ("good", "boolean", "column", "the column good", '"good"'),
        ("good=true", "boolean", "column", "good is true", "\"good\" = 'true'"),
        ("length(word)", "number", "sql", "length(word)", "length(word)"),
        ("longer", "boolean", "sql", "length(word) > 4", "length(word) > 4"),
        ("long", "boolean", f"{file}:long", "A long word.", None),
    ]
    prints = db.sql(f"SELECT hypothesis, fingerprint {query}").fetchall()
    assert dict(prints) == found.run["spec"]["fingerprints"]["hypotheses"]
    library = db.inspect("net", "lines", "is_vowel").run["run"]
    row = db.hypothesis("is_vowel")
    assert db.sql(f"SELECT source, description FROM run_hypotheses WHERE run = {library}").fetchall() == [
        (row.source, row.description)
    ]
    for run in (found.run_id, library):
        db.remove("run", run)
    assert db.sql("SELECT count(*) FROM run_hypotheses").fetchall() == [(0,)]


def test_options_of_measures_are_part_of_their_names(db):
    found = db.inspect("net", "lines", "is_vowel", ["cohens_d( unbiased:=true )", "cohens_d", "cohens_d()"])
    assert found.run["spec"]["measures"] == ["cohens_d(unbiased := true)", "cohens_d"]
    query = "SELECT measure, max(unit_score) FROM found GROUP BY measure"
    scores = dict(found.scores.query("found", query).fetchall())
    ratio = scores["cohens_d(unbiased := true)"] / scores["cohens_d"]
    assert ratio == pytest.approx(1 - 3 / (4 * 87 - 1), abs=1e-5), "an approximation by Hedges, for 89 symbols"


# The file without DeepBase.


def test_the_file_is_plain_and_documented(db, path):
    db.register_model("tagged", f"{db.model('net').source}", tags={"epoch": 3})
    db.inspect("net", "sentences", ["upos", has_a])
    db.close()
    with duckdb.connect(str(path), read_only=True) as plain:
        relations = plain.execute(
            "SELECT schema_name, table_name, comment FROM duckdb_tables() UNION ALL "
            "SELECT schema_name, view_name, comment FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        assert len(relations) == 16
        for schema, name, comment in relations:
            assert comment, f"{schema}.{name} has no comment"
            plain.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall()
        bare = plain.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        ).fetchall()
        assert bare == []
        assert plain.execute("SELECT count(*) FROM units").fetchall() == [(14,)]
        assert plain.execute("SELECT count(*) FROM inputs").fetchall() == [(9,)]
        assert plain.execute("SELECT spec->>'$.models[0]' FROM runs").fetchall() == [("net",)]
    with duckdb.connect() as other:
        other.execute(f"ATTACH '{path}' AS study (READ_ONLY)")
        assert other.execute("SELECT count(*) FROM study.inputs").fetchall() == [(9,)]


def test_scores_are_written_to_files(db, tmp_path):
    found = db.inspect("net", "lines", ["is_vowel", "position + 1"])
    reader = {"parquet": "read_parquet", "csv": "read_csv", "json": "read_json", "jsonl": "read_json"}
    for ending, read in reader.items():
        target = tmp_path / f"it's scores.{ending}"
        found.write(target)
        quoted = str(target).replace("'", "''")
        assert duckdb.execute(f"SELECT count(*), min(run) FROM {read}('{quoted}')").fetchall() == [(14, 1)]
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_scores_outlive_the_inspection_that_found_them():
    import torch

    class Codes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units = torch.nn.Identity()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.units(torch.stack([ids.float(), -ids.float()], dim=-1))

    model = deepbase.Model(Codes(), lambda text: [(ord(c) % 128, i, i + 1) for i, c in enumerate(text)])
    scores = deepbase.inspect(model, ["abc", "dde"], ["token=d"]).scores
    assert scores.aggregate("count(unit_score)").fetchall() == [(2,)]


def test_sql_and_datasets_see_the_data_frames_and_temporary_tables_of_the_user():
    import pandas as pd

    frame = pd.DataFrame({"text": ["one two", "three"], "n": [1, 2]})  # noqa: F841 (the queries name it)
    with deepbase.connect() as db:
        assert db.sql("FROM frame").fetchall() == [("one two", 1), ("three", 2)]
        assert db.register_dataset("framed", "SELECT text FROM frame WHERE n = 2").records == 1
        db.sql("CREATE TEMP TABLE mine AS FROM frame")
        assert db.register_dataset("temporary", "FROM mine").records == 2
