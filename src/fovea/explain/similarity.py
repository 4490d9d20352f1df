"""How alike layers and networks see images: linear centred kernel alignment, as a matrix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.fitted import Fitted
from fovea.data.sets import Chosen, Split
from fovea.errors import DataError, NumbersError, UsageError, require
from fovea.randomness import key, permutation
from fovea.runtime.features import stage_features, stages_of
from fovea.runtime.model import Model

LEAST = 4  # images of a batch: the unbiased estimate divides by n - 3
BATCH = 64
BLOCK = 1 << 16  # numbers of an image that are in double precision at once
STILL = 1e-13  # a share of their square sum below which float32 numbers vary by rounding alone


class Similarity(NamedTuple):
    """How alike stages see the same images.

    Args:
        matrix: About 0 (nothing in common) to 1 (the same but for rotation and scale); chance may bring it a little
            below 0.
        rows: The stages of the first network.
        columns: Those of the second, or the first again.
        images: How many were compared.
    """

    matrix: Float64[NDArray[np.float64], "a b"]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    images: int

    def __str__(self) -> str:
        wide = max(map(len, self.rows))
        lines = [f"linear CKA of {self.images:,} images; columns: {', '.join(self.columns)}"]
        for name, row in zip(self.rows, self.matrix, strict=True):
            lines.append(f"  {name:<{wide}}  {'  '.join(f'{value:5.2f}' for value in row)}")
        return "\n".join(lines)


def similarity(
    model: Model,
    split: Split,
    *,
    other: Model | None = None,
    stages: Sequence[str] = (),
    other_stages: Sequence[str] = (),
    batch_size: int = BATCH,
) -> Similarity:
    """Linear CKA between the stages of a network, or of two, on the same images, each through its own preprocessing.

    Whole maps are compared, batch by batch: the unbiased estimates of HSIC are summed over the batches, so that memory
    does not grow with the images. Batches are drawn from the whole split, since of sorted images they would each hold
    one class, and are as nearly of one size as can be.

    Args:
        model: The first network.
        split: The images.
        other: The second; the first with itself where None.
        stages: Of the first: names or paths; all stages of its features where none is named.
        other_stages: Of the second, likewise.
        batch_size: Images of a batch at most, 4 or more; up to 7 where the last would else have fewer than four.

    Raises:
        UsageError: no such stage, or a network without stages of which none is named.
        DataError: fewer than four images.
        NumbersError: features that are NaN or infinite.

    Source: Kornblith et al. 2019, arXiv:1905.00414; Nguyen, Raghu and Kornblith 2021, arXiv:2010.15327, equation 3.
    """
    require("batch_size", batch_size, batch_size >= LEAST, "4 or more")
    if len(split) < LEAST:
        raise DataError(f"{split.name} holds {len(split)} images; the estimate of their similarity needs at least four")
    rows = _named(model, stages)
    columns = rows if other is None and not other_stages else _named(other or model, other_stages)
    shapes = (len(rows), len(columns)), (len(rows),), (len(columns),)
    cross, own, its = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
    for chosen in _batches(len(split), batch_size):
        grams = _grams(model, split, chosen, rows)
        others = grams if other is None and columns is rows else _grams(other or model, split, chosen, columns)
        cross += torch.stack([torch.stack([hsic(one, two) for two in others]) for one in grams])
        own += torch.stack([hsic(one, one) for one in grams])
        its += torch.stack([hsic(two, two) for two in others])
    size = (own[:, None] * its).clamp_min(0).sqrt()
    matrix = torch.where(size > 0, cross / size, 0)
    return Similarity(matrix.numpy(), rows, columns, len(split))


def hsic(one: Float[Tensor, "n n"], two: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion from two Gram matrices with empty diagonals.

    Source: Song et al. 2012, "Feature selection via dependence maximization", JMLR 13, equation 5.
    """
    n = len(one)
    crossed = (one.sum(0) * two.sum(0)).sum()
    whole = one.sum() * two.sum() / ((n - 1) * (n - 2))
    return ((one * two).sum() + whole - 2 * crossed / (n - 2)) / (n * (n - 3))


def gram(rows: Float[Tensor, "n d"]) -> Float64[Tensor, "n n"]:
    """Inner products of centred rows with each other, none with itself; 0 where all rows are equal but for rounding."""
    products, size = torch.zeros(len(rows), len(rows), dtype=torch.float64), 0.0
    for first in range(0, rows.shape[1], BLOCK):
        block = rows[:, first : first + BLOCK].double()
        size += float(block.square().sum())
        block = block - block.mean(0)  # which HSIC does not see; products of large numbers would lose digits
        products += block @ block.T
    return products.fill_diagonal_(0) if float(products.trace()) > STILL * size else torch.zeros_like(products)


def _named(model: Model, stages: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(stages)) or tuple(stages_of(model.network))
    if not found:
        raise UsageError(f"{model.bundle.name} has no named stages; name its layers by their paths")
    return found


def _batches(count: int, size: int) -> list[NDArray[np.int64]]:
    """All places in an order of their own, cut into batches of at least four."""
    order = permutation(key(0, "similarity"), count)
    return np.array_split(order, max(1, min(-(-count // size), count // LEAST)))


def _grams(model: Model, split: Split, chosen: NDArray[np.int64], stages: Sequence[str]) -> list[Tensor]:
    labels = torch.zeros(len(chosen), dtype=torch.int64)
    spec = model.bundle.preprocessing
    fitted = Fitted(Chosen(split.images, chosen), labels, spec, None, workers=os.cpu_count() or 1)
    grams = []
    for stage, found in stage_features(model, fitted, stages, pooled=False).items():
        if not bool(torch.isfinite(found).all()):
            raise NumbersError(f"{stage} gives NaN or infinity for some image; look at the network's weights")
        grams.append(gram(found.flatten(1)))
    return grams
