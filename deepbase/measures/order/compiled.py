"""The loops that run over every symbol of every unit, compiled by numba when they are first needed.

Each is plain Python over NumPy arrays, compiled for one set of types, without the interpreter's lock: blocks of units
go to as many threads as torch has. Where numba cannot be imported, `kernels` is None, and `walk` does the same with
torch.

A row of `keys` has one number a symbol, sorted: the code of the unit's value (see `codes`) times 2**32, plus the row of
the symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Compiled = Callable[..., None]
LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Kernels:
    """The compiled loops of this file."""

    put_keys: Compiled
    walk: Compiled
    inversions: Compiled
    count: Compiled


@cache
def kernels() -> Kernels | None:
    """The loops, compiled lazily; None without numba."""
    try:
        import numba
    except ImportError:
        return None

    def compiled(function: Compiled) -> Compiled:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        try:
            made: Compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # there is no folder that may hold what is compiled
            made = numba.njit(**options)(function)
        return made

    return Kernels(compiled(_put_keys), compiled(_walk), compiled(_inversions), compiled(_count))


def _put_keys(bits: Any, rows: Any, first: int, keys: Any) -> None:
    """Write the keys of a batch.

    Args:
        bits: int32[symbol, unit], of the values.
        rows: int64[symbol], the rows in the keys; one below 0 is left out.
        first: the unit at which to begin.
        keys: int64[unit, symbol], written from `rows[0]` on.
    """
    for s in range(len(rows)):
        row = rows[s]
        if row < 0:
            continue
        for u in range(len(keys)):
            b = np.int64(bits[s, first + u])
            if b == -2147483648:  # minus zero
                b = 0
            if b < 0:
                b ^= 0x7FFFFFFF
            keys[u, row] = (b << 32) | row


def _walk(  # noqa: C901, PLR0912, PLR0915 (one loop, whose parts share everything)
    keys: Any,
    valid: Any,
    start: Any,
    label: Any,
    own: Any,
    positives: Any,
    needs: Any,
    ranks: Any,
    ties: Any,
    sums: Any,
    counts: Any,
    sizes: Any,
    products: Any,
) -> None:
    """From the greatest value of each unit to the least, and what each hypothesis has gathered on the way.

    Args:
        keys: int64[unit, symbol], sorted.
        valid: uint8[symbol], whether the symbol counts.
        start: int32[symbol + 1], where the true columns of each symbol begin in `label`.
        label: int32[true], columns.
        own: int32[own], the columns that occur in it.
        positives: float64[column], how many symbols are true.
        needs: int64[cut], descending: a symbol is above a cut if as many are below it.
        ranks: float64[symbol, number], ranks of the numbers about their mean.
        ties: float64[unit, 4], written: pairs of tied symbols, sum of `t**3 - t` over ties of t symbols, the codes
            of the least and of the greatest value.
        sums: float64[unit, column, 4], written: the sum of the mid-ranks of the true ones, the sum of their precisions,
            the best F1, and the most that true positives exceed false ones by.
        counts: int32[unit, cut, column], written: how many of the true ones are above the cut.
        sizes: int32[unit, cut], written: how many symbols are above the cut.
        products: float64[unit, number], written: sums of mid-ranks times `ranks`.
    """
    symbols = keys.shape[1]
    order = np.empty(symbols, np.int32)
    code = np.empty(symbols, np.int32)
    # true positives, rank sum, sum of precisions, numerator and denominator of the best F1, best gain, positives
    table = np.zeros((len(positives), 8))
    for u in range(len(keys)):
        n = 0
        for i in range(symbols - 1, -1, -1):
            s = keys[u, i] & 0xFFFFFFFF
            order[n] = s
            code[n] = keys[u, i] >> 32
            n += valid[s]
        for h in range(len(own)):
            e = own[h]
            table[e, :] = 0.0
            table[e, 4] = 1.0
            table[e, 6] = positives[e]
        cut = 0
        i = 0
        pairs = 0.0
        cubes = 0.0
        while i < n:
            j = i + 1
            while j < n and code[j] == code[i]:
                j += 1
            while cut < len(needs) and n - j < needs[cut]:
                sizes[u, cut] = i
                for h in range(len(own)):
                    counts[u, cut, own[h]] = np.int32(table[own[h], 0])
                cut += 1
            mid = n - 0.5 * (i + j - 1)
            inverse = 1.0 / j
            if j == i + 1:
                s = order[i]
                for k in range(start[s], start[s + 1]):
                    e = label[k]
                    true = table[e, 0] + 1.0
                    table[e, 0] = true
                    table[e, 1] += mid
                    table[e, 2] += true * inverse
                    below = table[e, 6] + j
                    if true * table[e, 4] > table[e, 3] * below:
                        table[e, 3] = true
                        table[e, 4] = below
                    table[e, 5] = max(table[e, 5], 2.0 * true - j)
            else:
                t = float(j - i)
                pairs += 0.5 * t * (t - 1.0)
                cubes += t * t * t - t
                for g in range(i, j):
                    for k in range(start[order[g]], start[order[g] + 1]):
                        table[label[k], 0] += 1.0
                for g in range(i, j):
                    for k in range(start[order[g]], start[order[g] + 1]):
                        e = label[k]
                        true = table[e, 0]
                        table[e, 1] += mid
                        table[e, 2] += true * inverse
                        below = table[e, 6] + j
                        if true * table[e, 4] > table[e, 3] * below:
                            table[e, 3] = true
                            table[e, 4] = below
                        table[e, 5] = max(table[e, 5], 2.0 * true - j)
            for k in range(ranks.shape[1]):
                for g in range(i, j):
                    products[u, k] += mid * ranks[order[g], k]
            i = j
        ties[u, 0] = pairs
        ties[u, 1] = cubes
        if n:
            ties[u, 2] = code[n - 1]
            ties[u, 3] = code[0]
        for h in range(len(own)):
            e = own[h]
            sums[u, e, 0] = table[e, 1]
            sums[u, e, 1] = table[e, 2]
            sums[u, e, 2] = 2.0 * table[e, 3] / table[e, 4]
            sums[u, e, 3] = table[e, 5]


def _inversions(keys: Any, ends: Any, found: Any) -> None:
    """Pairs that a unit and a number order differently, and pairs that are tied in both.

    The ones that came before are bits, 64 in a word, and a Fenwick tree has the number of bits of the words (Fenwick
    1994, "A new data structure for cumulative frequency tables").

    Args:
        keys: int64[unit, symbol], sorted, where the rows of the symbols are in the order of the number.
        ends: int32[symbol], where the symbols tie with each in the number end.
        found: float64[unit, 4], written: the discordant pairs, the pairs tied in both, the pairs tied in the unit.
    """
    n = keys.shape[1]
    words = (n >> 6) + 1
    bits = np.zeros(words, np.uint64)
    tree = np.zeros(words + 1, np.int32)
    one = np.uint64(1)
    for u in range(len(keys)):
        bits[:] = 0
        tree[:] = 0
        discordant = 0.0
        both = 0.0
        tied = 0.0
        run = 0.0
        joint = 0.0
        for i in range(n):
            s = keys[u, i] & 0xFFFFFFFF
            end = ends[s]
            if i and keys[u, i] >> 32 == keys[u, i - 1] >> 32:
                run += 1.0
                joint = joint + 1.0 if ends[keys[u, i - 1] & 0xFFFFFFFF] == end else 0.0
            else:
                run = 0.0
                joint = 0.0
            tied += run
            both += joint
            word = end >> 6
            before = 0
            k = word
            while k > 0:
                before += tree[k]
                k &= k - 1
            x = bits[word] & ((one << np.uint64(end & 63)) - one)
            x = x - ((x >> one) & np.uint64(0x5555555555555555))
            x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
            x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            before += np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
            discordant += i - before
            word = s >> 6
            bits[word] |= one << np.uint64(s & 63)
            k = word + 1
            while k <= words:
                tree[k] += 1
                k += k & -k
        found[u, 0] = discordant
        found[u, 1] = both
        found[u, 2] = tied


def _count(bits: Any, first: int, edges: Any, start: Any, label: Any, counts: Any) -> None:
    """Add a batch to the counts of a sketch.

    Args:
        bits: int32[symbol, unit], of the values.
        first: the unit at which to begin.
        edges: int32[unit, border], ascending; of the units from `first` on.
        start, label: as in `_walk`.
        counts: int32[unit, bin, column], written.
    """
    borders = edges.shape[1]
    for u in range(len(edges)):
        for s in range(len(bits)):
            b = bits[s, first + u]
            if b == -2147483648:  # minus zero
                b = np.int32(0)
            if b < 0:
                b ^= np.int32(0x7FFFFFFF)
            low = 0
            high = borders
            while low < high:
                middle = (low + high) >> 1
                if edges[u, middle] <= b:
                    low = middle + 1
                else:
                    high = middle
            for k in range(start[s], start[s + 1]):
                counts[u, low, label[k]] += 1
