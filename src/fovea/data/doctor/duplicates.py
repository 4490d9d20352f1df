"""Images that occur more than once: byte for byte by their hashes, nearly so by their perceptual hashes.

What looks alike is no duplicate where everything looks alike: among handwritten digits on black, dozens of images lie
within a few bits of any one. So a pair counts only where it stands out: around one of the two, at most CROWD times as
many images lie in the ring from NEAR bits to twice as far as lie within NEAR. Copies of a photograph stand alone, and
so do frames of a film, which lie in a row; among digits the ring holds thirty times as many. And where less than half
of the images that have such a neighbour stand out, none of them counts: the rest are chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.data.looks import BITS

NEAR: Final = 8  # bits of 128 in which two images may differ
BANDS: Final = NEAR + 1  # of the bits; within NEAR bits, at least one band is equal
TOGETHER: Final = 1 << 21  # comparisons held in memory at once
MOST_PAIRS: Final = 10_000_000
MOST_COMPARED: Final = 500_000_000  # to see what lies around the images of pairs
CROWD: Final = 2  # times as many images in the ring as within NEAR, up to which an image stands out
OUTSTANDING: Final = 0.5  # of the images in pairs; where fewer stand out, those are chance
SAMPLE: Final = 1024  # images by which that is judged

Pairs = NDArray[np.int64]
Looks = NDArray[np.uint64]


class Near(NamedTuple):
    """What looks alike.

    Args:
        pairs: Rows, the smaller first, (P, 2), in order: near duplicates.
        distances: In how many bits each pair differs, at most NEAR.
        alike: How many more pairs differ as little, but stand out too little from the images around them.
        complete: Whether every pair was compared; where too many images look alike, some are passed over.
    """

    pairs: Pairs
    distances: NDArray[np.int64]
    alike: int
    complete: bool


def exact(digests: NDArray[np.uint8], rows: NDArray[np.int64]) -> list[list[int]]:
    """Groups of two or more rows with equal digests, by their first row; zeros are no digest.

    Args:
        digests: SHA-256 of every row, (N, 32).
        rows: The rows that count, ascending.
    """
    rows = rows[digests[rows].any(axis=1)]
    keys = np.ascontiguousarray(digests[rows]).view("V32")[:, 0]
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[inverse] > 1)
    order = several[np.argsort(inverse[several], kind="stable")]
    ends = np.flatnonzero(np.diff(inverse[order])) + 1
    return sorted(rows[part].tolist() for part in np.split(order, ends) if len(part))


def near(looks: Looks) -> Near:
    """Pairs of rows whose hashes differ in at most NEAR bits and which stand out; hashes of zero never count.

    Rows with one hash are paired with the first of them only.
    """
    rows = np.flatnonzero(looks.any(axis=1))
    order = rows[np.lexsort((looks[rows, 1], looks[rows, 0]))]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (looks[order[1:]] != looks[order[:-1]]).any(axis=1)
    firsts = order[fresh]  # lexsort is stable, so these are the smallest rows of their hashes
    copies = np.stack([firsts[np.cumsum(fresh) - 1], order], axis=1)[~fresh].reshape(-1, 2)
    found, complete = _within(looks[firsts])
    pairs = np.concatenate([copies, np.sort(firsts[found], axis=1)])
    outstanding = _stand_out(looks, pairs)
    kept = pairs[outstanding]
    kept = kept[np.lexsort((kept[:, 1], kept[:, 0]))]
    distances = _distances(looks[kept[:, 0]], looks[kept[:, 1]]).astype(np.int64)
    return Near(kept, distances, int((~outstanding).sum()), complete)


def groups(pairs: Pairs) -> list[list[int]]:
    """Rows that pairs connect, directly or through others, by their first row."""
    leader: dict[int, int] = {}

    def find(row: int) -> int:
        while leader.setdefault(row, row) != row:
            leader[row] = row = leader[leader[row]]
        return row

    for one, other in pairs.tolist():
        low, high = sorted((find(one), find(other)))
        leader[high] = low
    members: dict[int, list[int]] = {}
    for row in sorted(leader):
        members.setdefault(find(row), []).append(row)
    return sorted(members.values())


def _within(looks: Looks) -> tuple[Pairs, bool]:
    """Every two of these different hashes within NEAR bits, and whether none was passed over.

    The bits are dealt out to NEAR + 1 bands; two hashes within NEAR bits agree in one band at least (pigeonhole), so
    only hashes that share a band's value are compared.
    """
    bits = np.unpackbits(np.ascontiguousarray(looks).view(np.uint8).reshape(-1, BITS // 8), axis=1)
    codes: list[NDArray[np.int64]] = []
    complete, found = True, 0
    for band in range(BANDS):
        values = np.packbits(bits[:, band::BANDS], axis=1).view(np.uint16)[:, 0]
        order = np.argsort(values, kind="stable")
        for pairs, all_of_them in _sharing(values[order], looks[order]):
            pairs = np.sort(order[pairs], axis=1)
            codes.append(pairs[:, 0] * len(looks) + pairs[:, 1])
            complete, found = complete and all_of_them, found + len(pairs)
            if found > MOST_PAIRS:
                return _decoded(codes, len(looks)), False
    return _decoded(codes, len(looks)), complete


def _decoded(codes: list[NDArray[np.int64]], count: int) -> Pairs:
    unique = np.unique(np.concatenate([*codes, np.empty(0, np.int64)]))
    return np.stack(np.divmod(unique, max(count, 1)), axis=1)


def _sharing(values: NDArray[np.uint16], looks: Looks) -> Iterator[tuple[Pairs, bool]]:
    """Places of pairs within NEAR bits among equal values, which stand together; each with some that follow it.

    Yields:
        A part of the pairs, and whether every pair of equal values was compared.
    """
    places = np.arange(len(values))
    following = np.searchsorted(values, values, side="right") - places - 1
    limit, budget = int(following.max(initial=0)), 10_000_000 + 100 * len(values)
    while np.minimum(following, limit).sum() > budget:
        limit //= 2
    counts = np.minimum(following, limit)
    complete = bool((counts == following).all())
    for start, end in _parts(counts):
        left = np.repeat(places[start:end], counts[start:end])
        begins = np.cumsum(counts[start:end]) - counts[start:end]
        right = left + 1 + np.arange(len(left)) - np.repeat(begins, counts[start:end])
        kept = _distances(looks[left], looks[right]) <= NEAR
        yield np.stack([left[kept], right[kept]], axis=1), complete


def _parts(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of places whose counts together are about TOGETHER."""
    total = np.cumsum(counts)
    whole = int(total[-1]) if len(total) else 0
    cuts = np.searchsorted(total, np.arange(TOGETHER, whole + TOGETHER, TOGETHER)) + 1
    cuts = np.unique(np.minimum(np.concatenate([[0], cuts]), len(counts)))
    yield from zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)


def _stand_out(looks: Looks, pairs: Pairs) -> NDArray[np.bool_]:
    """Whether one of the two stands out; of no pair, where most images do not."""
    rows, inverse = np.unique(pairs, return_inverse=True)
    within = np.bincount(inverse.ravel(), minlength=len(rows))
    some = slice(None, None, max(1, len(rows) // SAMPLE))
    if not len(rows) or _alone(looks, rows[some], within[some]).mean() < OUTSTANDING:
        return np.zeros(len(pairs), bool)
    return np.asarray(_alone(looks, rows, within)[inverse.reshape(pairs.shape)].any(axis=1))


def _alone(looks: Looks, rows: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether few images lie in the ring beyond NEAR bits, measured by how many lie within."""
    step = max(1, -(-len(rows) * len(looks) // MOST_COMPARED))  # of too many, every so-manieth stands for the rest
    others = looks[::step]
    ring = np.empty(len(rows), np.int64)
    height = max(1, TOGETHER // max(len(others), 1))
    for start in range(0, len(rows), height):
        apart = _distances(looks[rows[start : start + height], None], others[None])
        ring[start : start + height] = ((apart > NEAR) & (apart <= 2 * NEAR)).sum(axis=1) * step
    return np.asarray(ring <= CROWD * within)


def _distances(some: Looks, others: Looks) -> NDArray[np.uint8]:
    """In how many of the 128 bits hashes differ."""
    differing: NDArray[np.uint8] = _ones(some[..., 0] ^ others[..., 0]) + _ones(some[..., 1] ^ others[..., 1])
    return differing


def _counted_by_table(numbers: Looks) -> NDArray[np.uint8]:
    """`numpy.bitwise_count` for NumPy before 2."""
    parts = np.ascontiguousarray(numbers)[..., None].view(np.uint16)
    counts: NDArray[np.uint8] = TABLE[parts].sum(axis=-1, dtype=np.uint8)
    return counts


TABLE: Final = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, dtype=np.uint8)
_ones: Callable[[Looks], NDArray[np.uint8]] = getattr(np, "bitwise_count", _counted_by_table)
