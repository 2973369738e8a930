"""A run scores every unit as NumPy would in float64, however it reads, batches and pads, wherever it was stopped."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
import transformers
from harness import expected, tolerance
from torch import nn

import deepbase
from deepbase.blocks import Floats
from deepbase.measures.spread import THIN
from deepbase.testing import Data

Scores = dict[tuple[str, int, str, str], tuple[float | None, str | None, int, int]]
Row = dict[str, Any]

MEASURES = ["pearson", "mean_difference", "cohens_d"]


def scores_of(found: deepbase.Inspection) -> Scores:
    """Score, note, symbols and records by layer, unit, hypothesis and measure."""
    columns = "layer, unit, hypothesis, measure, unit_score, note, symbols, records"
    return {row[:4]: row[4:] for row in found.scores.select(*columns.split(", ")).fetchall()}


def assert_close(a: Scores, b: Scores, tolerance: float = 1e-5) -> None:
    assert a.keys() == b.keys()
    wrong = [
        (k, a[k], b[k])
        for k in a
        if a[k][1:] != b[k][1:] or (a[k][0] is not None and not math.isclose(a[k][0], b[k][0], abs_tol=tolerance))
    ]
    assert not wrong, f"{len(wrong)} of {len(a)} scores differ: {wrong[:5]}"


@deepbase.hypothesis
def has_vowel(symbol: str) -> bool:
    return any(c in "aeiouAEIOU" for c in symbol)


@deepbase.hypothesis
def to_the_end(token: list[str]) -> list[int]:
    return list(range(len(token)))[::-1]


@deepbase.hypothesis
def text_length(text: str) -> int:
    return len(text)


OF_SYMBOLS = [has_vowel, to_the_end, "tag", "genre=news", "year", "position % 2 = 0", "length(word)", "year > 2010"]
OF_RECORDS = [text_length, "genre", "year", "length(text) > 20"]


class Plain:
    """The same inspection in plain Python and NumPy: one record at a time, nothing padded, everything in float64."""

    def __init__(self, module: nn.Module, tokenize: Callable[[str], list[tuple[int, int, int]]]) -> None:
        self.module, self.tokenize = module.eval(), tokenize
        self.layers = [name for name, part in module.named_modules() if name]

    def values(self, ids: list[int]) -> dict[str, Floats]:
        """float64[token, unit] of every layer."""
        seen: dict[str, Floats] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                seen[name] = (output[0] if isinstance(output, tuple) else output)[0].double().numpy()

            return hook

        parts = dict(self.module.named_modules())
        hooks = [parts[name].register_forward_hook(keep(name)) for name in self.layers]
        with torch.inference_mode():
            self.module(torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        return seen

    def tokens(self, text: str, context: int | None, window: bool) -> Iterator[tuple[int, int, dict[str, Floats]]]:
        """First and last character and values of every token that is no special one."""
        special, *content = self.tokenize(text)
        room = len(content) if context is None else context - 1
        done = 0
        while done < len(content):
            end = min(room if done == 0 else done + max(room // 2, 1), len(content))
            first = max(end - room, 0)
            values = self.values([special[0], *(t[0] for t in content[first:end])])
            for i in range(done, end):
                yield *content[i][1:], {k: v[1 + i - first] for k, v in values.items()}
            done = end if window or context is None else len(content)

    def record(self, row: Row, at: str, context: int | None, window: bool) -> list[Row]:
        """The symbols of a record, each with the values of its tokens."""
        text, tags = row["text"], row["tag"]
        words = [(m.start(), m.end()) for m in re.finditer(r"\S+", text)]
        found: dict[Any, Row] = {}
        for start, end, values in self.tokens(text, context, window):
            index = next(i for i, (first, last) in enumerate(words) if first <= start < last)
            key = {"token": start, "word": index, "record": 0}[at]
            symbol = {"token": text[start:end], "word": text[slice(*words[index])], "record": text}[at]
            of_word = {"word": text[slice(*words[index])], "tag": tags[index]} if at != "record" else {}
            found.setdefault(key, {**row, **of_word, "symbol": symbol, "values": []})["values"].append(values)
        return [{**s, "position": i, "left": len(found) - 1 - i} for i, s in enumerate(found.values())]

    def data(
        self, rows: Sequence[Row], at: str, behavior: str, context: int | None = None, window: bool = False
    ) -> tuple[Data, npt.NDArray[np.int64]]:
        """All symbols, and the record of each."""
        symbols = [s for row in rows for s in self.record(row, at, context, window)]
        means = {k: np.array([np.mean([v[k] for v in s["values"]], axis=0) for s in symbols]) for k in self.layers}
        first = np.array([s["position"] == 0 for s in symbols])
        if behavior == "abs":
            means = {k: np.abs(v) for k, v in means.items()}
        elif behavior == "derivative":
            means = {k: np.diff(v, axis=0, prepend=v[:1]) for k, v in means.items()}
            means = {k: np.where(first[:, None], 0, v) for k, v in means.items()}
        hypotheses = {k: [label(k, s) for s in symbols] for k in label_names(at)}
        labels = {k: np.array([np.nan if v is None else float(v) for v in vs]) for k, vs in hypotheses.items()}
        if behavior == "derivative":
            labels = {k: np.where(first, np.nan, v) for k, v in labels.items()}
        units = {f"{k}:{i}": v[:, i].astype(np.float32) for k, v in means.items() for i in range(v.shape[1])}
        kinds = {k: "number" if k in NUMBERS else "boolean" for k in labels}
        return Data(units, labels, kinds), np.array([s["record"] for s in symbols])


NUMBERS = ("to_the_end", "text_length", "year", "length(word)")


def label_names(at: str) -> list[str]:
    if at == "record":
        return ["text_length", "genre=news", "genre=blog", "year", "length(text) > 20"]
    names = ["has_vowel", "to_the_end", "tag=X", "tag=y", "genre=news", "year"]
    return [*names, "position % 2 = 0", "length(word)", "year > 2010"]


def label(name: str, s: Row) -> Any:
    column, _, value = name.partition("=")
    if column in ("tag", "genre"):
        return None if s[column] is None else s[column] == value
    return {
        "has_vowel": lambda: any(c in "aeiouAEIOU" for c in s["symbol"]),
        "to_the_end": lambda: s["left"],
        "text_length": lambda: len(s["text"]),
        "year": lambda: s["year"],
        "position % 2 = 0": lambda: s["position"] % 2 == 0,
        "length(word)": lambda: len(s["word"]),
        "year > 2010": lambda: None if s["year"] is None else s["year"] > 2010,
        "length(text) > 20": lambda: len(s["text"]) > 20,
    }[name]()


def assert_textbook(found: Scores, data: Data, record: npt.NDArray[np.int64]) -> None:
    """Every pair has a row with its textbook score and the numbers of symbols and records that it rests on."""
    wrong = []
    pairs = {(unit, name, m) for unit in data.units for name in data.hypotheses for m in MEASURES}
    assert {(f"{layer}:{unit}", name, m) for layer, unit, name, m in found} == pairs
    for (layer, unit, name, measure), (score, note, symbols, records) in found.items():
        known = ~np.isnan(data.hypotheses[name])
        should, why = expected(measure, data, f"{layer}:{unit}", name)
        right = note == why and (score is None) == (should is None)
        if right and score is not None and should is not None:
            right = abs(score - should) <= tolerance(measure, data, f"{layer}:{unit}", name)
        right &= symbols == known.sum() and records == len(np.unique(record[known]))
        if not right:
            wrong.append(f"{measure} of {layer}:{unit} and {name}: {score} ({note}) instead of {should} ({why})")
    assert not wrong, f"{len(wrong)} of {len(found)} scores are wrong\n" + "\n".join(wrong[:8])


def rows_of(corpus: pa.Table) -> list[Row]:
    return [{**row, "record": i} for i, row in enumerate(corpus.to_pylist())]


CASES = [
    pytest.param(at, behavior, options, id=f"{at}-{behavior}-{'-'.join(options) or 'plain'}")
    for at, behavior, options in [
        ("token", "value", {}),
        ("token", "abs", {}),
        ("token", "derivative", {}),
        ("word", "value", {}),
        ("word", "derivative", {}),
        ("record", "value", {}),
        ("record", "abs", {}),
        ("token", "value", {"context": 6}),
        ("token", "derivative", {"context": 6, "window": True}),
        ("word", "value", {"context": 7, "window": True}),
        ("record", "value", {"context": 2, "window": True}),
    ]
]


@pytest.mark.parametrize(("at", "behavior", "options"), CASES)
def test_scores_are_those_of_a_plain_computation(reader, corpus, at, behavior, options):
    context, window = options.get("context"), options.get("window", False)
    model = reader(context=context)
    found = deepbase.inspect(
        model, corpus, OF_RECORDS if at == "record" else OF_SYMBOLS, MEASURES, layers="*", at=at, behavior=behavior,
        window=window, batch_size=7,
    )  # fmt: skip
    data, record = Plain(model.module, model.tokenize).data(rows_of(corpus), at, behavior, context, window)
    assert_textbook(scores_of(found), data, record)
    assert found.run["records_seen"] == len(corpus)
    assert found.run["symbols_seen"] == len(record)


@pytest.mark.parametrize(
    "where", ["year > 2000 AND genre IS NOT NULL", "record % 3 = 1 -- every third", "tag[1] = 'X'"]
)
def test_a_filter_leaves_the_records_that_pass_it(reader, corpus, where):
    model = reader()
    found = deepbase.inspect(model, corpus, OF_SYMBOLS, MEASURES, layers="*", where=where)
    passing = {
        "year > 2000 AND genre IS NOT NULL": lambda r: (r["year"] or 0) > 2000 and r["genre"],
        "record % 3 = 1 -- every third": lambda r: r["record"] % 3 == 1,
        "tag[1] = 'X'": lambda r: r["tag"][:1] == ["X"],
    }[where]
    rows = [r for r in rows_of(corpus) if passing(r)]
    assert_textbook(scores_of(found), *Plain(model.module, model.tokenize).data(rows, "token", "value"))
    assert found.run["records_seen"] == len(rows)
    assert found.run["stopped_because"] == "every record was read"


@pytest.mark.parametrize("where", [None, "record % 2 = 0"])
def test_a_limit_reads_a_random_sample_of_the_records(reader, corpus, where):
    model = reader()
    samples = []
    for seed in (0, 0, 1):
        read: set[int] = set()

        @deepbase.hypothesis
        def noted(record: int, read: Any = read) -> int:
            read.add(record)
            return record

        found = deepbase.inspect(
            model, corpus, [*OF_SYMBOLS, noted], MEASURES, layers="*", records=25, where=where, seed=seed
        )
        assert found.run["records_seen"] == 25
        assert found.run["stopped_because"] == "the limit of records was reached"
        assert {r["record"] for r in rows_of(corpus) if not reader().tokenize(r["text"])[1:]}.isdisjoint(read)
        rows = [r for r in rows_of(corpus) if r["record"] in read]
        scores = {k: v for k, v in scores_of(found).items() if k[2] != "noted"}
        assert {v[1] for v in scores.values() if v[0] is not None} == {None, THIN}, "25 records tell little"
        scores = {k: (v[0], None, *v[2:]) if v[1] == THIN else v for k, v in scores.items()}
        assert_textbook(scores, *Plain(model.module, model.tokenize).data(rows, "token", "value"))
        samples.append(read)
    assert samples[0] == samples[1] != samples[2]
    for sample in samples:
        assert sample != set(range(25))
        assert not where or not any(r % 2 for r in sample)


def test_a_limit_above_the_number_of_records_reads_them_all(reader, corpus):
    found = deepbase.inspect(reader(), corpus, [has_vowel], records=10_000)
    assert found.run["records_seen"] == len(corpus)
    assert found.run["stopped_because"] == "every record was read"


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_does_not_move_a_score(reader, corpus, batch_size):
    plain, other = (
        scores_of(deepbase.inspect(reader(), corpus, OF_SYMBOLS, MEASURES, layers="*", batch_size=size))
        for size in (32, batch_size)
    )
    assert_close(plain, other)


def test_a_second_thread_does_not_move_a_score(reader, corpus):
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(scores_of(deepbase.inspect(reader(), corpus, OF_SYMBOLS, MEASURES, layers="*")))
    torch.set_num_threads(1)
    assert_close(*found)


SENTENCES = [
    " ".join(words)
    for words in (
        ["the", "cat", "sat"],
        ["Dog"],
        ["a", "Cat", "ran", "far", "away", "on", "the", "mat", "the", "cat", "sat", "on"],
        ["on", "a", "mat", "sat", "the", "Dog"],
        ["far", "away", "ran", "a", "cat"],
        ["Cat", "Dog", "Cat", "sat"],
        ["the", "the"],
    )
] * 3


def hand_hooked(place: Path, texts: Sequence[str]) -> tuple[dict[str, Floats], list[str]]:
    """float64[token, unit] of every module, text by text, without special tokens; and the tokens."""
    module = transformers.AutoModel.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    values: dict[str, list[Floats]] = {}
    hooks = []
    for name, part in module.named_modules():

        def keep(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
            while isinstance(output, (tuple, list, dict)):
                output = next(iter(output.values() if isinstance(output, dict) else output))
            if isinstance(output, torch.Tensor) and output.ndim == 3:
                values.setdefault(name, []).append(output[0, 1:-1].double().numpy())

        hooks.append(part.register_forward_hook(keep))
    with torch.inference_mode():
        for text in texts:
            module(**{k: v for k, v in tokenizer(text, return_tensors="pt").items() if k != "token_type_ids"})
    for hook in hooks:
        hook.remove()
    return {k: np.concatenate(v) for k, v in values.items()}, " ".join(texts).split()


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_padding_and_batches_do_not_move_a_score(saved, family):
    capital = "symbol = upper(symbol[1]) || symbol[2:]"
    found = []
    with deepbase.connect() as db:
        db.register_dataset("sentences", SENTENCES)
        for padding in ("right", "left", "none"):
            db.register_model(padding, saved(family), padding=padding)
            for batch_size in (1, 7, 64):
                run = db.inspect(padding, "sentences", [capital, "length(symbol)"], layers="*", batch_size=batch_size)
                found.append(scores_of(run))
    values, tokens = hand_hooked(saved(family), SENTENCES)
    labels = {
        capital: np.array([t[0].isupper() for t in tokens], dtype=np.float64),
        "length(symbol)": np.array([len(t) for t in tokens], dtype=np.float64),
    }
    layers = {k[0] for k in found[0]}
    assert len(layers) >= 20
    textbook: Scores = {}
    for layer in layers:
        for name, y in labels.items():
            x = values[layer] - values[layer].mean(0)
            covariance = (x * (y - y.mean())[:, None]).mean(0)
            for u, spread in enumerate(x.std(0)):
                found_here = (covariance[u] / spread / y.std(), None) if spread else (None, "unit is constant")
                textbook[layer, u, name, "pearson"] = (*found_here, len(y), len(SENTENCES))
    for scores in found:
        assert_close(textbook, scores)


@pytest.fixture(scope="module")
def many() -> list[str]:
    """Records enough for three blocks, most of them short."""
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefgh "), rng.integers(0, 9))) or "x" for _ in range(2500)]


def test_another_seed_reads_in_another_order_and_gives_the_same_scores(reader, many):
    found, orders = [], []
    for seed in (0, 1):
        read: list[int] = []
        blocks: list[frozenset[int]] = []

        def block(_: object, read: list[int] = read, blocks: list[frozenset[int]] = blocks) -> None:
            blocks.append(frozenset(read))
            read.clear()

        @deepbase.hypothesis
        def noted(record: int, read: Any = read) -> int:
            read.append(record)
            return record % 7

        found.append(
            scores_of(deepbase.inspect(reader(), many, [has_vowel, noted], MEASURES, seed=seed, progress=block))
        )
        assert sum(map(len, blocks)) == len(frozenset().union(*blocks)) > 2000, "each record is read once"
        orders.append(blocks)
    assert len(orders[0]) == len(orders[1]) >= 3
    assert orders[0][0] != orders[1][0]
    assert_close(*found)


def test_the_same_seed_gives_the_same_scores_to_the_last_bit(reader, many):
    found = [scores_of(deepbase.inspect(reader(), many[:1500], [has_vowel], MEASURES, seed=3)) for _ in range(2)]
    assert found[0] == found[1]


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def whole(many) -> Iterator[tuple[deepbase.Database, dict[str, Any], list[int]]]:
    """A database, a request with its whole run as number 1, and how many records it had seen after each block."""
    model = deepbase.Model(nn.Sequential(nn.Embedding(128, 3), nn.Linear(3, 2)), _flat().tokenize)
    seen: list[int] = []
    late = "CASE WHEN record > 1500 THEN length(token) * position END"
    with deepbase.connect() as db:
        db.register_model("m", model)
        db.register_dataset("d", many)
        request = {"hypotheses": [has_vowel, to_the_end, "record % 10", late], "measures": MEASURES, "seed": 5}
        request.update(model="m", dataset="d", layers="*")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deepbase.engine.driver.PROGRESS_SECONDS", 1e9)
            db.inspect(**request, progress=lambda p: seen.append(p.records_seen))
        yield db, request, seen


@pytest.mark.parametrize("stop", [StopError, KeyboardInterrupt])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(whole, stop, blocks):
    db, request, seen = whole
    done = []

    def interrupt(progress: Any) -> None:
        done.append(progress.records_seen)
        if len(done) == blocks:
            raise stop

    with pytest.raises(stop):
        db.inspect(**request, progress=interrupt)
    ((stopped,),) = db.sql("SELECT max(run) FROM runs").fetchall()
    assert db.run(stopped)["records_seen"] == done[-1] == seen[blocks - 1]
    resumed = db.inspect(resume=stopped)
    assert (resumed.run["status"], resumed.run["records_seen"]) == ("done", seen[-1])
    assert resumed.run["counts"] == db.run(1)["counts"]
    assert scores_of(resumed) == scores_of(deepbase.Inspection(db, 1))


def _flat() -> deepbase.Model:
    torch.manual_seed(0)
    return deepbase.Model(nn.Embedding(128, 2), lambda text: [(ord(c) % 128, i, i + 1) for i, c in enumerate(text)])


def test_a_block_that_fails_halfway_leaves_no_trace_in_the_scores(reader, many):
    state = {"fails": False, "seen": 0}

    @deepbase.hypothesis
    def moody(record: int) -> bool:
        state["seen"] += 1
        if state["fails"] and state["seen"] > 1800:
            raise StopError
        return record % 2 == 0

    with deepbase.connect() as db:
        db.register_model("m", reader())
        db.register_dataset("d", many)
        whole = db.inspect("m", "d", [moody], MEASURES)
        state.update(fails=True, seen=0)
        with pytest.raises(deepbase.DeepBaseError, match="hypothesis 'moody' raised StopError"):
            db.inspect("m", "d", [moody], MEASURES)
        assert 0 < db.run(whole.run_id + 1)["records_seen"] < len(many)
        state.update(fails=False)
        assert scores_of(db.inspect(resume=whole.run_id + 1)) == scores_of(whole)


def test_a_stopped_run_goes_on_in_another_process_of_the_file(reader, many, tmp_path):
    def interrupt(_: object) -> None:
        raise StopError

    with deepbase.connect(tmp_path / "x.duckdb") as db:
        db.register_model("m", reader())
        db.register_dataset("d", many)
        whole = scores_of(db.inspect("m", "d", ["position % 2 = 0", "length(word)"], exact=True))
        with pytest.raises(StopError):
            db.inspect("m", "d", ["position % 2 = 0", "length(word)"], exact=True, progress=interrupt)
    with deepbase.connect(tmp_path / "x.duckdb") as db:
        db.register_model("m", reader())
        assert scores_of(db.inspect(resume=2)) == whole


def test_a_number_that_comes_late_is_as_exact_as_one_that_comes_early(many):
    """A column may be NULL in the whole first block, and its values far from zero."""
    blocks: list[object] = []
    said: dict[tuple[int, int], float] = {}

    @deepbase.hypothesis
    def late(record: int, position: int) -> float | None:
        if not blocks:
            return None
        said[record, position] = 1e9 + (record * 7 + position) % 10
        return said[record, position]

    found = scores_of(deepbase.inspect(_flat(), many[:1300], [late], exact=True, progress=blocks.append))
    x = np.stack([_flat().module.weight.detach().double().numpy()[ord(many[r][p])] for r, p in said])
    assert 500 < len(said) < sum(map(len, many[:1300])) / 2
    for unit in range(2):
        score, note, symbols, _ = found["module", unit, "late", "pearson"]
        assert score == pytest.approx(np.corrcoef(x[:, unit], np.array([*said.values()]) - 1e9)[0, 1], abs=1e-5)
        assert (note, symbols) == (None, len(said))


def test_the_outliers_of_first_tokens_do_not_spoil_what_is_said_of_others():
    """Records of one token come first, and all that they show of a unit may be its outliers."""

    class Sink(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(128, 3)
            self.units = nn.Identity()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.units(self.table(ids) + 3000.0 * (torch.arange(ids.shape[1]) == 0)[:, None])

    rng = np.random.default_rng(1)
    texts = ["a"] * 100 + ["".join(rng.choice(list("abcd"), 12)) for _ in range(300)]
    model = deepbase.Model(Sink(), lambda text: [(ord(c), i, i + 1) for i, c in enumerate(text)])
    after = "CASE WHEN position > 0 THEN symbol = 'a' END"
    found = scores_of(deepbase.inspect(model, texts, [after], layers="units", exact=True))
    rest = "".join(t[1:] for t in texts)
    x = (model.module.table.weight.detach() + 0).double().numpy()[[ord(c) for c in rest]]
    for unit in range(3):
        r = np.corrcoef(x[:, unit], [c == "a" for c in rest])[0, 1]
        assert found["units", unit, after, "pearson"][0] == pytest.approx(r, abs=1e-5)


def test_units_that_are_not_finite_or_constant_have_no_score_and_harm_no_other(corpus):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(200, 6)
            self.units = nn.Identity()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            values = self.table(ids)
            values = torch.where((ids == ord("a"))[..., None] & (torch.arange(6) == 1), torch.nan, values)
            values = torch.where((ids == ord("e"))[..., None] & (torch.arange(6) == 2), torch.inf, values)
            values = torch.where(torch.arange(6) == 3, 0.1, values)
            return self.units(values)

    def characters(text: str) -> list[tuple[int, int, int]]:
        return [(ord(c) % 200, i, i + 1) for i, c in enumerate(text)]

    found = scores_of(deepbase.inspect(deepbase.Model(Odd(), characters), corpus, [has_vowel], layers="units"))
    notes = {unit: value[1] for (_, unit, _, _), value in found.items()}
    assert notes == {
        0: None, 1: "unit has NaN or infinite activations", 2: "unit has NaN or infinite activations",
        3: "unit is constant", 4: None, 5: None,
    }  # fmt: skip
    symbols = "".join(corpus["text"].to_pylist())
    torch.manual_seed(0)
    table = nn.Embedding(200, 6).weight.detach().double().numpy()
    y = [c in "aeiouAEIOU" for c in symbols]
    for unit in (0, 4, 5):
        r = np.corrcoef(table[[ord(c) % 200 for c in symbols], unit], y)[0, 1]
        assert found["units", unit, "has_vowel", "pearson"][0] == pytest.approx(r, abs=1e-5)


@pytest.mark.parametrize("name", ['a "quoted" name', "Größe", "place", "deepbase", "SELECT", "it's"])
def test_a_column_may_have_any_name(name):
    texts = pa.table({"text": ["abc", "de", "fgh"], name: [1, 2, 4]})
    found = deepbase.inspect(_flat(), texts, [name, f"{name}=2"])
    x = _flat().module.weight.detach().double().numpy()[[ord(c) for c in "abcdefgh"], 0]
    y = np.array([1, 1, 1, 2, 2, 4, 4, 4])
    scores = scores_of(found)
    assert scores["module", 0, name, "pearson"][0] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-5)
    assert scores["module", 0, f"{name}=2", "pearson"][0] == pytest.approx(np.corrcoef(x, y == 2)[0, 1], abs=1e-5)


def test_what_is_lost_is_counted(reader, corpus):
    counts = deepbase.inspect(reader(context=6), corpus, [has_vowel]).run["counts"]
    lengths = [len(reader().tokenize(t)) - 1 for t in corpus["text"].to_pylist()]
    assert counts["records_empty"] == sum(n == 0 for n in lengths)
    assert counts["records_cut"] == sum(n > 5 for n in lengths)
    assert counts["symbols_cut"] == sum(max(n - 5, 0) for n in lengths)


def memory() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_records():
    """All behaviours of the larger dataset would take 256 MB, its labels 64 MB."""
    torch.manual_seed(0)
    model = deepbase.Model(nn.Embedding(128, 512), lambda t: [(ord(c) % 128, i, i + 1) for i, c in enumerate(t)])
    hypotheses = [f"position % {i} = 0" for i in range(2, 66)]
    most = []
    for records in (4_096, 16_384):
        texts = pa.table({"text": [f"{i:08d}" for i in range(records)]})
        peaks: list[int] = []
        watch = lambda _, p=peaks: p.append(memory())  # noqa: E731
        deepbase.inspect(model, texts, hypotheses, batch_size=256, exact=True, progress=watch)
        assert len(peaks) == records // 1024
        most.append(max(peaks[2:]))
    assert most[1] - most[0] < 100e6
