"""A random order of records that is computed, not stored.

A keyed permutation of `0 .. n-1`: a Feistel network over the next power of four, walked until it lands inside the range
(Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Any place of it can be looked up by itself.

What is random is the seed: over seeds, each record is as likely as any other to come first, second or last, and each
pair to come one after the other, whatever the order of the file. Two seeds share nothing, neither blocks nor windows,
so that runs with different seeds are independent samples. It is no cipher: six rounds are for mixing, not for secrecy.
"""

from __future__ import annotations

import numpy as np

from deepbase.blocks import Ints

ROUNDS = 6


def permuted(places: Ints, size: int, seed: int) -> Ints:
    """Where a seeded random permutation of `0 .. size-1` sends some places.

    >>> sorted(permuted(np.arange(10), 10, seed=1).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
    keys = np.random.default_rng([seed, size]).integers(0, 2**63, ROUNDS, dtype=np.uint64)
    found = _feistel(places.astype(np.uint64), half, keys)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(x: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """A balanced Feistel network on `2 * half` bits, with the mixer of SplitMix64 as its round function."""
    mask, shift = np.uint64(2**half - 1), np.uint64(half)
    left, right = x >> shift, x & mask
    for key in keys:
        mixed = right + key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(31))) & mask)
    return (left << shift) | right
