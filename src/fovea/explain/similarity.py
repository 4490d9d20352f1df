"""How alike layers and networks see images: linear centred kernel alignment, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.fitted import Fitted
from fovea.data.sets import Split
from fovea.errors import DataError, UsageError, require
from fovea.runtime.features import stage_features, stages_of
from fovea.runtime.model import Model

LEAST = 4  # images of a batch: the unbiased estimate divides by n - 3
BATCH = 64


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
    does not grow with the images.

    Args:
        model: The first network.
        split: The images.
        other: The second; the first with itself where None.
        stages: Of the first: names or paths; all stages of its features where none is named.
        other_stages: Of the second, likewise.
        batch_size: Images of a batch, 4 or more; what is left over and less than 4 is left out.

    Raises:
        UsageError: no such stage, or a network without stages of which none is named.
        DataError: fewer than four images.

    Source: Kornblith et al. 2019, arXiv:1905.00414; Nguyen, Raghu and Kornblith 2020, arXiv:2010.15327, equation 3.
    """
    require("batch_size", batch_size, batch_size >= LEAST, "4 or more")
    if len(split) < LEAST:
        raise DataError(f"{split.name} holds {len(split)} images; the estimate of their similarity needs at least four")
    rows = _named(model, stages)
    columns = rows if other is None and not other_stages else _named(other or model, other_stages)
    cross = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    own, its = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(columns), dtype=torch.float64)
    used = 0
    for first in range(0, len(split), batch_size):
        chosen = np.arange(first, min(first + batch_size, len(split)))
        if len(chosen) < LEAST:
            break
        used += len(chosen)
        grams = _grams(model, split, chosen, rows)
        others = grams if other is None and columns is rows else _grams(other or model, split, chosen, columns)
        cross += torch.stack([torch.stack([hsic(one, two) for two in others]) for one in grams])
        own += torch.stack([hsic(one, one) for one in grams])
        its += torch.stack([hsic(two, two) for two in others])
    size = (own[:, None] * its[None]).clamp_min(0).sqrt()
    matrix = torch.where(size > 0, cross / size.clamp_min(torch.finfo(torch.float64).tiny), 0)
    return Similarity(matrix.numpy(), rows, columns, used)


def hsic(one: Float[Tensor, "n n"], two: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion from two Gram matrices with empty diagonals.

    Source: Song et al. 2012, "Feature selection via dependence maximization", JMLR 13, equation 5.
    """
    n = len(one)
    crossed = (one.sum(0) * two.sum(0)).sum()
    whole = one.sum() * two.sum() / ((n - 1) * (n - 2))
    return ((one * two).sum() + whole - 2 * crossed / (n - 2)) / (n * (n - 3))


def gram(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Inner products of rows with each other, none of a row with itself; in double precision."""
    products = rows.double() @ rows.double().T
    return products.fill_diagonal_(0)


def _named(model: Model, stages: Sequence[str]) -> tuple[str, ...]:
    found = tuple(stages) or tuple(stages_of(model.network))
    if not found:
        raise UsageError(f"{model.bundle.name} has no named stages; name its layers by their paths")
    return found


def _grams(model: Model, split: Split, chosen: NDArray[np.int64], stages: Sequence[str]) -> list[Tensor]:
    from fovea.data.sets import Chosen

    labels = torch.zeros(len(chosen), dtype=torch.int64)
    fitted = Fitted(Chosen(split.images, chosen), labels, model.bundle.preprocessing, None)
    found = stage_features(model, fitted, stages, pooled=False)
    return [gram(found[stage].flatten(1)) for stage in stages]
