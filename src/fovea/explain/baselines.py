"""Images in which nothing is to be seen, against which the others are held."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fovea.explain.options import Baseline

BLUR = 0.1  # of the image's side: the deviation at which no object of its size is left


def baseline_of(
    images: Float[Tensor, "n c h w"], which: Baseline, black: Float[Tensor, "1 c h w"] | None = None
) -> Float[Tensor, "n c h w"]:
    """Of each image the one in which nothing is to be seen: black, its mean colour, or itself blurred.

    Args:
        images: As the network receives them.
        which: Of the three.
        black: The black image, as the network receives it; zeros where None.
    """
    if which == "blurred":
        return blurred(images, BLUR * max(images.shape[2:]))
    if which == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    return torch.zeros_like(images) if black is None else black.to(images).expand_as(images)


def blurred(images: Float[Tensor, "n c h w"], deviation: float) -> Float[Tensor, "n c h w"]:
    """Images under a Gaussian of so many pixels' deviation; beyond the edge is what lies at the edge."""
    reach = max(1, round(3 * deviation))
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=images.shape[1])
