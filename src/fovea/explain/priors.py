"""What keeps an optimised image an image: shifts and turns that it must survive, and penalties on noise."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fovea.randomness import uniforms

FLAT = 1e-8  # added to squared differences, so that the gradient of a root exists where an image is flat


def offsets(most: int, draw_key: int) -> tuple[int, int]:
    """How far down and how far right, each from -most to most, drawn by the key alone."""
    down, right = (int(draw) - most for draw in uniforms(draw_key, [0], 2)[0] * (2 * most + 1))
    return down, right


def jittered(images: Float[Tensor, "n c h w"], most: int, draw_key: int) -> Float[Tensor, "n c h w"]:
    """All images shifted by as much, at most so many pixels each way; what leaves at one edge enters at the other.

    Source: Mordvintsev, Olah and Tyka 2015, "Inceptionism", Google research blog.
    """
    return images.roll(offsets(most, draw_key), (2, 3)) if most else images


def turned(images: Float[Tensor, "n c h w"], degrees: float, zoom: float, draw_key: int) -> Float[Tensor, "n c h w"]:
    """All images turned and enlarged about their centre by as much, interpolated; beyond the edge they are mirrored.

    Args:
        images: Any.
        degrees: The angle is drawn from -degrees to degrees.
        zoom: The enlargement is drawn from 1 - zoom to 1 + zoom.
        draw_key: Of both draws.

    Source: Olah, Mordvintsev and Schubert 2017, "Feature visualization", Distill, section "Transformation robustness".
    """
    if not degrees and not zoom:
        return images
    turn, size = 2 * uniforms(draw_key, [0], 2)[0] - 1
    angle, inverse = math.radians(degrees * turn), 1 / (1 + zoom * size)
    height, width = images.shape[2:]
    cosine, sine = inverse * math.cos(angle), inverse * math.sin(angle)
    matrix = [[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]
    places = torch.tensor([matrix], dtype=images.dtype, device=images.device)
    grid = F.affine_grid(places, [1, *images.shape[1:]], align_corners=False)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="reflection", align_corners=False)


def total_variation(images: Float[Tensor, "n c h w"], beta: float = 2.0) -> Float[Tensor, "n"]:
    """Of each image the mean over its values of (difference to the right squared + that below squared) ** (beta / 2).

    Where there is nothing to the right or below, that difference is 0. A beta above 1 blurs edges, 1 keeps them sharp
    and leaves spikes.

    Source: Mahendran and Vedaldi 2015, arXiv:1412.0035, section 2.1; divided by the number of values, so that a weight
    means the same for every size.
    """
    right = F.pad(images.diff(dim=3), (0, 1)).square()
    below = F.pad(images.diff(dim=2), (0, 0, 0, 1)).square()
    squares = right + below
    powers = squares if beta == 2 else (squares + FLAT) ** (beta / 2) - FLAT ** (beta / 2)
    return powers.mean((1, 2, 3))


def alpha_norm(images: Float[Tensor, "n c h w"], alpha: float = 6.0) -> Float[Tensor, "n"]:
    """Of each image the mean of |value| ** alpha, 0 being the middle of the range: what keeps values inside it.

    Source: Mahendran and Vedaldi 2015, arXiv:1412.0035, section 2.1; divided by the number of values.
    """
    return images.abs().pow(alpha).mean((1, 2, 3))
