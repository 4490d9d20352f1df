"""The principal components of the training pixels' colours: the directions in which AlexNet's colour noise goes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.preprocessing import Preprocessing


class Components(NamedTuple):
    """Principal components of pixels divided by the scale, the largest first.

    Args:
        directions: (c, c); column j is the unit vector of component j, its largest entry positive.
        variances: (c,) along each: the eigenvalues of the covariance.
        std: (c,) what the network's numbers are divided by.
    """

    directions: NDArray[np.float64]
    variances: NDArray[np.float64]
    std: NDArray[np.float64]

    def shifts(self) -> NDArray[np.float64]:
        """(c, c): column j is what an alpha of 1 along component j adds to the network's numbers."""
        return self.directions * self.variances / self.std[:, None]


def principal_components(pixels: Shaped[Tensor, "n c s s"], spec: Preprocessing) -> Components:
    """The principal components of all pixels of the fitted images, whose scale and deviation the specification holds.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 4.1: the covariance of the RGB values over the training set.
    """
    channels = pixels.shape[1]
    sums = torch.zeros(channels, dtype=torch.float64)
    products = torch.zeros(channels, channels, dtype=torch.float64)
    for start in range(0, len(pixels), 256):
        rows = pixels[start : start + 256].cpu().permute(0, 2, 3, 1).reshape(-1, channels).double() / spec.scale
        sums += rows.sum(dim=0)
        products += rows.T @ rows
    count = pixels.numel() // channels
    mean = sums / count
    variances, directions = np.linalg.eigh((products / count - torch.outer(mean, mean)).numpy())
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(channels)]
    std = np.broadcast_to(np.asarray(spec.std, np.float64), channels).copy()
    return Components(directions * np.sign(largest), variances, std)
