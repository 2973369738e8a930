"""The statements that DuckDB does not have: CREATE MODEL, DROP DATASET, SHOW RUNS, DESCRIBE MODEL and their kin.

    CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name FROM 'source' [WITH (option = value, ...)]
    CREATE [OR REPLACE] DATASET [IF NOT EXISTS] name FROM 'source' [WITH (text = 'column')]
    CREATE [OR REPLACE] DATASET [IF NOT EXISTS] name AS SELECT ...
    CREATE [OR REPLACE] HYPOTHESIS [IF NOT EXISTS] name AS expression
    CREATE [OR REPLACE] HYPOTHESIS name FROM 'file.py:function'
    CREATE [OR REPLACE] HYPOTHESES FROM 'file.py'
    CREATE [OR REPLACE] MEASURES FROM 'file.py'
    DROP MODEL | DATASET | HYPOTHESIS | MEASURE | RUN [IF EXISTS] name
    SHOW MODELS | DATASETS | HYPOTHESES | MEASURES | RUNS
    DESCRIBE MODEL | DATASET | HYPOTHESIS | MEASURE | RUN name

They do what the commands of the command line do, with the same messages. An option of a model that is none of those for
loading it is a tag: a column of `models`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepbase import catalog, runs
from deepbase.catalog import DatasetRow, ModelRow, Noun
from deepbase.errors import QueryError, nearest
from deepbase.query.clause import Reader, Value, at_token, by_name
from deepbase.query.lexer import Token, tokens
from deepbase.query.source import Source

if TYPE_CHECKING:
    from deepbase.database import Database

NOUNS: Mapping[str, Noun] = {
    "MODEL": "model",
    "DATASET": "dataset",
    "HYPOTHESIS": "hypothesis",
    "MEASURE": "measure",
    "RUN": "run",
}
SEVERAL = ("HYPOTHESES", "MEASURES")
"""What a file may hold several of."""
LISTS: Mapping[str, str] = {
    "MODELS": "SELECT model, architecture, parameters, context, padding, * EXCLUDE (model, architecture, parameters, "
    "context, padding, source, fingerprint, options, registered), source FROM models ORDER BY model",
    "DATASETS": "SELECT dataset, records, source FROM datasets ORDER BY dataset",
    "HYPOTHESES": "SELECT hypothesis, kind, description, source FROM hypotheses ORDER BY hypothesis",
    "RUNS": "SELECT run, date_trunc('second', started) AS started, status, "
    "array_to_string(CAST(spec->'models' AS VARCHAR[]), ', ') AS models, spec->>'dataset' AS dataset, records_seen, "
    "symbols_seen, round(seconds, 1) AS seconds, stopped_because FROM runs ORDER BY run",
}
"""What is listed of the things that have names; measures are listed with those that DeepBase brings along."""
DETAILS: Mapping[Noun, str] = {
    "model": "SELECT layer, layer_index, width, kind FROM layers WHERE model = {name} ORDER BY layer_index",
    "dataset": 'SELECT c.name AS "column", c.level, c.kind, c.values FROM (SELECT unnest(from_json(columns, '
    '\'[{{"name": "VARCHAR", "level": "VARCHAR", "kind": "VARCHAR", "values": "VARCHAR[]"}}]\')) AS c '
    "FROM datasets WHERE dataset = {name})",
    "hypothesis": "SELECT * FROM hypotheses WHERE hypothesis = {name}",
    "run": "SELECT * FROM runs WHERE run = {name}",
}
"""What is shown of one of them."""
LOADING = ("tokenize", "tokenizer", "padding", "allow_pickle", "trust_remote_code")

Evaluate = Callable[[Source], Any]
"""The value of an SQL expression."""
Tell = Callable[[str], None]
"""Says what was done."""


def model_told(row: ModelRow) -> str:
    """What is said of a model that was registered."""
    units = sum(layer.width for layer in row.layers)
    return f"registered model {row.model}: {row.architecture}, {len(row.layers)} layers, {units:,} units"


def dataset_told(row: DatasetRow) -> str:
    """What is said of a dataset that was registered."""
    return f"registered dataset {row.dataset}: {row.records:,} records"


def hypotheses_told(found: Sequence[str], source: str) -> list[str]:
    """What is said of hypotheses that were registered."""
    told = [f"registered hypothesis {one}" for one in found]
    return told or [f"{source} is known already, and needs no registering"]


def measures_told(found: Sequence[str]) -> list[str]:
    """What is said of measures that were registered."""
    return [f"registered measure {one}" for one in found]


def list_query(database: Database, what: str) -> str:
    """The query that lists things of a kind, such as `MODELS`."""
    return database.measures.listed() if what == "MEASURES" else LISTS[what]


def is_ours(found: Sequence[Token]) -> bool:
    """Whether the tokens of a statement begin one of these."""
    words = [t.upper for t in found[:4]] + [""] * 4
    if words[0] == "CREATE":
        word = words[3] if words[1:3] == ["OR", "REPLACE"] else words[1]
        return word in ("MODEL", "DATASET", "HYPOTHESIS", *SEVERAL)
    if words[0] == "DROP":
        return words[1] in NOUNS
    if words[0] == "SHOW":
        return words[1] in (*LISTS, "MEASURES") and len(found) == 2
    return words[0] in ("DESCRIBE", "DESC") and words[1] in NOUNS and len(found) == 3


@dataclass
class Ours:
    """One of these statements, read word by word.

    Args:
        database: what it is about.
        source: its text.
        whole: the text of the user.
        evaluate: gives the value of an expression.
        tell: says what was done.
    """

    database: Database
    source: Source
    whole: str
    evaluate: Evaluate
    tell: Tell

    def __post_init__(self) -> None:
        self.tokens = tokens(self.source.text)
        self.at = 0

    def run(self) -> str | None:
        """Do what it says.

        Returns:
            The query that gives its answer; None for a statement that gives none.

        Raises:
            DeepBaseError: if it cannot be understood, or done.
        """
        word = self._word("CREATE", "DROP", "SHOW", "DESCRIBE", "DESC")
        if word == "SHOW":
            return list_query(self.database, self._word(*LISTS, "MEASURES"))
        if word in ("DESCRIBE", "DESC"):
            noun = NOUNS[self._word(*NOUNS)]
            return self._describe(noun, self._name(noun))
        if word == "DROP":
            self._drop()
            return None
        self._create()
        return None

    def _describe(self, noun: Noun, name: str) -> str:
        show: Mapping[Noun, Callable[[str], Any]] = {
            "model": self.database.model,
            "dataset": self.database.dataset,
            "hypothesis": lambda name: vars(self.database.hypothesis(name)),
            "measure": self.database.measure,
            "run": lambda run: self.database.run(runs.number(run)),
        }
        known = show[noun](name)
        if noun in ("hypothesis", "measure"):  # it may be one that DeepBase brings along, which is in no table
            return "SELECT " + ", ".join(f"{_constant(v)} AS {catalog.quoted(k)}" for k, v in known.items())
        return DETAILS[noun].format(name=catalog.literal(name))

    def _drop(self) -> None:
        noun = NOUNS[self._word(*NOUNS)]
        optional = self._optional("IF", "EXISTS")
        name = self._name(noun)
        self._end()
        if optional and name not in self._names(noun):
            return
        self.database.remove(noun, name)
        self.tell(f"removed {noun} {name}")

    def _create(self) -> None:
        replace = self._optional("OR", "REPLACE")
        word = self._word("MODEL", "DATASET", "HYPOTHESIS", *SEVERAL)
        if word in SEVERAL:
            self._word("FROM")
            source = str(self._value(f"a file, such as 'my_{word.lower()}.py'"))
            self._end()
            if word == "MEASURES":
                self._told(measures_told(self.database.register_measures(source, replace=replace)))
            else:
                self._told(hypotheses_told(self.database.register_hypotheses(source, replace=replace), source))
            return
        noun = NOUNS[word]
        only_new = self._optional("IF", "NOT", "EXISTS")
        token = self._peek()
        name = self._name(noun)
        if only_new and name in self._names(noun):
            return
        if noun == "hypothesis":
            self._create_hypothesis(name, replace)
        elif self._peek().upper == "AS" and noun == "dataset":
            query = self._rest(self.at + 1, "a query")
            self._told([dataset_told(self.database.register_dataset(name, query.text, replace=replace))])
        else:
            self._word("FROM")
            source = self._value("its source, such as 'path/to/it'")
            options = self._options()
            self._told([self._register(noun, name, source, options, replace, token)])

    def _create_hypothesis(self, name: str, replace: bool) -> None:
        if self._word("AS", "FROM") == "AS":
            source = self._rest(self.at, "an expression").text
        else:
            source = str(self._value("a function, such as 'my_hypotheses.py:is_title'"))
            self._end()
        self._told(hypotheses_told(self.database.register_hypotheses(source, name=name, replace=replace), source))

    def _register(
        self, noun: Noun, name: str, source: Any, given: Mapping[str, Value], replace: bool, token: Token
    ) -> str:
        known = LOADING if noun == "model" else ("text",)
        options = {key: self.evaluate(value.value) for key, value in given.items()}
        for key, value in given.items():
            close = difflib.get_close_matches(key, known, cutoff=0.75)
            if key not in known and (noun == "dataset" or close):
                raise at_token(
                    f"unknown option '{value.name.name}'", nearest(key, known), self.source, value.name, self.whole
                )
        if noun == "dataset":
            return dataset_told(self.database.register_dataset(name, source, replace=replace, **options))
        loading = {k: v for k, v in options.items() if k in LOADING}
        loading["tokenize"] = loading.pop("tokenizer", loading.get("tokenize"))
        tags = {given[k].name.name: v for k, v in options.items() if k not in LOADING}
        return model_told(self.database.register_model(name, source, replace=replace, tags=tags, **loading))

    def _options(self) -> Mapping[str, Value]:
        found: Mapping[str, Value] = {}
        if self._peek().upper == "WITH":
            reader = Reader(self.source, self.tokens, self.at + 1, self.whole)
            found = by_name(reader.named())
            self.at = reader.at
        self._end()
        return found

    def _names(self, noun: Noun) -> list[str]:
        with self.database.store.session() as cursor:
            return catalog.names(cursor, noun)

    def _told(self, messages: Sequence[str]) -> None:
        for message in messages:
            self.tell(message)

    def _peek(self) -> Token:
        if self.at < len(self.tokens):
            return self.tokens[self.at]
        last = self.tokens[-1]
        return Token("mark", "", last.end, last.depth)

    def _word(self, *words: str) -> str:
        word = self._peek().upper
        if word not in words:
            raise self._expected(" or ".join(words))
        self.at += 1
        return word

    def _optional(self, *words: str) -> bool:
        found = tuple(t.upper for t in self.tokens[self.at : self.at + len(words)]) == words
        self.at += len(words) * found
        return found

    def _name(self, noun: Noun) -> str:
        """A name: words and quoted names, joined by dots and dashes as they come, a text, or a run's number."""
        token = self._peek()
        first = token.start
        if token.kind == "string":
            self.at += 1
            return str(self.evaluate(self.source[token.start : token.end]))
        if token.kind == "quoted":
            self.at += 1
            return token.name
        end = first
        while self._peek().start == end or end == first:
            token = self._peek()
            if not token.text or (token.kind not in ("word", "number") and token.text not in ("-", ".", ":")):
                break
            end = token.end
            self.at += 1
        if end == first:
            raise self._expected(f"the name of a {noun}")
        return self.source.text[first:end]

    def _value(self, what: str) -> Any:
        token = self._peek()
        if token.kind not in ("string", "parameter"):
            raise self._expected(what)
        self.at += 1
        return self.evaluate(self.source[token.start : token.end])

    def _rest(self, at: int, what: str) -> Source:
        self.at = at
        if at >= len(self.tokens):
            raise self._expected(what)
        return self.source[self.tokens[at].start : self.tokens[-1].end]

    def _end(self) -> None:
        if self.at < len(self.tokens):
            raise self._expected("the end of the statement")

    def _expected(self, what: str) -> QueryError:
        token = self._peek()
        found = "the end" if not token.text else token.text if token.kind == "string" else f"'{token.text}'"
        words = " ".join(
            t.upper for t in self.tokens[:4] if t.upper in ("CREATE", "DROP", "DESCRIBE", *NOUNS, *SEVERAL)
        )
        message = f"{words} expects {what}, and found {found}"
        return at_token(message, "See docs/sql.md for the statements.", self.source, token, self.whole)


def _constant(value: Any) -> str:
    """A fact as an SQL constant; an empty text is none."""
    if value is None or value == "":
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r}::DOUBLE" if isinstance(value, float) else catalog.literal(str(value))
