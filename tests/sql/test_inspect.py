"""The INSPECT clause: where it may stand, what it means, and what is used before any work is done."""

from __future__ import annotations

import re

import duckdb
import pytest

from deepbase.errors import DeepBaseError, QueryError

CLAUSE = "INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S"
FROM = "FROM models M, units U, hypotheses H, inputs D"
WHERE = (
    "WHERE M.model = 'small-1' AND U.layer = 'mix' AND H.hypothesis IN ('upos=NOUN', 'has_e') AND D.dataset = 'books'"
)
KEY = "S.model, S.layer, S.unit, S.hypothesis, S.measure, S.slice, S.unit_score"
QUERY = f"SELECT {KEY} {CLAUSE} {FROM} {WHERE}"


def by_key(rows):
    return {tuple(row[:-1]): row[-1] for row in rows}


def python_scores(db, **request):
    """What the Python face finds, as the columns of KEY."""
    found = db.inspect(**request)
    return by_key(found.scores.project(KEY.replace("S.", "")).fetchall())


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, score in one.items():
        assert (score is None) == (other[key] is None), key
        assert score is None or score == pytest.approx(other[key], rel=1e-9, abs=1e-12), key


@pytest.fixture(scope="module")
def expected(study):
    """The scores that QUERY should give."""
    return python_scores(study, model="small-1", dataset="books", hypotheses=["upos=NOUN", "has_e"], layers="mix")


def last_run(db):
    """The row of the last run."""
    (row,) = db.sql("SELECT max(run) FROM runs").fetchall()
    return db.run(row[0])


# Where it may stand.


def test_top_level(study, expected):
    assert_same(by_key(study.sql(QUERY).fetchall()), expected)


def test_the_example_of_the_design(study):
    found = study.sql("""
        SELECT S.layer, S.unit, S.hypothesis, S.unit_score, S.low, S.high
        INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
        FROM models M, units U, hypotheses H, inputs D
        WHERE M.model = 'small-1' AND U.layer LIKE '%i%' AND H.hypothesis IN ('upos=NOUN', 'long_word')
          AND D.dataset = 'books'
        HAVING S.unit_score > 0.05
        ORDER BY S.unit_score DESC LIMIT 20
    """)
    assert found.columns == ["layer", "unit", "hypothesis", "unit_score", "low", "high"]
    rows = found.fetchall()
    scores = [row[3] for row in rows]
    assert rows
    assert min(scores) > 0.05
    assert scores == sorted(scores, reverse=True)
    assert {row[0] for row in rows} == {"mix"}
    assert {row[2] for row in rows} <= {"upos=NOUN", "long_word"}


@pytest.mark.parametrize(
    "query",
    [
        "WITH found AS ({q}) FROM found",
        "WITH chosen_layer AS (SELECT 'mix' AS l), found AS ({q}) SELECT found.* FROM found, chosen_layer",
        "SELECT * FROM ({q}) AS found",
        "FROM ({q})",
        "SELECT * FROM (SELECT * FROM ({q}) AS a) AS b",
        "{q} UNION ALL SELECT * FROM ({q}) WHERE false",
        "SELECT * FROM ({q}) WHERE unit_score IS NOT NULL UNION {q}",
        "({q}) EXCEPT SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL",
        "SELECT * FROM ({q}) ORDER BY ALL LIMIT 100",
        "/* a comment */ {q} -- another",
        "{q};",
    ],
)
def test_wherever_a_select_may_stand(study, expected, query):
    assert_same(by_key(study.sql(query.format(q=QUERY)).fetchall()), expected)


def test_in_a_predicate(study):
    query = f"SELECT count(*) FROM units WHERE unit IN (SELECT S.unit {CLAUSE} {FROM} {WHERE}) AND model = 'small-1'"
    assert study.sql(query).fetchall() == [(9,)]


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE kept AS {q}", "CREATE OR REPLACE TEMP TABLE kept AS {q}", "CREATE VIEW kept AS {q}"]
)
def test_made_into_a_table_or_a_view(study, expected, statement):
    study.sql(statement.format(q=QUERY))
    assert_same(by_key(study.sql("FROM kept").fetchall()), expected)
    study.sql("DROP VIEW kept" if "VIEW" in statement else "DROP TABLE kept")


def test_inserted(study, expected):
    study.sql(f"CREATE TABLE kept AS SELECT * FROM ({QUERY}) WHERE false")
    study.sql(f"INSERT INTO kept {QUERY}")
    study.sql(f"INSERT INTO kept BY NAME {QUERY} RETURNING unit")
    assert study.sql("SELECT count(*) FROM kept").fetchall() == [(2 * len(expected),)]
    study.sql("DROP TABLE kept")


def test_copied_to_a_file(study, expected, tmp_path):
    study.sql(f"COPY ({QUERY}) TO '{tmp_path}/scores.parquet'")
    assert_same(by_key(duckdb.sql(f"FROM '{tmp_path}/scores.parquet'").fetchall()), expected)


def test_a_view_can_be_read_by_plain_duckdb(study_file):
    study_file.sql(f"CREATE VIEW kept AS SELECT S.unit, H.kind, D.dataset, S.unit_score {CLAUSE} {FROM} {WHERE}")
    path = study_file.store.path
    here = study_file.sql("FROM kept ORDER BY ALL").fetchall()
    study_file.close()
    with duckdb.connect(str(path)) as plain:
        assert plain.sql("FROM kept ORDER BY ALL").fetchall() == here
    assert {row[1:3] for row in here} == {("boolean", "books")}


@pytest.mark.parametrize(
    ("mark", "values"),
    [
        (("?", "?", "?"), ["small-1", "mix", -2]),
        (("$1", "$2", "$3"), ["small-1", "mix", -2]),
        (("$model", "$layer", "$least"), {"model": "small-1", "layer": "mix", "least": -2}),
    ],
)
def test_parameters(study, expected, mark, values):
    query = f"""
        SELECT {KEY} {CLAUSE} {FROM}
        WHERE M.model = {mark[0]} AND U.layer = {mark[1]} AND H.hypothesis IN ('upos=NOUN', 'has_e')
          AND D.dataset = 'books' HAVING S.unit_score > {mark[2]}"""
    assert_same(by_key(study.sql(query, values).fetchall()), expected)


def test_parameters_that_are_used_up_by_the_plan(study):
    query = f"SELECT S.records {CLAUSE} {FROM} {WHERE} AND D.year = ? AND D.text <> ? LIMIT ?"
    query = query.replace("AS S", "WITH (seed := ?) AS S")
    assert study.sql(query, [3, 2001, "x", 1]).fetchall() == [(10,)]
    assert last_run(study)["seed"] == 3
    assert last_run(study)["spec"]["where"] == '(inputs."year" = 2001) AND (inputs."text" <> \'x\')'


def test_several_in_one_statement(study):
    two = study.sql(f"""
        WITH a AS (SELECT S.unit, S.unit_score {CLAUSE} {FROM} {WHERE} AND H.hypothesis = 'has_e'),
             b AS (SELECT S.unit, S.unit_score {CLAUSE} {FROM} {WHERE} AND H.hypothesis = 'upos=NOUN')
        SELECT unit, a.unit_score, b.unit_score FROM a JOIN b USING (unit) ORDER BY unit""").fetchall()
    assert [row[0] for row in two] == [0, 1, 2]
    assert all(row[1] != row[2] for row in two)


def test_one_that_chooses_the_units_of_another(study):
    query = f"""
        SELECT S.unit, S.measure
        INSPECT U.unit AND H.hypothesis USING cohens_d OVER D.record AS S
        FROM (SELECT S.model, S.layer, S.unit {CLAUSE} {FROM} {WHERE} ORDER BY abs(S.unit_score) DESC LIMIT 1) U,
             hypotheses H, inputs D
        WHERE H.hypothesis = 'has_e' AND D.dataset = 'books'"""
    best = study.sql(f"SELECT S.unit {CLAUSE} {FROM} {WHERE} ORDER BY abs(S.unit_score) DESC LIMIT 1").fetchall()
    assert study.sql(query).fetchall() == [(best[0][0], "cohens_d")]
    assert study.sql(f"SELECT count(*) FROM scores WHERE run = {last_run(study)['run']}").fetchall() == [(1,)]


def test_several_measures_with_options(study):
    clause = CLAUSE.replace("pearson", "pearson, cohens_d, cohens_d(unbiased := true)")
    rows = study.sql(f"SELECT DISTINCT S.measure {clause} {FROM} {WHERE} ORDER BY ALL").fetchall()
    assert rows == [("cohens_d",), ("cohens_d(unbiased := true)",), ("pearson",)]


def test_options_of_the_run(study):
    clause = CLAUSE.replace(
        "AS S", "WITH (exact := true, error := 0.02, seed := 3 + 4, records := 5, at := 'word') AS S"
    )
    assert study.sql(f"SELECT max(S.records) {clause} {FROM} {WHERE}").fetchall() == [(5,)]
    spec = last_run(study)["spec"]
    assert (spec["error"], spec["seed"], spec["records"], spec["at"]) == (0.02, 7, 5, "word")


def test_odd_spelling(study, expected):
    query = f"""select {KEY.replace("S.", '"My S".')}
        inspect "U u" . unit and h.HYPOTHESIS using "pearson" over /* what ; */ d.record with () as "My S"
        from units as "U u" join models m using (model) cross join hypotheses h
        inner join inputs d on d.dataset = 'books'
        where m.model = 'small-1' and "U u".layer = 'mix' and h.hypothesis in ('upos=NOUN', 'has_e')"""
    assert_same(by_key(study.sql(query).fetchall()), expected)


# What it means.


def test_names_need_no_qualification(study, expected):
    rows = study.sql(
        f"SELECT model, layer, unit, hypothesis, measure, slice, unit_score {CLAUSE} {FROM} "
        "WHERE model = 'small-1' AND layer = 'mix' AND hypothesis IN ('upos=NOUN', 'has_e') AND dataset = 'books' "
        "AND unit_score IS NOT NULL"
    ).fetchall()
    assert_same(by_key(rows), expected)


def test_columns_of_models_units_and_hypotheses(study):
    rows = study.sql(f"""
        SELECT DISTINCT M.epoch, M.corpus, U.layer, H.kind, H.description, D.dataset
        {CLAUSE} {FROM} {WHERE} ORDER BY H.description""").fetchall()
    assert rows == [
        (1, "books", "mix", "boolean", "The word has an e.", "books"),
        (1, "books", "mix", "boolean", "upos is NOUN", "books"),
    ]


def test_every_column_with_a_star(study):
    found = study.sql(f"SELECT S.* {CLAUSE} {FROM} {WHERE}")
    assert found.columns == study.sql("FROM scores").columns
    assert len(study.sql(f"SELECT * {CLAUSE} {FROM} {WHERE}").fetchall()) == 6


def test_models_are_not_needed_in_from(study, expected):
    rows = study.sql(f"SELECT {KEY} {CLAUSE} FROM units U, hypotheses H, inputs D {WHERE.replace('M.', 'U.')}")
    assert_same(by_key(rows.fetchall()), expected)


def test_layers_and_datasets_belong_by_key(study):
    rows = study.sql(f"""
        SELECT DISTINCT L.layer, DS.records {CLAUSE} {FROM}, layers L, datasets DS
        WHERE M.model = 'small-1' AND L.width = 4 AND DS.dataset = 'web' AND H.hypothesis = 'has_e'""").fetchall()
    assert rows == [("deep", 20)]


def test_only_units_that_are_asked_for_are_scored(study):
    study.sql(f"SELECT 1 {CLAUSE} {FROM} {WHERE} AND U.unit BETWEEN 1 AND 2")
    run = last_run(study)
    assert run["spec"]["units"] == {"small-1": {"mix": [[1, 3]]}}
    assert study.sql(f"SELECT DISTINCT unit FROM scores WHERE run = {run['run']} ORDER BY ALL").fetchall() == [
        (1,),
        (2,),
    ]


def test_only_records_that_are_asked_for_are_read(study):
    study.sql(f"SELECT 1 {CLAUSE} {FROM} {WHERE} AND D.genre = 'news' AND (D.year = 2000 OR D.record < 6)")
    assert last_run(study)["records_seen"] == 4


def test_predicates_on_the_keys_of_the_scores_choose_as_well(study):
    study.sql(f"SELECT 1 {CLAUSE} {FROM} WHERE M.model = 'small-1' AND D.dataset = 'books' AND S.layer = 'mix' "
              "AND S.unit = 1 HAVING S.hypothesis = 'has_e' AND S.unit_score > -1")  # fmt: skip
    run = last_run(study)
    assert run["spec"]["units"] == {"small-1": {"mix": [[1, 2]]}}
    assert run["spec"]["hypotheses"] == ["has_e"]


def test_predicates_on_the_scores_filter(study, expected):
    least = sorted(abs(s) for s in expected.values())[3]
    rows = study.sql(f"SELECT {KEY} {CLAUSE} {FROM} {WHERE} AND abs(S.unit_score) >= {least}").fetchall()
    assert len(rows) == 3
    having = study.sql(f"SELECT {KEY} {CLAUSE} {FROM} {WHERE} HAVING abs(S.unit_score) >= {least}").fetchall()
    assert sorted(rows) == sorted(having)
    assert study.sql(f"SELECT count(*) FROM scores WHERE run = {last_run(study)['run']}").fetchall() == [(6,)]


def test_a_window_and_a_qualify(study):
    rows = study.sql(f"""
        SELECT S.hypothesis, S.unit {CLAUSE} {FROM} {WHERE}
        QUALIFY row_number() OVER (PARTITION BY S.hypothesis ORDER BY abs(S.unit_score) DESC) = 1 ORDER BY ALL""")
    assert [row[0] for row in rows.fetchall()] == ["has_e", "upos=NOUN"]


def test_tags_choose_models(study):
    study.sql(f"SELECT 1 {CLAUSE} {FROM} WHERE M.epoch <= 2 AND U.layer = 'mix' AND H.hypothesis = 'has_e' "
              "AND D.dataset = 'books'")  # fmt: skip
    assert last_run(study)["spec"]["models"] == ["small-1", "small-2"]


def test_all_hypotheses_of_a_pattern(study):
    rows = study.sql(f"SELECT DISTINCT S.hypothesis {CLAUSE} {FROM} WHERE M.model = 'small-1' AND U.layer = 'mix' "
                     "AND D.dataset = 'books' AND H.hypothesis LIKE 'upos=%' ORDER BY ALL").fetchall()  # fmt: skip
    assert rows == [("upos=ADV",), ("upos=DET",), ("upos=NOUN",), ("upos=NUM",), ("upos=PROPN",), ("upos=VERB",)]


def test_hypotheses_that_need_no_registering(study):
    names = ["length(word) = 3", "token=e", "is_capitalized", "year"]
    listed = ", ".join(f"'{n}'" for n in names)
    rows = study.sql(f"SELECT DISTINCT S.hypothesis, H.source {CLAUSE} {FROM} WHERE M.model = 'small-1' AND "
                     f"U.layer = 'mix' AND D.dataset = 'books' AND H.hypothesis IN ({listed})").fetchall()  # fmt: skip
    assert {row[0] for row in rows} == set(names)


@pytest.mark.parametrize("which", ["= 'word_shape=lower'", "LIKE 'word_shape=l%'"])
def test_one_category_of_a_function(study, which):
    rows = study.sql(f"SELECT DISTINCT S.hypothesis, H.kind {CLAUSE} {FROM} WHERE M.model = 'small-1' AND "
                     f"U.layer = 'mix' AND D.dataset = 'books' AND H.hypothesis {which}").fetchall()  # fmt: skip
    assert rows == [("word_shape=lower", "boolean")]


def test_own_tables_choose_units_hypotheses_and_records(study):
    rows = study.sql(f"""
        SELECT S.layer, S.unit, S.hypothesis, n.note {CLAUSE}
        {FROM}, chosen c JOIN notes n USING (hypothesis), marked k
        WHERE M.model = 'small-1' AND D.dataset = 'books' AND U.layer = c.layer AND U.unit = c.unit
          AND H.hypothesis = c.hypothesis AND k.record = D.record AND k.even ORDER BY ALL""").fetchall()
    assert rows == [("mix", 0, "upos=NOUN", "things"), ("mix", 2, "has_e", "letters")]
    assert last_run(study)["records_seen"] == 5
    assert last_run(study)["spec"]["units"] == {"small-1": {"mix": [[0, 1], [2, 3]]}}


def test_own_relations_in_place_of_the_catalog(study, expected):
    rows = study.sql(f"""
        WITH u AS (SELECT 'small-1' AS model, 'mix' AS layer, unnest([0, 1, 2]) AS unit)
        SELECT {KEY} {CLAUSE}
        FROM u AS U, (SELECT DISTINCT hypothesis FROM notes) H, (SELECT * FROM inputs WHERE dataset = 'books') D""")
    assert_same(by_key(rows.fetchall()), expected)


def test_a_left_join_keeps_what_has_no_note(study):
    rows = study.sql(f"""
        SELECT DISTINCT H.hypothesis, n.note {CLAUSE}
        FROM models M, units U, hypotheses H LEFT JOIN notes n ON n.hypothesis = H.hypothesis, inputs D
        WHERE M.model = 'small-1' AND U.layer = 'mix' AND D.dataset = 'books' AND H.hypothesis IN ('has_e', 'long_word')
        ORDER BY ALL""").fetchall()
    assert rows == [("has_e", "letters"), ("long_word", None)]


def test_data_frames_and_arrow_tables_of_the_caller(study):
    import pyarrow as pa

    mine = pa.table({"layer": ["deep"], "unit": [2]})
    rows = study.sql(f"""
        SELECT DISTINCT S.layer, S.unit {CLAUSE} {FROM}, mine
        WHERE M.model = 'large' AND D.dataset = 'web' AND U.layer = mine.layer AND U.unit = mine.unit
          AND H.hypothesis = 'has_e'""").fetchall()
    assert rows == [("deep", 2)]
    assert mine.num_rows == 1


def test_models_choose_their_dataset(study):
    rows = study.sql(f"""
        SELECT DISTINCT S.model, D.dataset, S.run {CLAUSE} {FROM}
        WHERE D.dataset = M.corpus AND U.layer = 'mix' AND H.hypothesis = 'has_e' ORDER BY ALL""").fetchall()
    assert [row[:2] for row in rows] == [("large", "web"), ("small-1", "books"), ("small-2", "books")]
    assert rows[1][2] == rows[2][2] != rows[0][2], "the models of one dataset share a run"


# GROUP BY.


@pytest.mark.parametrize("genre", ["news", "mail", "it's", None])
def test_one_set_of_scores_per_group_of_records(study, genre):
    rows = study.sql(f"SELECT D.genre, S.model, S.layer, S.unit, S.hypothesis, S.measure, S.unit_score "
                     f"{CLAUSE} {FROM} {WHERE} GROUP BY D.genre").fetchall()  # fmt: skip
    where = "genre IS NULL" if genre is None else f"genre = $${genre}$$"
    alone = study.sql(f"SELECT S.model, S.layer, S.unit, S.hypothesis, S.measure, S.unit_score "
                      f"{CLAUSE} {FROM} {WHERE} AND D.{where}").fetchall()  # fmt: skip
    assert_same(by_key(row[1:] for row in rows if row[0] == genre), by_key(alone))


def test_groups_of_models(study):
    rows = study.sql(f"""
        SELECT M.epoch, S.slice, S.unit, S.unit_score {CLAUSE} {FROM}
        WHERE M.epoch < 3 AND U.layer = 'mix' AND H.hypothesis = 'has_e' AND D.dataset = 'books'
        GROUP BY M.epoch HAVING S.unit < 2 ORDER BY M.epoch, S.unit""").fetchall()
    assert [row[:3] for row in rows] == [(1, "1", 0), (1, "1", 1), (2, "2", 0), (2, "2", 1)]


def test_groups_of_several_columns(study):
    rows = study.sql(f"""
        SELECT DISTINCT D.year, M.epoch, H.kind, S.slice {CLAUSE} {FROM}
        WHERE M.epoch < 3 AND U.layer = 'mix' AND H.hypothesis = 'has_e' AND D.dataset = 'books' AND D.year > 2000
        GROUP BY D.year, M.epoch, H.kind ORDER BY ALL""").fetchall()
    assert [row[:3] for row in rows] == [(2001, 1, "boolean"), (2001, 2, "boolean"), (2002, 1, "boolean"),
                                         (2002, 2, "boolean")]  # fmt: skip
    assert rows[0][3] == '{"year": "2001", "epoch": "1", "kind": "boolean"}'


def test_groups_of_datasets(study):
    rows = study.sql(f"""
        SELECT DISTINCT D.dataset, S.slice, S.records {CLAUSE} {FROM}
        WHERE M.epoch = 1 AND U.layer = 'mix' AND H.hypothesis = 'upos=NOUN' GROUP BY D.dataset ORDER BY ALL""")
    assert rows.fetchall() == [("books", "books", 30), ("web", "web", 20)]


def test_groups_by_number_and_by_alias(study):
    for group in ("1", "g", "D.genre"):
        rows = study.sql(f"SELECT DISTINCT D.genre AS g {CLAUSE} {FROM} {WHERE} GROUP BY {group} ORDER BY g")
        assert rows.fetchall() == [("it's",), ("mail",), ("news",), (None,)]


@pytest.mark.parametrize(
    ("listed", "slices"),
    [
        ("D.year, S.unit, S.unit_score", {"2000", "2001", "2002"}),
        ("S.unit, S.unit_score", {None}),
        ("D.year AS y, max(S.unit_score)", {"2000", "2001", "2002"}),
        ("M.epoch, D.year, count(*)", {f'{{"epoch": "1", "year": "{y}"}}' for y in (2000, 2001, 2002)}),
    ],
)
def test_group_by_all_means_the_columns_that_are_listed(study, listed, slices):
    rows = study.sql(f"SELECT {listed} {CLAUSE} {FROM} {WHERE} GROUP BY ALL").fetchall()
    found = study.sql(f"SELECT DISTINCT slice FROM scores WHERE run = {last_run(study)['run']}").fetchall()
    assert {row[0] for row in found} == slices
    assert len(rows) == len(slices) * (1 if "(" in listed else 3 if "D." in listed else 6) * (
        2 if "D.year, S.unit" in listed else 1
    )


def test_groups_of_an_expression_through_a_subquery(study):
    rows = study.sql(f"""
        SELECT DISTINCT D.late, S.records {CLAUSE}
        FROM models M, units U, hypotheses H, (SELECT *, year > 2000 AS late FROM inputs) D {WHERE}
        GROUP BY D.late ORDER BY ALL""").fetchall()
    assert rows == [(False, 10), (True, 20)]


def test_aggregates_of_the_scores(study):
    rows = study.sql(f"""
        SELECT S.layer, count(*) AS n, max(abs(S.unit_score)) {CLAUSE} {FROM}
        WHERE M.model = 'small-1' AND H.hypothesis = 'has_e' AND D.dataset = 'books' AND S.unit_score > -2
        GROUP BY S.layer HAVING count(*) > 3 ORDER BY S.layer""").fetchall()
    assert [row[:2] for row in rows] == [("deep", 4), ("embed", 5)]


def test_aggregates_per_group_of_records(study):
    rows = study.sql(f"SELECT D.year, max(S.unit_score), any_value(S.records) {CLAUSE} {FROM} {WHERE} "
                     "GROUP BY D.year ORDER BY D.year").fetchall()  # fmt: skip
    assert [(row[0], row[2]) for row in rows] == [(2000, 10), (2001, 10), (2002, 10)]


# The function form.


def test_the_function_form(study, expected):
    rows = study.sql(
        "SELECT model, layer, unit, hypothesis, measure, slice, unit_score FROM inspect(model := 'small-' || 1, "
        "dataset := ?, hypotheses := ['upos=NOUN', 'has_e'], measures := ['pearson'], layers := 'mix')",
        ["books"],
    )
    assert_same(by_key(rows.fetchall()), expected)


def test_the_function_form_takes_a_condition_on_records(study):
    rows = study.sql(
        "SELECT DISTINCT records FROM inspect(model := 'small-1', dataset := 'books', hypotheses := 'has_e', "
        "layers := 'mix', where := 'year = ' || 2001)"
    )
    assert rows.fetchall() == [(10,)]


def test_the_function_form_is_explained(study):
    call = "inspect(model := 'small-1', dataset := 'books', hypotheses := ['has_e'], layers := 'mix')"
    runs = "SELECT count(*) FROM runs"
    (before,) = study.sql(runs).fetchall()
    ((_, plan),) = study.sql(f"EXPLAIN FROM {call}").fetchall()
    assert plan.startswith("INSPECT 3 units x 1 hypothesis, by pearson")
    assert study.sql(runs).fetchall() == [before]
    ((_, plan),) = study.sql(f"EXPLAIN ANALYZE FROM {call}").fetchall()
    assert "30 records, 534 symbols" in plan


def test_the_function_form_has_a_name_and_can_be_joined(study):
    call = "inspect(model := 'small-1', dataset := 'books', hypotheses := ['has_e'], units := [1], layers := ['mix'])"
    assert study.sql(f"SELECT inspect.unit FROM {call} WHERE inspect.unit_score < 2").fetchall() == [(1,)]
    assert study.sql(f"SELECT s.unit FROM {call} AS s JOIN models m USING (model)").fetchall() == [(1,)]
    assert study.sql(f"SELECT s.unit, t.unit FROM {call} s, {call} t").fetchall() == [(1, 1)]
    assert study.sql(f"WITH a AS (FROM {call}) SELECT count(*) FROM a, {call} b").fetchall() == [(1,)]


# Mistakes.


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            QUERY.replace("pearson", "pearsn"),
            "unknown measure 'pearsn'. Did you mean 'pearson' or 'spearman'?\n"
            "LINE 1, COLUMN 122: ... USING pearsn ...\n                        ^^^^^^",
        ),
    ],
)
def test_messages_show_the_line(study, query, message):
    with pytest.raises(QueryError) as caught:
        study.sql(query)
    first, line, marks = str(caught.value).split("\n")
    assert first == message.split("\n")[0]
    assert line.endswith(query)
    assert marks.strip() == "^^^^^^"
    assert line[marks.index("^") :].startswith("pearsn")


@pytest.mark.parametrize(
    ("query", "wrong", "message"),
    [
        (QUERY.replace("'small-1'", "'smal-1'"), "'smal-1'", "there is no model 'smal-1'. Did you mean 'small-1' or"),
        (QUERY.replace("'mix'", "'mixx'"), "'mixx'", "there is no layer 'mixx'. Did you mean 'mix'?"),
        (QUERY.replace("'has_e'", "'hase'"), "'hase'", "there is no hypothesis 'hase'. Did you mean 'has_e'"),
        (QUERY.replace("'books'", "'book'"), "'book'", "there is no dataset 'book'. Did you mean 'books'?"),
        (QUERY.replace("AS S", "WITH (sed := 3) AS S"), "sed", "unknown option 'sed'. Did you mean 'seed'"),
        (QUERY.replace("AS S", "WITH (at := 'letter') AS S"), "at", "at cannot be 'letter'"),
        (QUERY.replace("pearson", "cohens_d(unbiase := true)"), "unbiase", "measure 'cohens_d' has no option"),
        (QUERY.replace("AS S", "AS M"), "M", "the name 'M' is taken twice"),
        (QUERY.replace("OVER D.record", "OVER E.record"), "E", "FROM has no relation 'E', which INSPECT takes its"),
        (QUERY.replace("U.unit AND", "U.uid AND"), "uid", "INSPECT takes the unit of 'U'"),
        (QUERY.replace("= 'books'", "LIKE 'x%'"), "D", "no dataset or record matches what FROM"),
        (QUERY.replace("= 'mix'", "LIKE 'x%'"), "U", "no unit matches what FROM"),
        (QUERY.replace("IN ('upos=NOUN', 'has_e')", "LIKE 'x%'"), "H", "no hypothesis matches what FROM"),
        (QUERY.replace(" AND D.dataset = 'books'", ""), "D", "the scores of model 'small-1' would be"),
        (QUERY + " AND D.genre = M.corpus", "D.genre = M.corpus", "records are compared with models, units or"),
        (QUERY + " GROUP BY S.unit_score", "S.unit_score", "GROUP BY 'S.unit_score' makes no sets of scores"),
        (QUERY.replace(KEY, "D.text"), "D.text", "'D.text' is of single records, and a score is over many."),
        (QUERY.replace(CLAUSE, f"{CLAUSE} {CLAUSE}"), "INSPECT", "INSPECT expects FROM, with the models"),
        (QUERY.replace(FROM, ""), "WHERE", "INSPECT expects FROM, with the models, units, hypotheses and inputs"),
        (f"SELECT 1 {CLAUSE}", "S", "INSPECT expects FROM, with the models, units, hypotheses and inputs"),
        (QUERY.replace("USING pearson", ""), "OVER", "INSPECT expects USING and a measure, and found 'OVER'."),
        (QUERY.replace("U.unit AND H", "unit AND H"), "unit", "INSPECT needs the units, such as U.unit: "),
        ("SELECT 1 FROM inspect(model := 'a', dataset := 'b', hypotesis := 'c')", "hypotesis", "unknown option"),
        ("SELECT 1 FROM inspect(model := 'a', hypotheses := ['c'])", "inspect", "inspect(...) needs dataset."),
    ],
)  # fmt: skip
def test_mistakes_are_shown_where_they_are(study, query, wrong, message):
    script = f"SELECT 1;\n\n  {query}"
    before = study.sql("SELECT count(*) FROM runs").fetchall()
    with pytest.raises(DeepBaseError) as caught:
        study.sql(script)
    first, line, marks = str(caught.value).split("\n")
    assert first.startswith(message)
    assert line.startswith("LINE 3, COLUMN ")
    at = marks.index("^")
    assert line[at : at + len(wrong)] == wrong
    assert marks.strip() == "^" * len(wrong)
    assert study.sql("SELECT count(*) FROM runs").fetchall() == before


@pytest.mark.parametrize(
    ("query", "line", "wrong"),
    [
        (f"SELECT S.nothing\n{CLAUSE}\n{FROM}\n{WHERE}", 1, "S.nothing"),
        (f"SELECT S.unit\n{CLAUSE}\n{FROM}\n{WHERE}\nORDER BY S.nothing", 5, "S.nothing"),
        (f"SELECT S.unit\n{CLAUSE}\n{FROM}\n{WHERE}\nAND U.nothing = 3", 5, "U.nothing"),
        (f"SELECT S.unit\n{CLAUSE}\n{FROM}\n{WHERE}\nAND nothing(U.unit)", 5, "nothing"),
        (f"SELECT S.unit\n{CLAUSE}\n{FROM}\n{WHERE} )", 4, ")"),
        (f"SELECT S.unit\n{CLAUSE}\nFROM units U, hypotheses H, inputs D,\n nowhere", 4, "nowhere"),
    ],
)
def test_errors_of_duckdb_keep_the_lines(study, query, line, wrong):
    with pytest.raises(duckdb.Error) as caught:
        study.sql("SELECT 1;\n" + query)
    shown = next(x for x in str(caught.value).splitlines() if x.startswith("LINE"))
    marks = str(caught.value).splitlines()[str(caught.value).splitlines().index(shown) + 1]
    assert shown == f"LINE {line + 1}: {query.splitlines()[line - 1]}"
    assert shown[marks.index("^") :].startswith(wrong)


# EXPLAIN.


def timeless(plan):
    return re.sub(r"(less than )?[\d.]+ s\b", "a while", plan)


def test_explain_tells_the_plan_and_runs_nothing(study):
    before = study.sql("SELECT count(*) FROM runs").fetchall()
    query = QUERY.replace("pearson", "pearson, cohens_d") + " AND U.unit <> 1 AND D.year > 2000 GROUP BY D.genre"
    ((key, plan),) = study.sql(f"EXPLAIN {query}").fetchall()
    assert key == "inspection"
    assert timeless(plan) == timeless(study.explain(query))
    for line in (
        "INSPECT 2 units x 2 hypotheses, by pearson, cohens_d",
        "records: 20 of the 30 of books, in random order (seed 0); about 356 symbols",
        "read by 1 scan of the table",
        'where (inputs."year" > 2000)',
        "model: small-1 (Net): 1 of 3 layers, the deepest mix, where the forward ends",
        "mix: 2 of 3 units: 0, 2",
        'has_e: boolean, "has_e"("word")',
        "upos=NOUN: boolean, \"upos\" = 'NOUN'",
        "states: PairMoments, shared by pearson, cohens_d: ",
        "groups: inputs.genre; 4 of records, each with states of its own",
        "cost: about 1 forward of up to 32 sequences on cpu, ",
        "stops: when every record was read",
    ):
        assert line in plan
    assert study.sql("SELECT count(*) FROM runs").fetchall() == before


def test_explain_of_own_records_and_of_the_function_form_leaves_nothing(study):
    before = study.sql("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM selections)").fetchall()
    plan = study.explain(QUERY.replace(FROM, FROM + ", marked k") + " AND k.record = D.record AND k.even")
    assert "records: 5 of the 30 of books" in plan
    assert "chosen by the query" in plan
    plan = study.explain("FROM inspect(model := 'small-1', dataset := 'books', hypotheses := 'has_e', layers := 'mix')")
    assert "INSPECT 3 units x 1 hypothesis, by pearson" in plan
    after = study.sql("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM selections)").fetchall()
    assert after == before


def test_explain_analyze_adds_what_happened(study):
    plan = study.sql(f"EXPLAIN ANALYZE {QUERY}").fetchall()[0][1]
    run = last_run(study)
    assert f"run {run['run']}: 30 records, 534 symbols, " in plan
    assert "6 scores" in plan
    assert "symbols without word: 73" in plan


def test_explain_of_several_and_of_one_that_needs_another(study):
    plan = study.explain(f"WITH a AS ({QUERY}) FROM a UNION ALL {QUERY}")
    assert plan.count("INSPECT 3 units") == 2
    chained = QUERY.replace("units U", f"(SELECT S.model, S.layer, S.unit {CLAUSE} {FROM} {WHERE}) U")
    assert "INSPECT what the scores of these choose; EXPLAIN ANALYZE runs them" in study.explain(chained)


def test_what_duckdb_explains_is_its_own(study):
    assert study.sql("EXPLAIN SELECT 1").columns == ["explain_key", "explain_value"]
    assert "Sequential Scan" in study.explain("SELECT 1 + unit FROM units")
    with pytest.raises(QueryError, match="2 statements cannot be explained at once"):
        study.explain("SELECT 1; SELECT 2")


# What else a SELECT may have.


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT DISTINCT ON (S.hypothesis) S.hypothesis {c} {f} {w} ORDER BY ALL", [("has_e",), ("upos=NOUN",)]),
        ("SELECT count(*) {c} {f} {w} AND CASE WHEN U.unit = 1 AND true THEN true ELSE false END", [(2,)]),
        (
            "SELECT S.unit, S.hypothesis {c} {f} {w} AND ((U.unit = 1 AND H.hypothesis = 'has_e') OR (U.unit = 2 AND "
            "H.hypothesis = 'upos=NOUN')) ORDER BY ALL",
            [(1, "has_e"), (2, "upos=NOUN")],
        ),
        ("SELECT count(*) {c} {f} {w} AND EXISTS (SELECT 1 FROM notes n WHERE n.hypothesis = H.hypothesis)", [(6,)]),
        ("SELECT 1 {c} {f} {w} LIMIT 0", []),
        ("SELECT max(S.unit) {c} {f} {w} HAVING count(*) > 1", [(2,)]),
        ("SELECT DISTINCT x {c} {f}, LATERAL (SELECT U.unit * 2 AS x) l {w} ORDER BY ALL", [(0,), (2,), (4,)]),
        ("SELECT list(S.unit ORDER BY S.unit) {c} {f} {w} GROUP BY S.hypothesis", [([0, 1, 2],), ([0, 1, 2],)]),
        ("SELECT rank() OVER w {c} {f} {w} AND U.unit = 1 WINDOW w AS (ORDER BY S.hypothesis)", [(1,), (2,)]),
        ("SELECT count(*) {c} FROM main.models M, main.units U, main.hypotheses H, main.inputs D {w}", [(6,)]),
        ("SELECT count(*) {c} {f}, units V {w} AND V.model = 'large' AND V.layer = 'mix'", [(18,)]),
        ("SELECT count(*) {c} {f} {w} HAVING abs(S.unit_score) >= 0", [(6,)]),
        ("SELECT unnest([S.unit, 7]) {c} {f} {w} AND U.unit = 1 AND H.hypothesis = 'has_e'", [(1,), (7,)]),
        ("FROM (SELECT S.unit {c} {f} {w}) SELECT sum(unit)", [(6,)]),
        ("SELECT 1 /* INSPECT U.unit */ {c} -- INSPECT\n {f} {w} AND U.unit = 1 AND H.hypothesis = 'has_e'", [(1,)]),
    ],
)
def test_the_rest_of_a_select_is_duckdbs(study, query, rows):
    assert study.sql(query.format(c=CLAUSE, f=FROM, w=WHERE)).fetchall() == rows


def test_a_sample_of_the_records(study):
    sample = FROM + " TABLESAMPLE reservoir(10 ROWS) REPEATABLE (3)"
    study.sql(f"SELECT 1 {CLAUSE} {sample} {WHERE}")
    assert 1 <= last_run(study)["records_seen"] <= 10


def test_data_is_changed_by_what_is_found(study):
    study.sql(f"CREATE TABLE kept AS SELECT S.* {CLAUSE} {FROM} {WHERE}")
    study.sql(f"UPDATE kept SET note = 'x' WHERE unit IN (SELECT S.unit {CLAUSE} {FROM} {WHERE} AND U.unit = 1)")
    assert study.sql("SELECT count(*) FROM kept WHERE note = 'x'").fetchall() == [(2,)]
    study.sql(f"DELETE FROM kept WHERE unit IN (SELECT S.unit {CLAUSE} {FROM} {WHERE} AND U.unit = 1)")
    second = f"SELECT S.unit {CLAUSE} {FROM} {WHERE} AND U.unit = 2 AND H.hypothesis = 'has_e'"
    study.sql(f"MERGE INTO kept USING ({second}) q ON kept.unit = q.unit WHEN MATCHED THEN DELETE")
    assert study.sql("SELECT DISTINCT unit FROM kept").fetchall() == [(0,)]
    study.sql("DROP TABLE kept")


# Functions and views.


def test_a_view_over_a_hypothesis_works_after_reopening(tmp_path, write):
    import deepbase

    file = write("mine.py", "import deepbase\n\n@deepbase.hypothesis\ndef ends_in_t(word: str) -> bool:\n"
                            "    return word.endswith('t')\n")  # fmt: skip
    with deepbase.connect(tmp_path / "a.duckdb") as db:
        db.register_hypotheses(str(file))
        db.sql("CREATE VIEW ending AS SELECT w, ends_in_t(w) AS t FROM (VALUES ('cat'), ('dog')) v(w)")
    with deepbase.connect(tmp_path / "a.duckdb") as db:
        assert db.sql("FROM ending ORDER BY w").fetchall() == [("cat", True), ("dog", False)]


def test_a_hypothesis_can_choose_records(study):
    study.sql(f"SELECT 1 {CLAUSE} {FROM} {WHERE} AND has_e(D.text)")
    run = last_run(study)
    assert run["spec"]["selection"]
    assert run["records_seen"] == study.sql("SELECT count(*) FROM inputs WHERE dataset = 'books' AND text LIKE '%e%'"
                                            ).fetchall()[0][0]  # fmt: skip


def test_the_symbols_around_one(study):
    rows = study.sql("SELECT context(record, position, 2) FROM symbols('books', 'small-1', at := 'word') "
                     "WHERE record = 1").fetchall()  # fmt: skip
    words = study.sql("SELECT text FROM inputs WHERE dataset = 'books' AND record = 1").fetchall()[0][0].split()
    assert rows[0][0].startswith(f"[{words[0]}] {words[1]}")


def test_a_prepared_inspect_is_refused_kindly(study):
    with pytest.raises(QueryError, match="a query with INSPECT cannot be prepared"):
        study.sql(f"PREPARE p AS {QUERY}")


def test_nothing_is_inspected_inside_a_transaction(study_file):
    study_file.sql("BEGIN")
    with pytest.raises(QueryError, match="a transaction is open, in which nothing can be inspected"):
        study_file.sql(QUERY)
    study_file.sql("ROLLBACK")
    assert len(study_file.sql(QUERY).fetchall()) == 6
