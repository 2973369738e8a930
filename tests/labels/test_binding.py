"""What a request for hypotheses means: names, columns, values, globs and SQL, in this order."""

from __future__ import annotations

from typing import Literal

import duckdb
import pytest

from deepbase.blocks import Column
from deepbase.errors import HypothesisError
from deepbase.inputs.symbols import symbols_schema
from deepbase.labels.base import Label, Registered
from deepbase.labels.binding import bind
from deepbase.labels.evaluate import expression_type, register_functions
from deepbase.labels.hypothesis import hypothesis

COLUMNS = [
    Column("upos", "word", "category", ("NOUN", "VERB", "ADJ")),
    Column("feats", "word", "category", ("Number=Plur", "Number=Sing", "Case=Nom"), multiple=True),
    Column("head", "word", "number", integer=True),
    Column("lemma", "word", "category", None),
    Column("genre", "record", "category", ("news", "it's a [list]")),
    Column("spoken", "record", "boolean"),
]
SYMBOLS = "record, position, symbol, token, start, end, word, word_index, text, upos, feats, head, lemma, genre, spoken"


@hypothesis
def is_capital(word: str) -> bool:
    return word[:1].isupper()


@hypothesis
def is_last(token: list[str]) -> list[bool]:
    return [False] * (len(token) - 1) + [True]


@hypothesis
def shape(word: str) -> Literal["upper", "lower"]:
    return "upper" if word.isupper() else "lower"


@hypothesis
def misspelled(wrod: str) -> bool:
    return True


@hypothesis
def misspelled_list(wrod: list[str]) -> list[bool]:
    return [True] * len(wrod)


FUNCTIONS = [is_capital, is_last, shape, misspelled, misspelled_list]
REGISTERED = {
    **{f.name: Registered(f.name, f.kind, "python", f.fingerprint, "", function=f) for f in FUNCTIONS},
    "is_long": Registered("is_long", "boolean", "sql", "", "", expression="length(word) > 6"),
    "loud": Registered("loud", None, "sql", "", "", expression="upper(word)"),
}


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as found:
        register_functions(found, FUNCTIONS)
        yield found


@pytest.fixture
def resolve(connection):
    """`resolve(*requests)`: the labels."""

    def run(*requests: str, registered: dict[str, Registered] = REGISTERED, columns: list[Column] = COLUMNS):
        schema = symbols_schema(columns, "token")
        return bind(requests, registered, columns, lambda e: expression_type(connection, e, schema))

    return run


@pytest.fixture
def refused(resolve):
    """`refused(*requests)`: the whole text of the error."""

    def run(*requests: str, **options) -> str:
        with pytest.raises(HypothesisError) as error:
            resolve(*requests, **options)
        return str(error.value)

    return run


def names(labels: tuple[Label, ...]) -> list[str]:
    return [x.name for x in labels]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("is_capital", ["is_capital"]),
        ("shape", ["shape=upper", "shape=lower"]),
        ("shape=upper", ["shape=upper"]),
        ("shape=?pper", ["shape=upper"]),
        ("is_long", ["is_long"]),
        ("upos", ["upos=NOUN", "upos=VERB", "upos=ADJ"]),
        ("upos=VERB", ["upos=VERB"]),
        ("upos=*[BJ]", ["upos=VERB", "upos=ADJ"]),
        ("feats", ["feats=Number=Plur", "feats=Number=Sing", "feats=Case=Nom"]),
        ("feats=Number=Plur", ["feats=Number=Plur"]),
        ("feats=Number=*", ["feats=Number=Plur", "feats=Number=Sing"]),
        ("Number=Plur", ["feats=Number=Plur"]),
        ("head", ["head"]),
        ("head=3", ["head=3"]),
        ("spoken", ["spoken"]),
        ("spoken=false", ["spoken=false"]),
        ("lemma=be", ["lemma=be"]),
        ("lemma=?", ["lemma=?"]),
        ("genre=it's a [list]", ["genre=it's a [list]"]),
        ("is_*", ["is_capital", "is_last", "is_long"]),
        ("*=N*", ["upos=NOUN", "feats=Number=Plur", "feats=Number=Sing", "feats=Case=Nom"]),
        ("[hs]*", ["shape=upper", "shape=lower", "head", "spoken"]),
        ("is_capital(token)", ["is_capital(token)"]),
        ("length(word) > 6", ["length(word) > 6"]),
        ("2 * head > 6", ["2 * head > 6"]),
        ("upos = 'NOUN'", ["upos = 'NOUN'"]),
        ("upos='NOUN'", ["upos='NOUN'"]),
        ("upos=='NOUN'", ["upos=='NOUN'"]),
        ("is_last -- a list\n", None),
        ('"upos" IN (\'NOUN\', \'ADJ\') -- a comment', ['"upos" IN (\'NOUN\', \'ADJ\') -- a comment']),
    ],
)  # fmt: skip
def test_a_request_names_hypotheses(resolve, refused, request_, expected):
    if expected is None:
        assert refused(request_).startswith("cannot understand the hypothesis")
    else:
        assert names(resolve(request_)) == expected


def test_labels_say_how_they_are_computed(resolve):
    found = {x.name: x for x in resolve("upos=NOUN", "Case=Nom", "head", "head=3", "shape=upper", "is_last", "is_long")}
    assert [(x.kind, x.expression, x.value, x.multiple) for x in found.values()] == [
        ("boolean", '"upos"', "NOUN", False),
        ("boolean", '"feats"', "Case=Nom", True),
        ("number", '"head"', None, False),
        ("boolean", "\"head\" = '3'", None, False),
        ("boolean", '"shape"("word")', "upper", False),
        ("boolean", '"is_last"("token")', None, False),
        ("boolean", "length(word) > 6", None, False),
    ]
    assert found["shape=upper"].function is shape
    assert found["is_last"].fingerprint == is_last.fingerprint
    assert len({x.fingerprint for x in found.values()}) == len(found)


def test_every_hypothesis_comes_once_and_in_order(resolve):
    assert names(resolve("upos=VERB", "is_long", "upos", "upos=V*", "is_*")) == [
        "upos=VERB", "is_long", "upos=NOUN", "upos=ADJ", "is_capital", "is_last"
    ]  # fmt: skip


def test_names_and_values_with_quotes_are_no_sql(resolve):
    columns = [Column('odd "name"', "word", "number"), Column("it's", "word", "boolean")]
    found = resolve('odd "name"', "odd \"name\"=1 or 'x'", "it's", columns=columns, registered={})
    assert [x.expression for x in found] == ['"odd ""name"""', "\"odd \"\"name\"\"\" = '1 or ''x'''", '"it\'s"']


def test_a_registered_sql_hypothesis_goes_by_its_name_and_one_that_is_not_by_its_text(resolve):
    known, text = resolve("is_long", "length(word) > 6")
    assert (known.name, text.name) == ("is_long", "length(word) > 6")
    assert known.expression == text.expression


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("position", "number"),
        ("position * 0.5", "number"),
        ("1.5::DECIMAL(4, 2) + position", "number"),
        ("position::UTINYINT", "number"),
        ("position::HUGEINT", "number"),
        ("position::FLOAT", "number"),
        ("word IS NULL", "boolean"),
        ("CASE WHEN spoken THEN head END", "number"),
        ("row_number() OVER (PARTITION BY record ORDER BY position)", "number"),
    ],
)
def test_the_type_of_an_expression_says_the_kind(resolve, sql, kind):
    assert [x.kind for x in resolve(f"({sql})")] == [kind]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (("uops",), "unknown hypothesis 'uops'. Did you mean 'upos' or 'upos=ADJ'?"),
        (("uops=NOUN",), "unknown hypothesis 'uops=NOUN'. Did you mean 'upos=NOUN'?"),
        (("upos=",), "unknown hypothesis 'upos='. Did you mean 'upos' or 'upos=ADJ' or 'upos=VERB'?"),
        (("Number=Dual",), "unknown hypothesis 'Number=Dual'. "
            "Did you mean 'feats=Number=Plur' or 'feats=Number=Sing'?"),
        (("upos=NUON",), "column 'upos' never has the value 'NUON'. Did you mean 'NOUN'?"),
        (("upos=X*",), "column 'upos' never has the value 'X*'. There are: NOUN, VERB, ADJ."),
        (("feats=Number",), "column 'feats' never has the value 'Number'. "
            "Did you mean 'Number=Sing' or 'Number=Plur'?"),
        (("shape=title",), "hypothesis 'shape' never has the value 'title'. There are: upper, lower."),
        (("lemma",), "column 'lemma' has more than 1,000 values, each of which would be a hypothesis. "
            "Name the ones you want: lemma=VALUE."),
        (("loud",), "hypothesis 'loud' gives VARCHAR, which is neither boolean nor a number. "
            "Compare it with a value, as in upper(upos) = 'NOUN'."),
        (("[position]",), "hypothesis '[position]' gives INTEGER[], which is neither boolean nor a number. "
            "Compare it with a value, as in upper(upos) = 'NOUN'."),
    ],
)  # fmt: skip
def test_a_request_that_means_nothing_is_refused(refused, requests, message):
    assert refused(*requests) == message


@pytest.mark.parametrize(
    ("request_", "shown", "why"),
    [
        ("misspelled", '"misspelled"("wrod")', 'Binder Error: Referenced column "wrod" not found in FROM clause!'),
        ("misspelled_list", '"misspelled_list"(["wrod"])', 'Binder Error: Referenced column "wrod" not found in FROM'
            " clause!"),
        ("wrod > 6", "wrod > 6", 'Binder Error: Referenced column "wrod" not found in FROM clause!'),
        ("length(", "length(", 'Parser Error: syntax error at or near "FROM".'),
        ("count(*) > 3", "count(*) > 3", 'Binder Error: column "position" must appear in the GROUP BY clause or must be'
            " part of an aggregate function."),
    ],
)  # fmt: skip
def test_sql_that_does_not_fit_the_symbols_is_refused_before_anything_runs(refused, request_, shown, why):
    assert refused(request_) == (
        f"cannot understand the hypothesis '{shown}': {why} The columns of the symbols are: {SYMBOLS}."
    )


@pytest.mark.parametrize("request_", ["upos", "upos=NOUN"])
def test_a_name_that_is_a_hypothesis_and_a_column_is_refused(refused, request_):
    registered = {"upos": Registered("upos", "category", "python", "", "", function=shape)}
    assert refused(request_, registered=registered) == (
        "two hypotheses are called 'upos': a registered one and a column of the dataset. Rename one of them."
    )


def test_a_name_for_two_things_is_refused(refused):
    registered = {
        "shape": REGISTERED["shape"],
        "shape=upper": Registered("shape=upper", "boolean", "sql", "", "", expression="word = upper(word)"),
    }
    assert refused("shape=upper", "shape", registered=registered) == (
        "two hypotheses are called 'shape=upper'. Rename one of them."
    )


def test_the_columns_that_symbols_always_have_are_hypotheses() -> None:
    import deepbase

    @deepbase.hypothesis
    def has_o(token: str) -> bool:
        return "o" in token

    import torch

    class Codes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.units = torch.nn.Identity()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            place = torch.arange(ids.shape[1], dtype=torch.float32).expand(ids.shape)
            return self.units(torch.stack([place, (ids == 1).float()], dim=-1))

    def tokenize(text: str) -> list[tuple[int, int, int]]:
        return [(int(c == "o"), i, i + 1) for i, c in enumerate(text)]

    found = deepbase.inspect(deepbase.Model(Codes(), tokenize), ["good", "a dog"], ["position", "token=o", has_o])
    scores = {(h, u): s for h, u, s in found.scores.project("hypothesis, unit, unit_score").fetchall()}
    assert scores["position", 0] == pytest.approx(1)
    assert scores["token=o", 1] == pytest.approx(1)
    assert scores["has_o", 1] == pytest.approx(1)
    assert len(scores) == 6
