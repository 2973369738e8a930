"""What can be grouped by, and slices that are read back by SQL as what was written."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepbase.errors import QueryError
from deepbase.query.slices import resolve, slice_sql, slice_text

COLUMNS = {
    "inputs": ["dataset", "genre", "a.b", "kind"],
    "models": ["model", "epoch", "kind"],
    "layers": ["model", "layer", "layer_index", "width", "kind"],
    "hypotheses": ["hypothesis", "kind", "source"],
    "units": ["model", "layer"],
}


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ("genre", "inputs.genre"),
        ("GENRE", "inputs.genre"),
        ("inputs.Genre", "inputs.genre"),
        ("a.b", "inputs.a.b"),
        ("inputs.a.b", "inputs.a.b"),
        ("dataset", "inputs.dataset"),
        ("kind", "inputs.kind"),
        ("layers.kind", "layers.kind"),
        ("epoch", "models.epoch"),
        ("model", "models.model"),
        ("layer", "layers.layer"),
        ("units.layer", "units.layer"),
        ("hypothesis", "hypotheses.hypothesis"),
    ],
)
def test_a_column_is_looked_up_in_the_records_the_models_the_layers_and_the_hypotheses(request_, name):
    assert resolve([request_], COLUMNS, ["upos"]) == (name,)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (["gener"], "cannot group by 'gener': there is no such column. Did you mean 'genre'?"),
        (["inputs.gener"], "cannot group by 'inputs.gener': there is no such column. Did you mean 'genre'?"),
        (["upos"], "cannot group by 'upos': it has several values a record. Group by a column with one value a "
            "record."),
        (["inputs.upos"], "cannot group by 'inputs.upos': it has several values a record. Group by a column with one "
            "value a record."),
        (["genre", "inputs.genre"], "cannot group by 'inputs.genre' twice. Name it once."),
    ],
)  # fmt: skip
def test_what_cannot_be_grouped_by_is_refused(requests, message):
    with pytest.raises(QueryError) as error:
        resolve(requests, COLUMNS, ["upos"])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("group_by", "values", "text"),
    [
        ([], [], None),
        (["inputs.genre"], ["news"], "news"),
        (["inputs.genre"], [None], "NULL"),
        (["inputs.genre"], ["NULL"], "'NULL'"),
        (["inputs.genre"], ["'tis"], "'''tis'"),
        (["inputs.genre"], ["it's"], "it's"),
        (["inputs.genre", "models.epoch"], ["ü", None], '{"genre": "ü", "epoch": null}'),
        (["units.layer", "layers.layer", "models.model"], ["a", "b", "c"],
            '{"units.layer": "a", "layers.layer": "b", "model": "c"}'),
    ],
)  # fmt: skip
def test_a_slice_is_a_text(group_by, values, text):
    assert slice_text(group_by, values) == text


TEXTS = st.none() | st.sampled_from(["NULL", "null", "'", "''", "'NULL'", "", '"', "\\", "{}"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
)  # fmt: skip
NAMES = st.sampled_from(["genre", "a.b", "a/b", "a~1b", 'q"q', "it's", "", "ü", "inputs.genre"])


@settings(max_examples=150, deadline=None)
@given(
    columns=st.lists(
        st.tuples(st.sampled_from(["inputs", "models", "layers"]), NAMES, TEXTS),
        min_size=1,
        max_size=4,
        unique_by=lambda c: c[:2],
    )
)
def test_sql_gives_the_values_of_a_slice_back(columns):
    group_by = [f"{table}.{name}" for table, name, _ in columns]
    values = [value for _, _, value in columns]
    expressions = ", ".join(slice_sql(group_by, i) for i in range(len(group_by)))
    found = duckdb.execute(f"SELECT {expressions} FROM (SELECT ? AS slice)", [slice_text(group_by, values)])
    assert list(found.fetchall()[0]) == values
