"""Names beside the circles they belong to, so that none covers another; geometry alone, in points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GAPS = (0.5, 4.5, 9.0, 15.0, 22.0, 30.0, 40.0, 52.0, 66.0, 82.0)  # points from a bubble's edge to its name


DIRECTIONS = 24


STEPS = 8  # places of a leader that are looked at


CROWD = 60.0  # points within which bubbles crowd each other


UNCLEAR = 8.0  # points of way that a name goes to have its own bubble nearest


INK, CLASH = 8.0, 60.0  # points of way that a name goes to cover one place less of a drawing, of a leader
ROUNDS = 5  # of placing every name anew among the others


class Scene(NamedTuple):
    """What stands in the way of names, in points: circles, their names' sizes, places that are drawn on, the corner."""

    centres: Array
    radii: Array
    sizes: Array
    drawn: Array
    frame: Array


def place(centres: Array, radii: Array, sizes: Array, *, paths: Sequence[Array], frame: Array) -> list[Array | None]:
    """A box (left, bottom, right, top) of each size beside its circle, no two over each other; None where none fits.

    The most crowded circle chooses first, then each chooses again in turn, knowing all others: the same every time.

    Args:
        centres: (n, 2) The circles' centres, in points.
        radii: (n,) Their radii.
        sizes: (n, 2) Width and height of the boxes.
        paths: Lines, (k, 2) each, that the boxes had better not cover.
        frame: The right and the top that no box passes; the left and the bottom are 0.
    """
    rings = centres[:, None] + np.array([1, 0.5])[:, None, None, None] * radii[:, None, None] * _circle(12)
    drawn = np.concatenate([rings.reshape(-1, 2), *map(_along, paths)])
    scene = Scene(centres, radii, sizes, drawn, frame)
    apart = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1))
    order = np.argsort(-(apart < CROWD).sum(axis=1), kind="stable")
    boxes: dict[int, Array] = {}
    for each in list(map(int, order)) * ROUNDS:
        boxes.pop(each, None)
        choices, price = _choices(scene, each)
        price += _in_the_way(scene, each, choices, boxes)
        if np.isfinite(price).any():
            boxes[each] = choices[np.argmin(price)]
    return [boxes.get(each) for each in range(len(centres))]


def _in_the_way(scene: Scene, each: int, choices: Array, boxes: dict[int, Array]) -> Array:
    """What each choice costs for what it covers: infinity for another name."""
    taken = np.array([*boxes.values()]).reshape(-1, 4)
    lines, ways = _leaders(scene, list(boxes), taken), _leaders(scene, [each], choices)
    hidden = _inside(ways.reshape(-1, 2), taken).any(axis=0).reshape(-1, STEPS).sum(axis=1)
    clashes = hidden + _inside(lines.reshape(-1, 2), choices).sum(axis=1) + _cross(ways, lines).sum(axis=1)
    covered = _inside(scene.drawn, choices).sum(axis=1)
    within = ((choices[:, :2] >= 0) & (choices[:, 2:] <= scene.frame)).all(axis=1)
    price = INK * covered + CLASH * clashes + UNCLEAR * _nearer(scene, each, choices)
    return np.where(within & ~_meet(choices, taken).any(axis=1), price, np.inf)


def _choices(scene: Scene, each: int) -> tuple[Array, Array]:
    """The boxes that a name may have around its bubble, and how far each is from it."""
    ways = _circle(DIRECTIONS)
    reach = scene.radii[each] + np.array(GAPS)[:, None, None]
    middles = scene.centres[each] + reach * ways + np.clip(1.5 * ways, -1, 1) * scene.sizes[each] / 2
    middles = middles.reshape(-1, 2)
    half = scene.sizes[each] / 2
    return np.concatenate([middles - half, middles + half], axis=1), np.repeat(np.array(GAPS), DIRECTIONS)


def _leaders(scene: Scene, owners: list[int], boxes: Array) -> Array:
    """The lines from the edges of the owners' circles to the boxes, as STEPS places each: (boxes, STEPS, 2)."""
    near = np.clip(scene.centres[owners], boxes[:, :2], boxes[:, 2:])
    away = near - scene.centres[owners]
    share = np.minimum(1, scene.radii[owners] / np.maximum(np.hypot(*away.T), 1e-9))
    lines: Array = near[:, None] - (away * (1 - share)[:, None])[:, None] * np.linspace(1, 0, STEPS)[:, None]
    return lines


def _cross(ways: Array, lines: Array) -> Array:
    """Which of the leaders cross which of the others: (ways, lines)."""

    def left(start: Array, end: Array, place: Array) -> Array:
        a, b = end - start, place - start
        return np.asarray(a[..., 0] * b[..., 1] > a[..., 1] * b[..., 0])

    a, b, c, d = ways[:, :1], ways[:, -1:], lines[:, 0], lines[:, -1]
    return np.asarray((left(c, d, a) != left(c, d, b)) & (left(a, b, c) != left(a, b, d)))


def _circle(steps: int) -> Array:
    angles = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _along(path: Array) -> Array:
    """A line as places, at most 4 points apart."""
    parts = [np.linspace(one, other, 2 + int(np.hypot(*(other - one)) / 4)) for one, other in pairwise(path)]
    return np.concatenate([path, *parts])


def _nearer(scene: Scene, own: int, boxes: Array) -> Array:
    """How many circles lie nearer to each of the boxes than its own one."""
    near = np.clip(scene.centres, boxes[:, None, :2], boxes[:, None, 2:]) - scene.centres
    edge = np.hypot(near[..., 0], near[..., 1]) - scene.radii
    return np.asarray((edge < edge[:, own, None]).sum(axis=1))


def _inside(places: Array, boxes: Array) -> Array:
    """Which of the places lie in which of the boxes: (boxes, places)."""
    x, y = places.T
    left, bottom, right, top = boxes.T[..., None]
    return np.asarray((x >= left) & (x <= right) & (y >= bottom) & (y <= top))


def _meet(boxes: Array, others: Array) -> Array:
    """Which of the boxes lie over which of the others: (boxes, others)."""
    return np.asarray(((boxes[:, None, :2] < others[:, 2:]) & (boxes[:, None, 2:] > others[:, :2])).all(axis=2))
