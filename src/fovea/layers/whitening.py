"""Whitening filters: a first convolution whose outputs on patches are uncorrelated; computed, not learned."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import UsageError

FLOOR = 5e-4  # added to the variances, so that directions of next to none are not blown up
AT_ONCE = 256  # images


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The convolution that stands first in a network.

    Raises:
        UsageError: there is none.
    """
    found = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if found is None:
        raise UsageError(f"whiten needs a first convolution; {type(network).__name__} has none")
    return found


def check_whitening(convolution: nn.Conv2d) -> None:
    """Refuse a convolution that cannot hold all whitening filters of its patches.

    Raises:
        UsageError: it has too few filters, or does not see all channels at once; with the numbers.
    """
    height, width = convolution.kernel_size
    needed = 2 * height * width * convolution.in_channels
    if convolution.groups != 1:
        raise UsageError(f"whiten needs a first convolution of one group; it has groups={convolution.groups}")
    if needed > convolution.out_channels:
        raise UsageError(
            f"whiten needs a first convolution of {needed} filters or more, two for each number of a patch of "
            f"{height}×{width}×{convolution.in_channels}; it has out_channels={convolution.out_channels}: "
            "leave whiten off for this network"
        )


@torch.no_grad()
def start_whitening(convolution: nn.Conv2d, images: Float[Tensor, "n c h w"]) -> None:
    """Fill a convolution with the whitening filters of images; filters beyond those stay as they are.

    Raises:
        UsageError: the filters do not fit.
    """
    check_whitening(convolution)
    height, width = convolution.kernel_size
    filters = whitening_filters(images, (height, width))
    both = torch.cat([filters, -filters])  # what a rectifier cuts off of one, it leaves of the other
    convolution.weight[: len(both)] = both.to(convolution.weight.device, convolution.weight.dtype)


def whitening_filters(
    images: Float[Tensor, "n c h w"], kernel: tuple[int, int], *, floor: float = FLOOR
) -> Float[Tensor, "d c a b"]:
    """The principal directions of all patches of the images, each divided by the deviation along it; largest first.

    The patches are taken as they are, about zero: normalise the images before. What the filters give on these patches
    has the unit matrix as second moments, but for the floor. Computed on the CPU in float64, the same in every process.

    Args:
        images: Normalised images.
        kernel: Height and width of a patch in pixels.
        floor: Added to the variances.

    Source: Jordan 2024, arXiv:2404.00498, section 3.2, after Page 2019.
    """
    channels = images.shape[1]
    size = channels * kernel[0] * kernel[1]
    moments, count = torch.zeros(size, size, dtype=torch.float64), 0
    for part in torch.chunk(images, -(-len(images) // AT_ONCE)):
        patches = F.unfold(part.double().cpu(), kernel).transpose(0, 1).flatten(1)
        moments += patches @ patches.T
        count += patches.shape[1]
    variances, directions = torch.linalg.eigh(moments / count)
    filters: Tensor = (directions / (variances + floor).sqrt()).T.flip(0)
    return filters.reshape(size, channels, *kernel).float()
