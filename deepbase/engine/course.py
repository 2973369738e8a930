"""The course of a run: from look to look, until what was asked is settled, or there is nothing left to read with.

A piece is read until its next look is due. What a look finds settled is set aside, the rest goes on. With `exact` there
are no looks. The next look is due when half as much more is known; where it is clear that the widest interval needs
more than that, later, so that looks that must fail cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepbase.engine.base import Job, RunState
from deepbase.engine.goals import Look, look
from deepbase.engine.looks import GROWTH, NEARLY
from deepbase.engine.loop import Between, Session, fold_blocks
from deepbase.engine.pieces import Piece
from deepbase.engine.results import OPEN, TIED, Scores
from deepbase.query.base import InspectSpec

SURE, FAR = 0.8, 3
"""The next look is at this share of what is likely to be enough, and at the latest at so many times what is known:
what is settled before can then be set aside."""


@dataclass
class Course:
    """A run that goes on.

    Attributes:
        job: all that is to be done.
        pieces: how far it is; the first is the one that is read.
        seconds: what says how long the run has taken.
        seen: what the last look found; None before the first.
        because: why it ended; empty as long as it goes on.
    """

    job: Job
    pieces: list[Piece]
    seconds: Callable[[], float]
    seen: Look | None = None
    because: str = ""
    _found: list[Scores] | None = None

    def run(self, session: Session, between: Between) -> Iterator[None]:
        """Go on to the end, with a stop after each block."""
        while going := [p for p in self.pieces if p.going and not p.ended]:
            piece = min(going, key=lambda p: p.state.next_block)
            self.pieces = [piece, *(p for p in self.pieces if p is not piece)]
            if self._is_due(piece):
                self._look(piece)
                continue
            begun = self.seconds()
            for state in fold_blocks(piece.job, piece.state, session, between):
                piece = self.pieces[0] = replace(piece, state=state)
                yield
                if self._is_late(begun):
                    self.because = f"the time was up ({self.job.spec.seconds:g} s)"
                    return
                begun = self.seconds()
                if self._is_due(piece):
                    break
        self.because = self._reason()

    @property
    def state(self) -> RunState:
        """How far the run is: as far as the piece that is furthest."""
        return max((p.state for p in self.pieces), key=lambda s: s.records_seen)

    @property
    def has_read_all(self) -> bool:
        """Whether no question could be answered better by reading on."""
        return all(p.job.records.unread(p.state.records_seen) <= 0 for p in self.pieces)

    def scores(self) -> list[Scores]:
        """All scores, with how they stand to what was asked; at the end of a run they are kept."""
        if self._found is not None:
            return self._found
        spec = self.job.spec
        over = [p if not p.going else replace(p, level=p.spending.rest(p.state.looked)) for p in self.pieces]
        groups = [over] if spec.top else [[p] for p in over]
        found = []
        for group in groups:
            items = [item for p in group for item in p.scores(spreads=True)]
            if spec.exact or all(p.unread <= 0 for p in group):
                found += items
                continue
            level = next((p.level for p in group if p.going), group[0].level)
            seen = look(spec, items, level, group[0].state.records_seen)
            found += [replace(i, standing=s) for i, s in zip(items, seen.standings, strict=True)]
        if not any(p.going for p in self.pieces):
            self._found = found
        return found

    def _is_due(self, piece: Piece) -> bool:
        """Whether it is time to look at a piece, which may stop before it has read all that it may."""
        state, records = piece.state, piece.job.records
        late = state.records_seen > NEARLY * records.expected
        if self.job.spec.exact or late or not state.records_seen:
            return False
        return state.records_seen >= piece.due

    def _look(self, piece: Piece) -> None:
        """Look at the scores of a piece, and set aside what is settled."""
        spec, state = self.job.spec, piece.state
        level = piece.level  # of a look at the same records, whose intervals hold for this one, too
        if state.records_seen > state.looked:
            level = piece.spending.level(state.looked, state.records_seen)
        piece = replace(piece, level=level, state=replace(state, looked=state.records_seen))
        others = self.pieces[1:]
        own = list(piece.scores(spreads=True))
        rest = [list(p.scores(spreads=True)) for p in others] if spec.top else []
        found = look(spec, [*own, *(i for items in rest for i in items)], level, state.records_seen)
        self.seen = replace(found, pairs=max(found.pairs, self.seen.pairs if self.seen else 0))
        standings = iter(found.standings)
        mine = [(item, next(standings)) for item in own]
        for i, items in enumerate(rest):
            if sum(int((next(standings) == OPEN).sum()) for _ in items) and not others[i].ended:
                others[i] = replace(others[i], going=True)  # the bound between the best and the others has moved
        spending = piece.spending
        weight = spending.weight(state.records_seen)
        due = math.ceil(spending.records(max(weight * GROWTH, min(found.enough * SURE, FAR * weight))))
        parts = piece.split(mine)
        due = max(due, state.records_seen + parts[0].between_looks)
        self.pieces = [*(replace(p, due=due) for p in parts), *others]

    def _is_late(self, begun: float) -> bool:
        """Whether another block would take the run beyond its time."""
        if self.job.spec.seconds is None:
            return False
        now = self.seconds()
        return now + (now - begun) / 2 >= self.job.spec.seconds

    def _reason(self) -> str:
        """Why there is nothing left to do."""
        records = self.job.records
        if any(p.going for p in self.pieces):
            return "the limit of records was reached" if records.limit < records.matching else "every record was read"
        spec = self.job.spec
        text = settled_text(spec)
        if tied := sum(np.count_nonzero(x.standing == TIED) for x in self.scores()):
            text += f", but for {tied:,} within {spec.tied:g} of the bound"
        return text


def settled_text(spec: InspectSpec) -> str:
    """What is so when a run stops because of its scores."""
    sure = f"at {100 * spec.confidence:g} % confidence"
    bounds = " and ".join(f"{t:g}" for t in spec.thresholds)
    if not spec.top:
        what = f"on its side of {bounds}" if bounds else f"within {spec.error:g}"
        return f"every score is {what}, {sure}"
    several = {"slice": bool(spec.group_by), "measure": len(spec.measures) > 1, "model": len(spec.models) > 1}
    within = [name for name in spec.within if several.get(name, True)]
    of = f" of each {' and '.join(within)}" if within else ""
    best = f"the best {spec.top:,}{of} {'is' if spec.top == 1 and not of else 'are'} told from the others"
    return f"{best}{f', and from {bounds}' if bounds else ''}, {sure}"
