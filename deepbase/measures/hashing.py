"""Random numbers that depend on nothing but a number and a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepbase.blocks import Ints


def hashed(numbers: Ints, seed: int) -> npt.NDArray[np.uint64]:
    """A hash of each number: SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").

    >>> hashed(np.array([0, 1]), 0).tolist() == hashed(np.array([0, 1]), 0).tolist()
    True
    """
    with np.errstate(over="ignore"):
        x = numbers.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
