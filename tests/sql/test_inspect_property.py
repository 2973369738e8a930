"""INSPECT queries made at random: each gives the scores that the Python face gives for the same request."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MODELS = {"small-1": 5, "small-2": 5, "large": 9}
"""The models, and the width of their first layer."""
WIDTHS = {"mix": 3, "deep": 4}
HYPOTHESES = ["upos=NOUN", "upos=VERB", "has_e", "long_word", "year", "length(word) = 3", "is_capitalized"]
KEY = ("model", "layer", "unit", "hypothesis", "measure", "slice", "unit_score", "symbols", "records", "note")


def quoted(values):
    return ", ".join("'" + v.replace("'", "''") + "'" for v in values)


@st.composite
def model_choices(draw):
    """A predicate on models in one of several spellings, and the models that it chooses."""
    names = draw(st.lists(st.sampled_from(list(MODELS)), min_size=1, max_size=2, unique=True))
    spelled = draw(
        st.sampled_from(
            [
                f"M.model IN ({quoted(names)})",
                "(" + " OR ".join(f"model = '{n}'" for n in names) + ")",
                f"NOT M.model NOT IN ({quoted(names)})",
                f"U.model IN (SELECT model FROM models WHERE model IN ({quoted(names)}))",
                "M.epoch IN (" + ", ".join(str(list(MODELS).index(n) + 1) for n in names) + ")",
            ]
        )
    )
    return spelled, sorted(names)


@st.composite
def unit_choices(draw, models):
    """A predicate on layers and units, and what it chooses of each model."""
    layers = draw(st.sets(st.sampled_from(["mix", "deep"]), min_size=1))
    least, most = sorted(draw(st.tuples(st.integers(0, 2), st.integers(0, 3))))
    predicate = draw(
        st.sampled_from(
            [
                f"U.layer IN ({quoted(sorted(layers))}) AND U.unit BETWEEN {least} AND {most}",
                f"layer IN ({quoted(sorted(layers))}) AND unit >= {least} AND {most} >= U.unit",
                f"S.layer IN ({quoted(sorted(layers))}) AND (U.unit >= {least} AND S.unit <= {most})",
            ]
        )
    )
    chosen = {x: [u for u in range(WIDTHS[x]) if least <= u <= most] for x in layers}
    return predicate, {layer: units for layer, units in chosen.items() if units}


@st.composite
def record_choices(draw):
    """A predicate on records for SQL, and the same for `where`."""
    return draw(
        st.sampled_from(
            [
                ("", None),
                ("D.year > 2000", "year > 2000"),
                ("(D.genre = 'news' OR D.genre IS NULL)", "genre = 'news' OR genre IS NULL"),
                ("length(D.text) % 2 = 0 AND record < 25", "length(text) % 2 = 0 AND record < 25"),
                ("D.record IN (SELECT record FROM marked WHERE even)", "record % 6 = 0"),
                ("D.text LIKE '%e%'", "text LIKE '%e%'"),
            ]
        )
    )


@st.composite
def requests(draw):
    """An INSPECT query, and the arguments of the Python face that mean the same."""
    models, names = draw(model_choices())
    units, chosen = draw(unit_choices(names))
    records, where = draw(record_choices())
    level = draw(st.sampled_from(["token", "token", "word", "record"]))
    known = HYPOTHESES if level != "record" else ["year", "length(text) > 20", "genre=news"]
    hypotheses = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    measures = draw(st.lists(st.sampled_from(["pearson", "mean_difference", "cohens_d(unbiased := true)"]),
                             min_size=1, max_size=2, unique=True))  # fmt: skip
    behavior = draw(st.sampled_from(["value", "abs"]))
    groups = draw(st.sampled_from([(), (), ("D.year",), ("M.epoch",), ("D.year", "M.corpus"), ("D.genre",)]))
    lead, tail = draw(st.sampled_from([("", ""), ("WITH a AS (", ") FROM a"), ("SELECT * FROM (", ") x ORDER BY ALL")]))
    seed = draw(st.integers(0, 3))
    relations = draw(st.permutations(["models M", "units U", "hypotheses H", "inputs D"]))
    conditions = [models, units, f"H.hypothesis IN ({quoted(hypotheses)})", "D.dataset = 'books'"]
    conditions = draw(st.permutations(conditions + ([records] if records else [])))
    query = f"""{lead}SELECT {", ".join("S." + k for k in KEY)}
        INSPECT U.unit AND H.hypothesis USING {", ".join(measures)} OVER D.record
        WITH (at := '{level}', behavior := '{behavior}', seed := {seed}) AS S
        FROM {", ".join(relations)} WHERE {" AND ".join(conditions)}
        {"GROUP BY " + ", ".join(groups) if groups else ""}{tail}"""
    request = {
        "model": names,
        "dataset": "books",
        "hypotheses": hypotheses,
        "measures": measures,
        "units": chosen,
        "where": where,
        "at": level,
        "behavior": behavior,
        "seed": seed,
        "group_by": [g.partition(".")[2] for g in groups],
    }
    return query, request, bool(chosen)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(requests())
def test_the_two_faces_agree(study, made):
    query, request, possible = made
    if not possible:
        with pytest.raises(Exception, match="no unit matches"):
            study.sql(query)
        return
    here = study.sql(query).fetchall()
    there = study.inspect(**request).scores.project(", ".join(KEY)).fetchall()
    value = KEY.index("unit_score")
    one, other = ({(*r[:value], *r[value + 1 :]): r[value] for r in rows} for rows in (here, there))
    assert one.keys() == other.keys()
    assert len(one) == len(here)
    for key, score in one.items():
        assert score == (other[key] if score is None else pytest.approx(other[key], rel=1e-6, abs=1e-6)), key
