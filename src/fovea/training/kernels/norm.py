"""Batch normalisation and the ramp behind it, forward and backward, as machine code that numba makes.

Maps are in bf16 or float32 and lie channels-last: a row holds one pixel's channels. A ramp limits what comes to
(low, high): (0, ∞) is ReLU, (0, 6) is ReLU6, (-∞, ∞) is none. torch walks through memory twelve times for both
together, these functions eight, and they keep one map where torch keeps two. Sums run in float32 over a chunk of rows
and in float64 over the chunks, in their order, so that threads, which take chunk after chunk, change no bit. Where
channels are few, a row holds several pixels, which vector units want: column c is of channel c modulo the channels.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from fovea.training.kernels.values import (
    F4,
    F8,
    ZERO,
    Kernel,
    claimed,
    doubles,
    kept,
    number,
    rounded,
    singles,
    values,
    words,
)

WORDS = 17
# What the words of a job mean. The first is the next chunk that a thread may take; from MAPS on they are addresses.
NEXT, ROWS, COLUMNS, CHANNELS, CHUNK_ROWS, CHUNKS, MAPS, GRADIENT, MADE, PARTS, CONSTANTS, NUMBERS = range(12)
WEIGHT, BIAS, MEAN, VARIANCE, SUMS = range(12, 17)
EPS, MOMENTUM, LOW, HIGH = range(4)  # in NUMBERS, of float64
SCALE, LEVEL, CENTRE, STEEPNESS = range(4)  # in CONSTANTS, by column, of float32: what the batch makes of the layer
OF_WEIGHT, OF_BIAS, SLOPE, SHARE = range(4)  # in SUMS, by column, of float32


@njit
@no_type_check
def _maps(pointer, job, which):
    return carray(values(pointer, job[which]), (job[ROWS], job[COLUMNS]))


@njit
@no_type_check
def _by_channel(job, which):
    return carray(singles(job[which]), job[CHANNELS])


@njit
@no_type_check
def _by_column(job, which):
    return carray(singles(job[which]), (4, job[COLUMNS]))


@njit
@no_type_check
def _parts(job, count):
    return carray(singles(job[PARTS]), (job[CHUNKS], count, job[COLUMNS]))


@njit
@no_type_check
def _rows(job, chunk):
    start = chunk * job[CHUNK_ROWS]
    return start, min(start + job[CHUNK_ROWS], job[ROWS])


@Kernel
@no_type_check
def statistics(pointer):
    """Of each chunk a row, and over its rows the sums of the distance to that and of its square."""
    job = carray(words(pointer), WORDS)
    maps, parts = _maps(pointer, job, MAPS), _parts(job, 3)
    chunk = claimed(pointer)
    while chunk < job[CHUNKS]:
        start, stop = _rows(job, chunk)
        first, sums, squares = parts[chunk, 0], parts[chunk, 1], parts[chunk, 2]
        for c in range(job[COLUMNS]):
            first[c], sums[c], squares[c] = number(maps[start, c]), ZERO, ZERO
        row = start
        while row + 4 <= stop:
            for c in range(job[COLUMNS]):
                p, q = number(maps[row, c]) - first[c], number(maps[row + 1, c]) - first[c]
                r, s = number(maps[row + 2, c]) - first[c], number(maps[row + 3, c]) - first[c]
                sums[c] += (p + q) + (r + s)
                squares[c] += (p * p + q * q) + (r * r + s * s)
            row += 4
        for rest in range(row, stop):
            for c in range(job[COLUMNS]):
                p = number(maps[rest, c]) - first[c]
                sums[c] += p
                squares[c] += p * p
        chunk = claimed(pointer)


@Kernel
@no_type_check
def settle(pointer):
    """Of the chunks the batch's mean and variance, and the running ones moved by them."""
    job = carray(words(pointer), WORDS)
    parts, constants, numbers = _parts(job, 3), _by_column(job, CONSTANTS), carray(doubles(job[NUMBERS]), 4)
    weight, bias = _by_channel(job, WEIGHT), _by_channel(job, BIAS)
    running_mean, running_variance = _by_channel(job, MEAN), _by_channel(job, VARIANCE)
    channels, columns, last, most = job[CHANNELS], job[COLUMNS], job[CHUNKS] - 1, F8(job[CHUNK_ROWS])
    rest, count = F8(job[ROWS]) - last * most, F8(job[ROWS]) * (columns // channels)
    for c in range(channels):
        mean, squares = F8(0), F8(0)
        for chunk in range(last + 1):
            rows = rest if chunk == last else most
            for column in range(c, columns, channels):
                mean += F8(parts[chunk, 0, column]) * rows + F8(parts[chunk, 1, column])
        mean /= count
        for chunk in range(last + 1):
            rows = rest if chunk == last else most
            for column in range(c, columns, channels):
                distance, total = F8(parts[chunk, 0, column]) - mean, F8(parts[chunk, 1, column])
                squares += F8(parts[chunk, 2, column]) + distance * (2 * total + distance * rows)
        squares = F8(0) if squares < 0 else squares
        steepness = 1 / np.sqrt(squares / count + numbers[EPS])
        scale = F8(weight[c]) * steepness
        for column in range(c, columns, channels):
            constants[SCALE, column], constants[LEVEL, column] = F4(scale), bias[c]
            constants[CENTRE, column], constants[STEEPNESS, column] = F4(mean), F4(steepness)
        share = numbers[MOMENTUM]
        running_mean[c] = F4(F8(running_mean[c]) * (1 - share) + mean * share)
        running_variance[c] = F4(F8(running_variance[c]) * (1 - share) + squares / (count - 1) * share)


@Kernel
@no_type_check
def normalise(pointer):
    """The maps, normalised and limited."""
    job = carray(words(pointer), WORDS)
    maps, made, constants = _maps(pointer, job, MAPS), _maps(pointer, job, MADE), _by_column(job, CONSTANTS)
    centre, scale, level = constants[CENTRE], constants[SCALE], constants[LEVEL]
    numbers = carray(doubles(job[NUMBERS]), 4)
    low, high = F4(numbers[LOW]), F4(numbers[HIGH])
    chunk = claimed(pointer)
    while chunk < job[CHUNKS]:
        start, stop = _rows(job, job[CHUNKS] - 1 - chunk)  # the last are still in the cache
        for row in range(start, stop):
            for c in range(job[COLUMNS]):
                value = (number(maps[row, c]) - centre[c]) * scale[c] + level[c]
                value = low if value < low else value
                made[row, c] = rounded(pointer, high if value > high else value)
        chunk = claimed(pointer)


@Kernel
@no_type_check
def gradient_sums(pointer):
    """Over each chunk the sums of the gradient within the limits, and of it times the distance to the mean."""
    job = carray(words(pointer), WORDS)
    maps, gradient, parts = _maps(pointer, job, MAPS), _maps(pointer, job, GRADIENT), _parts(job, 2)
    constants, numbers = _by_column(job, CONSTANTS), carray(doubles(job[NUMBERS]), 4)
    centre, scale, level = constants[CENTRE], constants[SCALE], constants[LEVEL]
    low, high = F4(numbers[LOW]), F4(numbers[HIGH])
    chunk = claimed(pointer)
    while chunk < job[CHUNKS]:
        start, stop = _rows(job, chunk)
        sums, products = parts[chunk, 0], parts[chunk, 1]
        for c in range(job[COLUMNS]):
            sums[c], products[c] = ZERO, ZERO
        row = start
        while row + 2 <= stop:
            for c in range(job[COLUMNS]):
                x, y = number(maps[row, c]) - centre[c], number(maps[row + 1, c]) - centre[c]
                u, v = x * scale[c] + level[c], y * scale[c] + level[c]
                f = kept(number(gradient[row, c]), (u > low) & (u < high))
                g = kept(number(gradient[row + 1, c]), (v > low) & (v < high))
                sums[c] += f + g
                products[c] += f * x + g * y
            row += 2
        for rest in range(row, stop):
            for c in range(job[COLUMNS]):
                x = number(maps[rest, c]) - centre[c]
                u = x * scale[c] + level[c]
                f = kept(number(gradient[rest, c]), (u > low) & (u < high))
                sums[c] += f
                products[c] += f * x
        chunk = claimed(pointer)


@Kernel
@no_type_check
def settle_gradient(pointer):
    """Of the chunks the gradients of weight and bias, and what the maps' gradient is made of."""
    job = carray(words(pointer), WORDS)
    parts, constants, sums = _parts(job, 2), _by_column(job, CONSTANTS), _by_column(job, SUMS)
    channels, columns = job[CHANNELS], job[COLUMNS]
    count = F8(job[ROWS]) * (columns // channels)
    for c in range(channels):
        total, product = F8(0), F8(0)
        for chunk in range(job[CHUNKS]):
            for column in range(c, columns, channels):
                total += F8(parts[chunk, 0, column])
                product += F8(parts[chunk, 1, column])
        scale, steepness = F8(constants[SCALE, c]), F8(constants[STEEPNESS, c])
        product *= steepness
        for column in range(c, columns, channels):
            sums[OF_WEIGHT, column], sums[OF_BIAS, column] = F4(product), F4(total)
            sums[SLOPE, column], sums[SHARE, column] = (
                F4(-scale * steepness * product / count),
                F4(-scale * total / count),
            )


@Kernel
@no_type_check
def gradient(pointer):
    """The gradient of the maps."""
    job = carray(words(pointer), WORDS)
    maps, after, made = _maps(pointer, job, MAPS), _maps(pointer, job, GRADIENT), _maps(pointer, job, MADE)
    constants, sums = _by_column(job, CONSTANTS), _by_column(job, SUMS)
    centre, scale, level = constants[CENTRE], constants[SCALE], constants[LEVEL]
    slope, share, numbers = sums[SLOPE], sums[SHARE], carray(doubles(job[NUMBERS]), 4)
    low, high = F4(numbers[LOW]), F4(numbers[HIGH])
    chunk = claimed(pointer)
    while chunk < job[CHUNKS]:
        start, stop = _rows(job, job[CHUNKS] - 1 - chunk)  # the last are still in the cache
        for row in range(start, stop):
            for c in range(job[COLUMNS]):
                x = number(maps[row, c]) - centre[c]
                u = x * scale[c] + level[c]
                f = kept(number(after[row, c]), (u > low) & (u < high))
                made[row, c] = rounded(pointer, f * scale[c] + (x * slope[c] + share[c]))
        chunk = claimed(pointer)
