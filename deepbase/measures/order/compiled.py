"""The loops that run over every symbol of every unit, compiled by numba when they are first needed.

They are plain Python over NumPy arrays; see `compile`. Blocks of units go to as many threads as torch has. Where numba
cannot be imported, `kernels` is None, and `walk` does the same with torch.

A row of `keys` has one number a symbol, sorted: the code of the unit's value (see `codes`) times 2**32, plus the row of
the symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from deepbase.measures.compile import Compiled, compiled

ONE = 2.0**52


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
        import numba.extending
    except ImportError:
        return None

    any_order = {"reassoc", "contract", "nnan", "nsz"}  # so that sums are made in vectors; there is no NaN among places
    numba.extending.register_jitable(fastmath=any_order, error_model="numpy")(_sums)
    numba.extending.register_jitable(error_model="numpy")(_tied_sums)
    numba.extending.register_jitable(error_model="numpy")(_place)

    return Kernels(compiled(_put_keys), compiled(_walk), compiled(_inversions), compiled(_count))


def _put_keys(bits: Any, at: int, rows: Any, first: int, keys: Any) -> None:
    """Write the keys of a batch, a tile at a time, since one array is read along the other's columns.

    Args:
        bits: int32[symbol, unit], of the values.
        at: the row of the first symbol.
        rows: int64[symbol], other numbers for the rows, below 0 for those that are left out; empty without.
        first: the unit at which to begin.
        keys: int64[unit, symbol], written.
    """
    for tile in range(0, len(bits), 16):
        end = min(tile + 16, len(bits))
        for u in range(len(keys)):
            if len(rows):
                for s in range(tile, end):
                    if rows[s] >= 0:
                        b = bits[s, first + u] if bits[s, first + u] != -2147483648 else np.int32(0)  # minus zero
                        keys[u, rows[s]] = (np.int64(b ^ ((b >> 31) & np.int32(0x7FFFFFFF))) << 32) | rows[s]
            else:
                for s in range(tile, end):
                    b = bits[s, first + u] if bits[s, first + u] != -2147483648 else np.int32(0)
                    keys[u, at + s] = (np.int64(b ^ ((b >> 31) & np.int32(0x7FFFFFFF))) << 32) | (at + s)


def _walk(  # noqa: C901, PLR0912, PLR0915 (one loop, whose parts share all that they have)
    keys: Any,
    valid: Any,
    start: Any,
    label: Any,
    own: Any,
    offset: Any,
    needs: Any,
    ranks: Any,
    ties: Any,
    sums: Any,
    counts: Any,
    sizes: Any,
    products: Any,
) -> None:
    """From the greatest value of each unit to the least: where the true symbols of each column stand.

    A symbol stands where its ties end. The places of one column come one after another, so that `_sums` is left with
    plain sums over them.

    Args:
        keys: int64[unit, symbol], sorted.
        valid: uint8[symbol], whether the symbol counts.
        start: uint32[symbol + 1], where the true columns of each symbol begin in `label`, in fours.
        label: uint32[4 * fours], numbers of columns in `own`; the number after the last one fills up the fours.
        own: int64[own], the columns.
        offset: uint32[own + 1], where the places of each begin, of which it has as many as symbols are true.
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
    order = np.empty(symbols, np.uint32)
    code = np.empty(symbols, np.int32)
    again = np.empty(symbols, np.int32)  # places where the value before comes again
    begin = np.empty(symbols + 1, np.int32)
    place = np.empty(len(label), np.int32)
    following = np.empty(len(offset), np.uint32)
    lift = np.empty(len(offset), np.float64)
    twice = np.empty(len(offset), np.bool_)
    for u in range(len(keys)):
        n: Any = 0
        for i in range(symbols - 1, -1, -1):
            s = np.uint64(keys[u, i] & 0xFFFFFFFF)
            order[n] = s
            code[n] = keys[u, i] >> 32
            n += np.int64(valid[s])
        tied = 0
        for i in range(1, n):
            again[tied] = i
            tied += code[i] == code[i - 1]
        following[:] = offset
        begin[:] = -1
        lift[:] = 0.0
        twice[:] = False
        ties[u, :] = 0.0
        i = 0
        q = 0
        for cut in range(len(needs) + 1):
            last = n - needs[cut] if cut < len(needs) else n
            while i < last:
                j = min(again[q] - 1 if q < tied else n, last)
                if j > i:
                    _place(order, i, j, 1, 1, start, label, following, place)
                    for g in range(i, j):
                        for k in range(ranks.shape[1]):
                            products[u, k] += (n - g) * ranks[order[g], k]
                    i = j
                    continue
                j = i + 1
                while j < n and code[j] == code[i]:
                    j += 1
                if j > last:  # all of a tie are above a cut, or none
                    break
                t = float(j - i)
                ties[u, 0] += 0.5 * t * (t - 1.0)
                ties[u, 1] += t * t * t - t
                begin[j] = i
                _place(order, i, j, j, 0, start, label, following, place)
                for g in range(i, j):
                    s = order[g]
                    for k in range(4 * start[s], 4 * start[s + 1]):
                        e = label[k]
                        lift[e] += 0.5 * (t - 1.0)
                        at = following[e] - offset[e]
                        twice[e] |= at > 1 and place[following[e] - 2] == j
                    for k in range(ranks.shape[1]):
                        products[u, k] += (n - 0.5 * (i + j - 1)) * ranks[s, k]
                q += j - i - 1
                i = j
            if cut < len(needs):
                sizes[u, cut] = i
                for h in range(len(own)):
                    counts[u, cut, own[h]] = np.int64(following[h]) - np.int64(offset[h])
        if n:
            ties[u, 2] = code[n - 1]
            ties[u, 3] = code[0]
        for h in range(len(own)):
            if twice[h]:
                _tied_sums(place[offset[h] : offset[h + 1]], begin, n, sums[u, own[h]])
            else:
                _sums(place[offset[h] : offset[h + 1]], n, sums[u, own[h]])
                sums[u, own[h], 0] += lift[h]


def _place(
    order: Any, first: int, last: int, base: int, step: int, start: Any, label: Any, following: Any, place: Any
) -> None:
    """Write down where the true symbols from `first` to `last` stand: at `base + step * g`."""
    one, four = np.uint32(1), np.uint64(4)
    for g in range(first, last):
        s = np.uint64(order[g])
        k = np.uint64(start[s]) * four
        stop = np.uint64(start[s + np.uint64(1)]) * four
        here = np.int32(base + step * g)
        while k < stop:  # four at once: for most symbols the processor guesses right how often this runs
            e = label[k]
            at = following[e]
            following[e] = at + one
            place[at] = here
            e = label[k + np.uint64(1)]
            at = following[e]
            following[e] = at + one
            place[at] = here
            e = label[k + np.uint64(2)]
            at = following[e]
            following[e] = at + one
            place[at] = here
            e = label[k + np.uint64(3)]
            at = following[e]
            following[e] = at + one
            place[at] = here
            k += four


def _sums(place: Any, n: int, sums: Any) -> None:
    """The sums of `_walk` for the places of one column, int32[true], ascending, each once.

    The processor takes eight places at a time; F1 is a whole number meanwhile, since it has no greatest float of eight.
    """
    positives = float(len(place))
    ranks: Any = 0
    precisions = 0.0
    f1: Any = 0
    gain: Any = 0
    for k in range(len(place)):
        j = np.int64(place[k])
        ranks += j
        precisions += (k + 1.0) / j
        f1 = max(f1, np.int64((k + 1.0) / (positives + j) * ONE))
        gain = max(gain, 2 * (k + 1) - j)
    sums[0] = positives * (n + 1.0) - ranks
    sums[1] = precisions
    sums[2] = 2.0 * f1 / ONE
    sums[3] = gain


def _tied_sums(place: Any, begin: Any, n: int, sums: Any) -> None:
    """The same where places come again; `begin` has where the ties that end at a place begin, if there are any."""
    positives = float(len(place))
    sums[:] = 0.0
    k = 0
    while k < len(place):
        end = place[k]
        first = k
        while k < len(place) and place[k] == end:
            k += 1
        middle = n - end + 1.0 if begin[end] < 0 else n - 0.5 * (begin[end] + end - 1.0)
        sums[0] += (k - first) * middle
        sums[1] += (k - first) * (k / end)
        ratio = 2.0 * k / (positives + end)
        sums[2] = ratio if ratio > sums[2] else sums[2]
        gain = 2.0 * k - end
        sums[3] = gain if gain > sums[3] else sums[3]


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
            before: Any = 0
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
