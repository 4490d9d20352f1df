"""Colours kept: styles recoloured like the content first, or brightness alone transferred.

Source: Gatys, Bethge, Hertzmann and Shechtman 2016, arXiv:1606.05897, "Preserving color in neural artistic style
transfer", sections 3 and 4.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fovea.style.sizing import LUMA, Picture

FLAT = 1e-5  # added to variances of colours in [0, 1], so that one colour alone has a covariance too


def recoloured(picture: Picture, like: Picture) -> Picture:
    """A picture with the mean and the covariance of another one's colours, by the symmetric linear map between them."""
    own, wanted = (each.reshape(-1, 3) / 255 for each in (picture, like))
    moved = (own - own.mean(0)) @ (_root(own, -0.5) @ _root(wanted, 0.5)) + wanted.mean(0)
    return _rounded(moved).reshape(picture.shape)


def rebrightened(picture: Picture, like: Picture) -> Picture:
    """A picture's brightness, in three equal channels, with the mean and deviation of another one's."""
    own, wanted = (each @ np.array(LUMA) / 255 for each in (picture, like))
    deviations = np.sqrt((wanted.var() + FLAT) / (own.var() + FLAT))
    moved = (own - own.mean()) * deviations + wanted.mean()
    return np.repeat(_rounded(moved)[:, :, None], 3, axis=2)


def grey(picture: Picture) -> Picture:
    """A picture's brightness in three equal channels."""
    return np.repeat(_rounded(picture @ np.array(LUMA) / 255)[:, :, None], 3, axis=2)


def with_colours_of(images: Float[Tensor, "1 3 h w"], picture: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 h w"]:
    """The brightness of some images with the colours of a picture: its differences from its own brightness are kept."""
    weights = torch.tensor(LUMA, device=images.device)[:, None, None]
    bright, own = ((each * weights).sum(1, keepdim=True) for each in (images, picture))
    return bright + picture - own


def _root(colours: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """A power of the covariance of colours (n, 3)."""
    values, vectors = np.linalg.eigh(np.cov(colours.T) + FLAT * np.eye(3))
    found: NDArray[np.float64] = (vectors * values**power) @ vectors.T
    return found


def _rounded(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = (values.clip(0, 1) * 255).round().astype(np.uint8)
    return found
