"""A locally connected layer: a convolution's windows, but every position has weights of its own."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ShapeError


class LocallyConnected2d(nn.Module):
    """Local receptive fields without shared weights: what a convolution is before weights are shared.

    Each output has a kernel of its own, so the weights are as many as outputs times kernel, the multiply-adds are those
    of the convolution, and a shifted image is another image. The layer belongs to one image size.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, in pixels.
        image_size: Side of the square maps it takes, in pixels.
        stride: Step of the window, in pixels.
        padding: Zeros on each side, in pixels.

    Raises:
        ShapeError: a number is too small, or the kernel is larger than the padded maps; in `forward`, maps of another
            size.

    Source: LeCun 1989, "Generalization and network design strategies", the net with local connections (Net-3 of its
    comparison, from memory); Taigman et al. 2014, "DeepFace", CVPR, layers L4 to L6.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        image_size: int,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__()
        _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride)
        if padding < 0 or image_size + 2 * padding < kernel_size:
            raise ShapeError(
                f"kernel_size (={kernel_size}) must be at most image_size + 2 · padding (={image_size} + 2 · {padding})"
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.image_size, self.stride, self.padding = image_size, stride, padding
        self.side = (image_size + 2 * padding - kernel_size) // stride + 1  # of the output, in pixels
        self.weight = nn.Parameter(torch.empty(self.side**2, out_channels, in_channels * kernel_size**2))
        self.bias = nn.Parameter(torch.empty(out_channels, self.side, self.side))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights and biases uniformly within ± 1 / sqrt(fan-in), as torch's own layers have it."""
        bound = 1 / math.sqrt(self.weight.shape[-1])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Feature maps of shape (n, out_channels, side, side)."""
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(maps.shape[1:]) != expected:
            raise ShapeError(f"maps have the shape {tuple(maps.shape[1:])}, but this layer's positions need {expected}")
        windows = F.unfold(maps, self.kernel_size, stride=self.stride, padding=self.padding)
        outputs = torch.bmm(windows.permute(2, 0, 1), self.weight.transpose(1, 2))  # position, image, channel
        return outputs.permute(1, 2, 0).reshape(len(maps), self.out_channels, self.side, self.side) + self.bias

    def multiply_adds(self, output: Float[Tensor, "n k h2 w2"]) -> int:
        """Multiply-adds of one image: outputs times kernel, each weight once."""
        return output[0].numel() * self.in_channels * self.kernel_size**2

    def extra_repr(self) -> str:
        """The sizes, for print(network)."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, image_size={self.image_size}, "
            f"stride={self.stride}, padding={self.padding}"
        )


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ShapeError(f"{name} (={number}) must be 1 or more")
