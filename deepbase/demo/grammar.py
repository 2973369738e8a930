"""SQL queries with their ground truth: sampled from a grammar that says what every character is part of.

To tell what a network has learnt one needs data whose structure is known. A probabilistic context-free grammar gives
both: sampling it makes a query, and the derivation, the tree of rules that made it, says for every character which
rules it is inside of. As in the paper (Sellam et al., DeepBase, SIGMOD 2019, section 4.2) every rule `X` becomes
annotations in two forms: over time (`in_X`, true from its first character to its last) and as signals (`X_start` and
`X_end`, true at the first and at the last character only).

The file `sql.pcfg` explains its own format. A grammar is refused unless its queries end: the expected number of
expansions has to be finite, which holds when the spectral radius of the matrix of expected children is below one
(Harris, The Theory of Branching Processes, 1963, chapter II).

What it leaves out: names are not resolved, so a query is well formed but may mention a column that its table would
not have. `sample` keeps the text of every query that it has given, to give none twice, and the annotations as bits;
`batches` keeps the texts alone.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate, islice, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepbase.errors import DatasetError, nearest

SHORTEST, LONGEST = 30, 150
"""How many characters a sampled query may have; shorter and longer ones are thrown away."""

BATCH = 1024
"""How many queries `batches` annotates together."""

PATIENCE = 10_000
"""How many derivations in a row may give nothing new before the grammar counts as exhausted."""

HYPOTHESES: Mapping[str, str]
"""The annotation columns of `sample`, in the order in which to print them, each with what it says of a character.

It is read from the grammar when it is first asked for.
"""

CHARACTER_CLASSES = ("letter", "digit", "space", "quote", "operator", "punctuation")
_CLASS_OF = {" ": "space", "'": "quote"} | dict.fromkeys("=<>*%", "operator")

_GENERAL = {
    "keyword": "a letter of a word of SQL in capitals: SELECT, AND, COUNT",
    "identifier": "inside the name of a table, of a column or of an alias",
    "literal": "inside a number or a quoted text",
    "depth": "how many parentheses are open, the one at the character itself included",
    "char_class": f"what kind of character it is: {', '.join(CHARACTER_CLASSES)}",
}
_IDENTIFIERS = ("table_name", "number_column", "text_column", "alias")
_LITERALS = ("number", "integer", "string", "pattern")

_TOKEN = re.compile(r'\s+|(?P<terminal>"[^"]*")|(?P<weight>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<bar>\|)')
_HEAD = re.compile(r"([A-Za-z_]\w*)\s*(?::\s*(.*))?")

Span = tuple[str, int, int]
"""A non-terminal and the characters `[start, end)` of the text that it became."""


@dataclass(frozen=True)
class Symbol:
    """A part of an alternative: a non-terminal by its name, or characters as they stand."""

    text: str
    terminal: bool


@dataclass(frozen=True)
class Rule:
    """A non-terminal.

    Attributes:
        description: what it is, as a phrase; empty for one that is not annotated.
        alternatives: what it may expand to.
        weights: how often, relative to each other.
    """

    description: str
    alternatives: tuple[tuple[Symbol, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Grammar:
    """A probabilistic context-free grammar: its rules by name, of which the first is the start."""

    rules: Mapping[str, Rule]

    @property
    def start(self) -> str:
        """The non-terminal that a query starts from."""
        return next(iter(self.rules))

    @property
    def annotated(self) -> tuple[str, ...]:
        """The non-terminals that become annotations: all whose name does not begin with `_`."""
        return tuple(name for name in self.rules if not name.startswith("_"))

    @property
    def characters(self) -> str:
        """Every character that a query may contain, once, in the order of their code points."""
        symbols = (s for rule in self.rules.values() for parts in rule.alternatives for s in parts)
        return "".join(sorted({c for s in symbols if s.terminal for c in s.text}))


@dataclass(frozen=True)
class Derivation:
    """A text that a grammar made, and how.

    Attributes:
        text: the characters.
        spans: the span of every non-terminal, in the order in which they end; empty ones are left out.
        log_probability: the natural logarithm of the product of the probabilities of the alternatives taken.
    """

    text: str
    spans: tuple[Span, ...]
    log_probability: float


def parse(source: str, name: str = "grammar") -> Grammar:
    """Read a grammar in the format that `sql.pcfg` explains.

    Args:
        source: the text of the file.
        name: what to call it in messages.

    Raises:
        DatasetError: a line cannot be read, a non-terminal is missing, unused or defined twice, or queries never end.

    >>> grammar = parse('greeting: what one says\\n    1 "hello" | 2 "hi " greeting | 3 ""')
    >>> grammar.start, grammar.rules["greeting"].weights
    ('greeting', (1.0, 2.0, 3.0))
    """
    rules: dict[str, tuple[str, list[tuple[Symbol, ...]], list[float]]] = {}
    current = ""
    for number, raw in enumerate(source.splitlines(), start=1):
        line, where = raw.rstrip(), f"{name}, line {number}"
        if not line or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            head = _HEAD.fullmatch(line)
            if head is None:
                raise DatasetError(f"{where}: {line!r} is no non-terminal.", "Write a name, or 'name: what it is'.")
            current = head[1]
            if current in rules:
                raise DatasetError(f"{where}: {current!r} is defined a second time.", "Put its alternatives together.")
            rules[current] = (head[2] or "", [], [])
        elif not current:
            raise DatasetError(f"{where}: an alternative of no non-terminal.", "Write its name above, unindented.")
        else:
            for weight, symbols in _alternatives(line, where):
                rules[current][1].append(symbols)
                rules[current][2].append(weight)
    grammar = Grammar(
        {key: Rule(about, tuple(parts), tuple(weights)) for key, (about, parts, weights) in rules.items()}
    )
    _check(grammar, name)
    return grammar


def _alternatives(line: str, where: str) -> Iterator[tuple[float, tuple[Symbol, ...]]]:
    """The weighted alternatives of an indented line."""
    parts: list[list[tuple[str, str]]] = [[]]
    at = 0
    while at < len(line):
        token = _TOKEN.match(line, at)
        if token is None:
            raise DatasetError(f"{where}: cannot read {line[at:]!r}.", 'Write weights, names, "characters" and |.')
        at = token.end()
        if token.lastgroup == "bar":
            parts.append([])
        elif token.lastgroup is not None:
            parts[-1].append((token.lastgroup, token[0]))
    for part in parts:
        kinds = [kind for kind, _ in part]
        if kinds[:1] != ["weight"] or len(kinds) < 2 or "weight" in kinds[1:] or float(part[0][1]) <= 0:
            raise DatasetError(
                f"{where}: an alternative is a weight above 0 and what it expands to.", 'Nothing is written "".'
            )
        symbols = (Symbol(text.strip('"'), kind == "terminal") for kind, text in part[1:])
        yield float(part[0][1]), tuple(s for s in symbols if s.text)


def _check(grammar: Grammar, name: str) -> None:
    """Refuse a grammar with missing or unused non-terminals, or whose queries are expected to be endless."""
    if not grammar.rules:
        raise DatasetError(f"{name}: there is no rule.", "Write a non-terminal and its alternatives.")
    index = {rule: i for i, rule in enumerate(grammar.rules)}
    children = np.zeros((len(index), len(index)))
    for parent, rule in grammar.rules.items():
        if not rule.alternatives:
            raise DatasetError(f"{name}: {parent!r} has no alternative.", "Write one below it, indented.")
        for symbols, weight in zip(rule.alternatives, rule.weights, strict=True):
            for symbol in symbols:
                if symbol.terminal:
                    continue
                if symbol.text not in index:
                    raise DatasetError(f"{name}: {parent!r} uses {symbol.text!r}.", nearest(symbol.text, index))
                children[index[parent], index[symbol.text]] += weight / sum(rule.weights)
    unused = [rule for rule, i in index.items() if i and not children[:, i].any()]
    if unused:
        raise DatasetError(f"{name}: nothing uses {unused[0]!r}.", "Use it in an alternative, or delete it.")
    radius = float(np.abs(np.linalg.eigvals(children)).max())
    if radius >= 1:
        message = f"{name}: a query may never end (spectral radius {radius:.2f}, below 1 is needed)."
        raise DatasetError(message, "Give the alternatives that do not recur more weight.")


def derive(grammar: Grammar, rng: np.random.Generator, start: str | None = None) -> Derivation:
    """Sample one derivation.

    Args:
        grammar: the rules.
        rng: where chance comes from; one number is drawn for every non-terminal that is expanded.
        start: the non-terminal to start from, by default the grammar's own.
    """
    text, length, spans, log_probability = [], 0, [], 0.0
    todo: list[Symbol | tuple[str, int]] = [Symbol(start or grammar.start, terminal=False)]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            if item[1] < length:
                spans.append((*item, length))
        elif item.terminal:
            text.append(item.text)
            length += len(item.text)
        else:
            rule = grammar.rules[item.text]
            sums = list(accumulate(rule.weights))
            chosen = bisect(sums, rng.random() * sums[-1])
            log_probability += math.log(rule.weights[chosen] / sums[-1])
            todo.append((item.text, length))
            todo.extend(reversed(rule.alternatives[chosen]))
    return Derivation("".join(text), tuple(spans), log_probability)


@cache
def sql_grammar() -> Grammar:
    """The grammar of `sql.pcfg`."""
    return parse((files("deepbase.demo") / "sql.pcfg").read_text(encoding="utf-8"), "sql.pcfg")


def derivations(seed: int, grammar: Grammar | None = None) -> Iterator[Derivation]:
    """Sample queries without end, each text once, between `SHORTEST` and `LONGEST` characters.

    One seed gives the same queries on every platform.

    Raises:
        DatasetError: the grammar has no further query of such a length.
    """
    grammar = grammar or sql_grammar()
    rng = np.random.Generator(np.random.PCG64(seed))
    seen: set[str] = set()
    failures = 0
    while failures < PATIENCE:
        found = derive(grammar, rng)
        failures += 1
        if SHORTEST <= len(found.text) <= LONGEST and found.text not in seen:
            seen.add(found.text)
            failures = 0
            yield found
    raise DatasetError(
        f"The grammar seems to have only {len(seen)} queries of {SHORTEST} to {LONGEST} characters.", "Ask for fewer."
    )


def sample(records: int, seed: int = 0) -> pa.Table:
    """Sample SQL queries and annotate their characters.

    Args:
        records: how many queries, all of them different.
        seed: the same seed gives the same queries; more records begin with the same ones.

    Returns:
        A table with one row a query: `text`, and the columns of `HYPOTHESES`. Each of these is a list with as many
        values as the text has characters: integers in `depth`, texts in `char_class`, booleans in all others.

    >>> table = sample(2)
    >>> len(table["in_where_clause"][0]) == len(table["text"][0].as_py())
    True
    """
    return pa.Table.from_batches(batches(records, seed), schema=_schema())


def batches(records: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """The rows of `sample`, made while they are read: `BATCH` queries at a time."""
    source = islice(derivations(seed), records)
    while chunk := list(islice(source, BATCH)):
        yield _annotate(chunk)


def character_class(character: str) -> str:
    """Which of `CHARACTER_CLASSES` a character of a query belongs to.

    >>> [character_class(c) for c in "a1 '=("]
    ['letter', 'digit', 'space', 'quote', 'operator', 'punctuation']
    """
    if character.isalpha():
        return "letter"
    if character.isdecimal():
        return "digit"
    return _CLASS_OF.get(character, "punctuation")


def _annotate(chunk: Sequence[Derivation]) -> pa.RecordBatch:
    """The annotations of some queries; inside, all their characters stand in one row."""
    offsets = np.cumsum([0, *(len(d.text) for d in chunk)])
    names = sql_grammar().annotated
    row = {name: i for i, name in enumerate(names)}
    inside, start, end = np.zeros((3, len(names), offsets[-1]), dtype=np.bool_)
    for derivation, first in zip(chunk, offsets.tolist(), strict=False):
        for name, begin, stop in derivation.spans:
            if name in row:
                inside[row[name], first + begin : first + stop] = True
                start[row[name], first + begin] = True
                end[row[name], first + stop - 1] = True
    text = "".join(d.text for d in chunk)
    literal = inside[[row[name] for name in _LITERALS]].any(axis=0)
    columns: dict[str, npt.NDArray[np.generic] | pa.Array] = {
        "keyword": np.array([c.isupper() for c in text]) & ~literal,
        "identifier": inside[[row[name] for name in _IDENTIFIERS]].any(axis=0),
        "literal": literal,
        "depth": np.concatenate([_depth(text[a:b]) for a, b in pairwise(offsets.tolist())]),
        "char_class": pa.array([character_class(c) for c in text], pa.string()),
    }
    for name, i in row.items():
        columns |= {f"in_{name}": inside[i], f"{name}_start": start[i], f"{name}_end": end[i]}
    lists = (pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(columns[name])) for name in _hypotheses())
    return pa.RecordBatch.from_arrays([pa.array([d.text for d in chunk]), *lists], schema=_schema())


def _depth(text: str) -> npt.NDArray[np.int64]:
    """int64[character]: how many parentheses are open; an opening and a closing one are inside of themselves."""
    opening = np.array([c == "(" for c in text], dtype=np.int64)
    closing = np.array([c == ")" for c in text], dtype=np.int64)
    return np.cumsum(opening - closing) + closing


def _schema() -> pa.Schema:
    kinds = {"depth": pa.int64(), "char_class": pa.string()}
    lists = [(name, pa.list_(kinds.get(name, pa.bool_()))) for name in _hypotheses()]
    return pa.schema([("text", pa.string()), *lists])


@cache
def _hypotheses() -> Mapping[str, str]:
    rules = sql_grammar()
    about = {name: rules.rules[name].description for name in rules.annotated}
    inside = {f"in_{name}": f"inside {text}" for name, text in about.items()}
    start = {f"{name}_start": f"the first character of {text}" for name, text in about.items()}
    end = {f"{name}_end": f"the last character of {text}" for name, text in about.items()}
    return {**_GENERAL, **inside, **start, **end}


def __getattr__(name: str) -> Mapping[str, str]:
    if name == "HYPOTHESES":
        return _hypotheses()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
