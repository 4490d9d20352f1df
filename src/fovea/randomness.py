"""Stateless randomness: every draw is a function of (seed, purpose, epoch, index or step), of nothing else.

So the order of data does not depend on the number of workers, and resuming equals never having stopped: there is no
generator whose state could be lost. The hash is SplitMix64's finaliser, applied to whole arrays, so that the numbers
are ours and do not move with a library's version.

Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def key(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit integer that depends on every argument; fit to seed any generator."""
    text = "/".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def bits(draw_key: int, indices: ArrayLike, draws: int = 1) -> NDArray[np.uint64]:
    """64 random bits for each index and draw, shape (len(indices), draws); row i depends on indices[i] alone."""
    column = np.asarray(indices, dtype=np.uint64)[:, None]
    counter = (column * np.uint64(draws) + np.arange(draws, dtype=np.uint64)).astype(np.uint64)
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2**64 by design
        mixed: NDArray[np.uint64] = np.uint64(draw_key) + (counter + np.uint64(1)) * _GAMMA
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def uniforms(draw_key: int, indices: ArrayLike, draws: int = 1) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), shape (len(indices), draws); row i depends on indices[i] alone."""
    return (bits(draw_key, indices, draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(draw_key: int, n: int) -> NDArray[np.int64]:
    """The numbers 0 to n-1 in an order that depends on the key alone."""
    return np.argsort(bits(draw_key, np.arange(n))[:, 0], kind="stable")
