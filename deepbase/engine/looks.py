"""When a run looks at its scores to see whether it may stop, and how sure each look has to be.

The problem. Whoever looks at an interval again and again, and stops when it pleases, stops where chance makes it look
good: twenty looks at 95 % are right far less often than 95 %.

The idea. The chance of a mistake, 1 - confidence, is spent look by look (alpha spending: Lan and DeMets 1983, "Discrete
sequential boundaries for clinical trials"). A look at n records may spend what the spending function has gained since
the last one, and its intervals have that much less of a chance to miss. The chance that any of them misses is then at
most the sum, however they depend on each other (Bonferroni), and whichever look the run stops at.

Nobody knows beforehand whether a question needs 300 records or 3 million. So the function grows with the logarithm of
what has been learned: of the number of records which would tell as much if they came from an endless source. Of a
dataset of N, n records tell as much as `n / (1 - n / N)` (`weight`), since the rest is known to be no more than N - n.
What is left, a quarter of it at least, is for the end of a run that stops for another reason than its scores: a limit
of records or of time.

Looks are at the ends of blocks, in places that depend on the data, the request and the seed alone: a run that is
repeated stops at the same record. A look takes about as long as reading 25 tokens for each hypothesis, whatever the
units; so it waits until twenty times as many have been read, and looks take no more than a twentieth of a run. Only
the first one comes after an eighth of the records at the latest: it may be all that is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepbase.inputs.stream import FIRST_RECORDS

FIRST_LOOK = FIRST_RECORDS
GROWTH = 1.5
"""By how much more has to be known than at the last look, at least."""
TOKENS = 500
"""How many tokens have to be read for each hypothesis and measure between two looks."""
LOOKS = 0.75
"""The share of the chance of a mistake that looks may spend."""
NEARLY = 0.95
"""The share of a dataset after which there is no use in looking: the rest is read."""


@dataclass(frozen=True)
class Spending:
    """How the chance of a mistake is spent.

    Attributes:
        alpha: all of it, 1 - confidence.
        total: the records that may be read.
        dataset: the records of the dataset that intervals are about; infinite for its source.
    """

    alpha: float
    total: int
    dataset: float

    def weight(self, records: float) -> float:
        """How many records of an endless source would tell as much."""
        return records / max(1 - records / self.dataset, 1e-9)

    def records(self, weight: float) -> float:
        """How many records tell as much as so many of an endless source."""
        return weight / (1 + weight / self.dataset)

    def level(self, before: int, now: int) -> float:
        """What a look may spend.

        Args:
            before: the records at the look before; 0 if there was none.
            now: the records at this one.
        """
        return self._spent(now) - self._spent(before)

    def _spent(self, records: int) -> float:
        start = FIRST_LOOK / GROWTH
        if records <= start:
            return 0.0
        last = self.weight(max(NEARLY * self.total, FIRST_LOOK))
        return LOOKS * self.alpha * min(1.0, math.log(self.weight(records) / start) / math.log(last / start))

    def rest(self, looked: int) -> float:
        """What the end of a run may spend that does not depend on its scores.

        Args:
            looked: the records at the last look; 0 if there was none.
        """
        return self.alpha - self._spent(looked)
