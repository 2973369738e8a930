"""The relations of FROM, and which of them each predicate is about.

A clause names three of the relations in its FROM: the units, the hypotheses and the records. Each of them may be the
catalog's own (`units`, `hypotheses`, `inputs`), or anything with the same key columns: a view, a subquery, an earlier
inspection. `models`, `layers` and `datasets` beside them belong to them by key without a predicate, and so do the
scores. All other relations are the user's own, and are joined as the user says.

The records have two sides, since a predicate may choose the dataset (`D.dataset = M.trained_on`) or records of it
(`D.genre = 'news'`). The first kind is about all records of a dataset at once and may speak of models; the second may
not, because a score is over one set of records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deepbase.errors import QueryError, nearest
from deepbase.query.analysis import Column, Expression, Leaf, Parse, columns_of_item, leaves
from deepbase.query.clause import Clause, Reference, at_token
from deepbase.query.lexer import Token, tokens
from deepbase.query.select import FromItem, Select
from deepbase.query.source import Source

Role = Literal["units", "models", "layers", "hypotheses", "inputs", "datasets"]
KEYS: Mapping[Role, tuple[str, ...]] = {
    "units": ("model", "layer", "unit"),
    "models": ("model",),
    "layers": ("model", "layer"),
    "hypotheses": ("hypothesis",),
    "inputs": ("dataset", "record"),
    "datasets": ("dataset",),
}
"""The relations of the catalog, and the columns by which they are joined to the scores."""
OF_CATALOG: tuple[Role, ...] = ("models", "layers", "datasets")
"""Those that are known by their name alone."""
SCORES = -1
"""The number of the scores, among the relations of a query."""
RECORDS = -2
"""The number of the records of a dataset, as opposed to the dataset."""

Describe = Callable[[Source, Sequence[Source]], Mapping[str, str]]
"""An item of FROM, and those before it that it mentions with all between; its columns and their types."""


@dataclass(frozen=True)
class Relation:
    """An item of FROM.

    Attributes:
        number: its place.
        item: its text.
        leaves: the relations that it is made of; one, unless it is a join tree.
        types: its columns, in lower case, and their types.
        roles: what it is to the clause.
        uses: the numbers of the relations that it mentions, if it is LATERAL.
        defined: whether its name is that of a WITH list.
    """

    number: int
    item: FromItem
    leaves: tuple[Leaf, ...]
    types: Mapping[str, str]
    roles: Mapping[Role, Leaf]
    uses: frozenset[int]
    defined: bool

    @property
    def is_single(self) -> bool:
        """Whether it is one relation rather than a join tree."""
        return len(self.leaves) == 1

    def is_plain(self, role: Role) -> bool:
        """Whether it is the catalog's own relation of a role, and nothing else."""
        leaf = self.roles.get(role)
        if leaf is None or self.defined or not self.is_single:
            return False
        return is_catalog(leaf, role) and leaf.plain and not leaf.columns


@dataclass(frozen=True)
class Predicate:
    """A predicate and what it is about.

    Attributes:
        expression: what it says.
        relations: the relations that it mentions; RECORDS for the records, SCORES for the scores.
        scores: the columns of the scores that it mentions, with their places.
        implied: whether a USING says it already, so that it only tells what belongs together.
    """

    expression: Expression
    relations: frozenset[int]
    scores: tuple[Column, ...] = ()
    implied: bool = False

    @property
    def text(self) -> Source:
        """Its text."""
        return self.expression.source


class Scope:
    """The relations that a clause sees, and how a name is resolved in it.

    Args:
        select: the SELECT.
        clause: its clause.
        parse: DuckDB's parser.
        describe: gives the columns of an item of FROM.
        score_columns: the columns of the scores.
        aggregates: the names of all aggregates.
        whole: the text of the user, for messages.

    Raises:
        QueryError: if the clause names a relation that FROM does not have, or lacks a key, or takes a name twice.
    """

    def __init__(
        self,
        select: Select,
        clause: Clause,
        *,
        parse: Parse,
        describe: Describe,
        score_columns: Iterable[str],
        aggregates: frozenset[str],
        whole: str,
    ) -> None:
        self.select, self.clause, self.parse, self.whole = select, clause, parse, whole
        self.score_columns = frozenset(score_columns)
        self.aggregates = aggregates
        self.listed = Expression(select.columns, parse, select.window.text)
        defined = {tokens(table.text)[0].name.lower() for table in select.tables}
        made = [(item, leaves(item.text, parse)) for item in select.items]
        self.aliases = {leaf.alias.lower(): n for n, (_, several) in enumerate(made) for leaf in several}
        if clause.alias.name.lower() in self.aliases:
            raise self.error(
                f"the name '{clause.alias.name}' is taken twice, by the scores and by a relation of FROM",
                "Call the scores something else, as in AS S.",
                clause.alias,
            )
        named = {
            role: self._named(reference, role)
            for role, reference in (
                ("units", clause.units),
                ("hypotheses", clause.hypotheses),
                ("inputs", clause.records),
            )
            if reference is not None
        }
        uses = [self._uses(number, item) for number, (item, _) in enumerate(made)]
        self.relations = tuple(
            Relation(
                number=number,
                item=item,
                leaves=several,
                types={
                    name.lower(): kind
                    for name, kind in describe(
                        item.text, [i.text for i in select.items[:number]] if uses[number] else []
                    ).items()
                },
                roles={role: leaf for leaf in several for role in _roles(leaf, named, defined)},
                uses=uses[number],
                defined=any(leaf.table.lower() in defined and not leaf.schema for leaf in several),
            )
            for number, (item, several) in enumerate(made)
        )
        self._check_keys("units", clause.units)
        if clause.hypotheses:
            self._check_keys("hypotheses", clause.hypotheses)
        self._check_keys("inputs", clause.records)

    def error(self, message: str, hint: str, token: Token) -> QueryError:
        """An error about a token of the statement."""
        return at_token(message, hint, self.select.source, token, self.whole)

    def error_at(self, message: str, hint: str, text: Source, start: int = 0, end: int | None = None) -> QueryError:
        """An error about a part of a piece of the statement."""
        first = text.origin[start] if text.origin else 0
        return QueryError(
            message, hint, text=self.whole, at=range(first, first + (len(text) if end is None else end) - start)
        )

    def of(self, role: Role) -> Relation | None:
        """The relation that has a role."""
        return next((r for r in self.relations if role in r.roles), None)

    def required(self, role: Role) -> Relation:
        """A relation that the clause names."""
        return next(r for r in self.relations if role in r.roles)

    def owner(self, column: Column) -> tuple[int, str] | None:
        """The relation that a column is of, and its name there; None for what no relation has."""
        names = [n.lower() for n in column.names]
        if len(names) > 1 and names[0] == self.clause.alias.name.lower():
            return SCORES, names[1]
        if len(names) > 1 and names[0] in self.aliases:
            return self.aliases[names[0]], names[1]
        if column.nested:  # a name without its relation belongs to the subquery
            return None
        having = [r for r in self.relations if names[0] in r.types]
        for role, keys in KEYS.items():
            for relation in having:
                if role in relation.roles and names[0] in keys:
                    return relation.number, names[0]
        if having:
            return having[0].number, names[0]
        return (SCORES, names[0]) if names[0] in self.score_columns else None

    def predicate(self, text: Source, *, implied: bool = False) -> Predicate:
        """A predicate, bound."""
        expression = Expression(text, self.parse)
        found: set[int] = set()
        scores = []
        inputs = self.required("inputs").number
        for column in expression.columns:
            owner = self.owner(column)
            if owner is None:
                continue
            number, name = owner
            if number == SCORES:
                scores.append(column)
            found.add(RECORDS if number == inputs and name != "dataset" else number)
        return Predicate(expression, frozenset(found), tuple(scores), implied)

    def predicates(self) -> Iterator[Predicate]:
        """The predicates of WHERE and of the joins."""
        for text in self.select.conditions:
            yield self.predicate(text)
        for relation in self.relations:
            for name in relation.item.using:
                left = next((r for r in reversed(self.relations[: relation.number]) if name.lower() in r.types), None)
                if left is not None:
                    one, other = (f"{quoted(r.leaves[0].alias)}.{quoted(name)}" for r in (left, relation))
                    made = Source.made(f"{one} = {other}", relation.item.text.origin[0])
                    yield self.predicate(made, implied=not relation.roles)

    def _named(self, reference: Reference, role: str) -> str:
        """The alias of the relation that the clause means."""
        name = reference.relation.name.lower()
        if name not in self.aliases:
            raise self.error(
                f"FROM has no relation '{reference.relation.name}', which INSPECT takes its {role} from",
                nearest(reference.relation.name, self.aliases) if self.aliases else f"Add {role} to FROM.",
                reference.relation,
            )
        return name

    def _uses(self, number: int, item: FromItem) -> frozenset[int]:
        """The relations that an item mentions, as a lateral one does."""
        names = (columns[0].lower() for columns in columns_of_item(item.text, self.parse))
        return frozenset(self.aliases[name] for name in names if name in self.aliases) - {number}

    def _check_keys(self, role: Role, reference: Reference) -> None:
        relation, last = self.required(role), KEYS[role][-1]
        if reference.column.name.lower() != last:
            raise self.error(
                f"INSPECT takes the {last} of '{reference.relation.name}', not its '{reference.column.name}'",
                f"Write {reference.relation.text}.{last}.",
                reference.column,
            )
        if missing := [key for key in KEYS[role] if key not in relation.types]:
            raise self.error(
                f"'{reference.relation.name}' has no column '{missing[0]}', which its {role} are known by",
                f"Its columns are: {', '.join(relation.types)}.",
                reference.relation,
            )


def _roles(leaf: Leaf, named: Mapping[str, str], defined: Iterable[str]) -> Iterator[Role]:
    """What a relation is to the clause."""
    for role in KEYS:
        by_name = role in OF_CATALOG and is_catalog(leaf, role) and leaf.table.lower() not in defined
        if by_name or named.get(role) == leaf.alias.lower():
            yield role


def is_catalog(leaf: Leaf, role: Role) -> bool:
    """Whether a relation has the name of the catalog's own of a role."""
    return leaf.table.lower() == role and leaf.schema.lower() in ("", "main")


def components(scope: Scope, predicates: Sequence[Predicate]) -> list[frozenset[int]]:
    """Which relations belong together, because a predicate, a key or a LATERAL joins them.

    The relation of the records stands for the dataset; RECORDS for its records.
    """
    numbers = [*range(len(scope.relations)), RECORDS]
    together: dict[int, set[int]] = {n: {n} for n in numbers}

    def join(several: Iterable[int]) -> None:
        merged = set().union(*(together[n] for n in several))
        for n in merged:
            together[n] = merged

    inputs = scope.required("inputs").number
    keyed: tuple[tuple[Role, ...], ...] = (("units", "models", "layers"), ("inputs", "datasets"))
    for roles in keyed:
        join([r.number for r in scope.relations if any(role in r.roles for role in roles)])
    for relation in scope.relations:
        join([relation.number, *(RECORDS if n == inputs else n for n in relation.uses)])
    for predicate in predicates:
        join([n for n in predicate.relations if n != SCORES])
    return [frozenset(x) for x in {id(together[n]): together[n] for n in numbers}.values()]


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
