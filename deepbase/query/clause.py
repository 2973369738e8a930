"""The INSPECT clause: its grammar, read off the tokens of a statement.

    INSPECT <units> [AND <hypotheses>]
    USING <measure>[(option := value, ...)], ...
    OVER <records>
    [WITH (option := value, ...)]
    AS <alias>

It stands between the SELECT list and FROM, as in Sellam et al. 2019, section 4. What makes it a clause, and not a
column or a table that is called inspect, is the unquoted word behind a SELECT, followed by a name and a dot (or AND):
nothing that DuckDB accepts has that. Measures that need no hypothesis are asked for without one. The function form,
`FROM inspect(model := ..., ...)`, is known by its named arguments.

Nothing here knows what the names mean; values stay SQL text, which DuckDB evaluates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deepbase.errors import QueryError
from deepbase.query.lexer import Token
from deepbase.query.source import Source

MENTIONED = re.compile(r"\binspect\b", re.IGNORECASE)
"""What a text has that may hold a clause; whatever has not is DuckDB's alone."""
SHAPE = "INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S"
KEYWORDS = frozenset(
    "AND AS END FROM HAVING IN IS ISNULL NOT NOTNULL OR OVER SELECT THEN USING WHERE WITH".split()  # noqa: SIM905
)
"""Words that are no names where the clause expects one."""
CLAUSES = frozenset(("SELECT", "FROM", "WHERE", "BY", "HAVING", "QUALIFY", "LIMIT", "VALUES", "SET", "RETURNING"))
"""Words that begin a part of a statement, in which commas stand."""


@dataclass(frozen=True)
class Reference:
    """A column of one of the relations in FROM: `U.unit`."""

    relation: Token
    column: Token


@dataclass(frozen=True)
class Value:
    """An option and the SQL expression that it is set to."""

    name: Token
    value: Source


@dataclass(frozen=True)
class MeasureCall:
    """A measure with its options."""

    name: Token
    options: tuple[Value, ...]


@dataclass(frozen=True)
class Clause:
    """An INSPECT clause.

    Attributes:
        first, end: its tokens, as a range of their numbers.
        units, records: what is scored, over what.
        hypotheses: against what; None for measures that need no hypothesis.
        measures: with what.
        options: of the run.
        alias: what the scores are called.
    """

    first: int
    end: int
    units: Reference
    hypotheses: Reference | None
    records: Reference
    measures: tuple[MeasureCall, ...]
    options: tuple[Value, ...]
    alias: Token


@dataclass(frozen=True)
class Call:
    """The function form. `first` and `end` are its tokens, `alias` whether a name for it follows."""

    first: int
    end: int
    options: tuple[Value, ...]
    alias: bool


def starts_clause(tokens: Sequence[Token], i: int) -> bool:
    """Whether a clause begins at a token."""
    if tokens[i].upper != "INSPECT" or i + 2 >= len(tokens):
        return False
    name, after = tokens[i + 1 : i + 3]
    if not name.is_name or name.upper in KEYWORDS or (after.text != "." and after.upper != "AND"):
        return False
    return any(t.upper == "SELECT" for t in _before(tokens, i))


def starts_call(tokens: Sequence[Token], i: int) -> bool:
    """Whether the function form begins at a token."""
    if tokens[i].upper != "INSPECT" or i + 3 >= len(tokens) or not i:
        return False
    before = tokens[i - 1]
    if before.text != "," and before.upper not in ("FROM", "JOIN", "LATERAL"):
        return False
    if tokens[i + 1].text != "(" or not tokens[i + 2].is_name or tokens[i + 3].text != ":=":
        return False
    if before.upper == "FROM":
        return i < 2 or tokens[i - 2].upper != "DISTINCT"
    return before.text != "," or next((t.upper for t in _before(tokens, i) if t.upper in CLAUSES), "") == "FROM"


def _before(tokens: Sequence[Token], i: int) -> Iterator[Token]:
    """The tokens before one, back to the bracket or the semicolon that it stands behind; not those in brackets."""
    for j in range(i - 1, -1, -1):
        if tokens[j].depth < tokens[i].depth or (tokens[j].text == ";" and tokens[j].depth == tokens[i].depth):
            return
        if tokens[j].depth == tokens[i].depth:
            yield tokens[j]


class Reader:
    """Reads a clause or a call token by token.

    Args:
        source: the statement.
        tokens: its tokens.
        at: the number of the first one to read.
        whole: the text of the user, for messages.
    """

    def __init__(self, source: Source, tokens: Sequence[Token], at: int, whole: str) -> None:
        self.source, self.tokens, self.at, self.whole = source, tokens, at, whole
        self.what, self.hint = "INSPECT", f"Write it as in {SHAPE} FROM ..."

    def clause(self) -> Clause:
        """The clause that begins here.

        Raises:
            QueryError: where it does not go on as it should.
        """
        first = self.at
        self.at += 1
        units = self._reference("the units, such as U.unit")
        hypotheses = None
        if self._peek().upper != "USING":
            self._word("AND", "AND and the hypotheses")
            hypotheses = self._reference("the hypotheses, such as H.hypothesis")
        self._word("USING", "USING and a measure")
        measures = [self._measure()]
        while self._take(","):
            measures.append(self._measure())
        self._word("OVER", "OVER and the records")
        records = self._reference("the records, such as D.record")
        options: tuple[Value, ...] = ()
        if self._peek().upper == "WITH":
            self.at += 1
            self._mark("(", "the options of WITH in parentheses")
            options = self._values()
        self._word("AS", "AS and a name for the scores")
        alias = self._name("a name for the scores")
        if self._peek().upper != "FROM":
            raise self._expected("FROM, with the models, units, hypotheses and inputs")
        return Clause(first, self.at, units, hypotheses, records, tuple(measures), options, alias)

    def call(self) -> Call:
        """The function form that begins here.

        Raises:
            QueryError: where it does not go on as it should.
        """
        first = self.at
        self.what = "inspect(...)"
        self.hint = "Write it as in inspect(model := 'minilm', dataset := 'reviews', hypotheses := ['is_negation'])"
        self.at += 2
        options = self._values()
        after = self._peek()
        named = after.kind == "quoted" or (after.kind == "word" and after.upper not in AFTER_CALL)
        return Call(first, self.at, options, named)

    def named(self) -> tuple[Value, ...]:
        """What stands in parentheses after WITH.

        Raises:
            QueryError: where it does not go on as it should.
        """
        self.what, self.hint = "WITH", "Write it as in WITH (option = value, ...)"
        self._mark("(", "its options in parentheses")
        return self._values()

    def error(self, message: str, hint: str, token: Token) -> QueryError:
        """An error about a token, which is shown in its line."""
        return at_token(message, hint, self.source, token, self.whole)

    def _measure(self) -> MeasureCall:
        name = self._name("a measure")
        return MeasureCall(name, self._values() if self._take("(") else ())

    def _values(self) -> tuple[Value, ...]:
        """`name := value, ...)`, from behind the opening parenthesis."""
        found: list[Value] = []
        while not self._take(")"):
            if found:
                self._mark(",", "a comma or a closing parenthesis")
            name = self._name("the name of an option", but=frozenset())
            if not (self._take(":=") or self._take("=")):
                raise self._expected(f":= and the value of {name.text}")
            first = self.at
            while not self._ends_value(self._peek("a closing parenthesis"), name.depth):
                self.at += 1
            if self.at == first:
                raise self._expected(f"the value of {name.text}")
            found.append(Value(name, self.source[self.tokens[first].start : self.tokens[self.at - 1].end]))
        return tuple(found)

    @staticmethod
    def _ends_value(token: Token, depth: int) -> bool:
        return (token.text == "," and token.depth == depth) or (token.text == ")" and token.depth < depth)

    def _reference(self, what: str) -> Reference:
        relation = self._name(what)
        if not self._take("."):
            raise self.error(
                f"INSPECT needs {what}: a relation of FROM and its column", f"Write it as in {SHAPE}", relation
            )
        return Reference(relation, self._name(what))

    def _name(self, what: str, but: frozenset[str] = KEYWORDS) -> Token:
        token = self._peek(what)
        if not token.is_name or token.upper in but:
            raise self._expected(what)
        self.at += 1
        return token

    def _word(self, word: str, what: str) -> None:
        if self._peek(what).upper != word:
            raise self._expected(what)
        self.at += 1

    def _mark(self, mark: str, what: str) -> None:
        if not self._take(mark):
            raise self._expected(what)

    def _take(self, mark: str) -> bool:
        found = self.at < len(self.tokens) and self.tokens[self.at].text == mark
        self.at += found
        return found

    def _peek(self, what: str = "") -> Token:
        if self.at < len(self.tokens):
            return self.tokens[self.at]
        if what:
            raise self._expected(what)
        last = self.tokens[-1]
        return Token("mark", "", last.end, last.depth)

    def _expected(self, what: str) -> QueryError:
        token = self.tokens[min(self.at, len(self.tokens) - 1)]
        found = f"'{token.text}'" if self.at < len(self.tokens) else "the end"
        return self.error(f"{self.what} expects {what}, and found {found}", self.hint, token)


AFTER_CALL = frozenset(
    "WHERE GROUP HAVING ORDER LIMIT OFFSET QUALIFY WINDOW UNION INTERSECT EXCEPT JOIN INNER LEFT RIGHT FULL CROSS "  # noqa: SIM905
    "NATURAL ASOF POSITIONAL SEMI ANTI ON USING TABLESAMPLE SELECT PIVOT UNPIVOT".split()
)
"""What may follow the function form without being a name for it."""


def at_token(message: str, hint: str, source: Source, token: Token, whole: str) -> QueryError:
    """An error about a token of a source, which is shown in its line of the user's text."""
    place = source.origin[min(token.start, len(source) - 1)] if len(source) else 0
    return QueryError(message, hint, text=whole, at=range(place, place + len(token.text)))


def by_name(values: Sequence[Value]) -> Mapping[str, Value]:
    """Options by their names, in lower case."""
    return {v.name.name.lower(): v for v in values}
