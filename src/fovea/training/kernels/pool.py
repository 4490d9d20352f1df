"""The largest of each 2×2 pixels and the ramp before it, forward and backward, as machine code that numba makes.

Maps are in bf16 or float32 and lie channels-last. A ramp limits what comes to (low, high), as in batch normalisation;
the largest of limited values is the largest limited, to the bit. Nothing but the maps is kept for the way back, where
torch keeps the limited ones as well and eight bytes for each of the largest.
"""

from __future__ import annotations

from typing import no_type_check

from numba import carray, njit  # type: ignore[attr-defined]

from fovea.training.kernels.values import (
    F4,
    Kernel,
    claimed,
    doubles,
    hidden,
    kept,
    number,
    patterns,
    rounded,
    values,
    words,
)

WORDS = 10
# What the words of a job mean; rows are of the smaller maps, so many of an image at once.
NEXT, IMAGES, HEIGHT, WIDTH, CHANNELS, ROWS, MAPS, MADE, GRADIENT, NUMBERS = range(WORDS)
FEW = 16  # channels, below which a loop over pixels is the faster one
LOW, HIGH = range(2)  # in NUMBERS, of float64


@njit
@no_type_check
def _large(job, values):
    return carray(values, (job[IMAGES], job[HEIGHT], job[WIDTH], job[CHANNELS]))


@njit
@no_type_check
def _small(job, values):
    return carray(values, (job[IMAGES], job[HEIGHT] // 2, job[WIDTH] // 2, job[CHANNELS]))


@njit
@no_type_check
def _bands(job):
    """How many bands of rows an image has."""
    return (job[HEIGHT] // 2 + job[ROWS] - 1) // job[ROWS]


@njit
@no_type_check
def _band(job, piece):
    """The image of a piece of work, and its rows."""
    bands = _bands(job)
    start = piece % bands * job[ROWS]
    return piece // bands, start, min(start + job[ROWS], job[HEIGHT] // 2)


@njit
@no_type_check
def _exceeds(value, most):
    """Whether a value takes the place of the largest before it: where it is equal it does not, NaN does."""
    return (value > most) | (value != value)


@njit(forceinline=True)  # else no vectors
@no_type_check
def _largest(pointer, above, below, made, column, c, low, high):
    left, right = 2 * column, 2 * column + 1
    most, q, r, s = number(above[left, c]), number(above[right, c]), number(below[left, c]), number(below[right, c])
    most = q if _exceeds(q, most) else most
    most = r if _exceeds(r, most) else most
    most = s if _exceeds(s, most) else most
    most = low if most < low else most
    made[column, c] = rounded(pointer, high if most > high else most)


@njit(forceinline=True)  # else no vectors
@no_type_check
def _gradient(above, below, after, of_above, of_below, column, c, low, high):
    left, right = 2 * column, 2 * column + 1
    most, q, r, s = number(above[left, c]), number(above[right, c]), number(below[left, c]), number(below[right, c])
    own = after[column, c]  # read in any case, which vectors can
    second = not q <= most  # one comparison is a selection without a jump; NaN has no place that matters
    most = q if second else most
    third = not r <= most
    most = r if third else most
    fourth = not s <= most
    most = s if fourth else most
    own = kept(own, (most > low) & (most < high))
    of_below[right, c], own = kept(own, fourth), kept(own, not fourth)
    of_below[left, c], own = kept(own, third), kept(own, not third)
    of_above[right, c], of_above[left, c] = kept(own, second), kept(own, not second)


@Kernel
@no_type_check
def largest(pointer):
    """The largest of each 2×2 pixels, limited."""
    job = carray(words(pointer), WORDS)
    maps, made = _large(job, values(pointer, job[MAPS])), _small(job, values(pointer, job[MADE]))
    numbers = carray(doubles(job[NUMBERS]), 2)
    low, high, pieces = F4(numbers[LOW]), F4(numbers[HIGH]), job[IMAGES] * _bands(job)
    columns, channels = job[WIDTH] // 2, job[CHANNELS]
    piece = claimed(pointer)
    while piece < pieces:
        image, start, stop = _band(job, piece)
        for row in range(start, stop):
            above, below, small = maps[image, 2 * row], maps[image, 2 * row + 1], made[image, row]
            if channels < FEW:
                for c in range(channels):
                    for column in range(columns):
                        _largest(pointer, above, below, small, column, c, low, high)
            else:
                for turn in range(columns):
                    column = hidden(turn)
                    for c in range(channels):
                        _largest(pointer, above, below, small, column, c, low, high)
        piece = claimed(pointer)


@Kernel
@no_type_check
def gradient(pointer):
    """The gradient of the maps: at the largest of each four, where that is within the limits; elsewhere 0."""
    job = carray(words(pointer), WORDS)
    maps, made = _large(job, values(pointer, job[MAPS])), _large(job, patterns(pointer, job[MADE]))
    after = _small(job, patterns(pointer, job[GRADIENT]))
    numbers = carray(doubles(job[NUMBERS]), 2)
    low, high, pieces = F4(numbers[LOW]), F4(numbers[HIGH]), job[IMAGES] * _bands(job)
    columns, channels = job[WIDTH] // 2, job[CHANNELS]
    piece = claimed(pointer)
    while piece < pieces:
        image, start, stop = _band(job, piece)
        for row in range(start, stop):
            above, below, small = maps[image, 2 * row], maps[image, 2 * row + 1], after[image, row]
            of_above, of_below = made[image, 2 * row], made[image, 2 * row + 1]
            if channels < FEW:
                for c in range(channels):
                    for column in range(columns):
                        _gradient(above, below, small, of_above, of_below, column, c, low, high)
            else:
                for turn in range(columns):
                    column = hidden(turn)
                    for c in range(channels):
                        _gradient(above, below, small, of_above, of_below, column, c, low, high)
            for column in range(2 * columns, job[WIDTH]):  # without a partner
                of_above[column], of_below[column] = 0, 0
        if stop == job[HEIGHT] // 2:
            for row in range(2 * stop, job[HEIGHT]):
                made[image, row] = 0
        piece = claimed(pointer)
