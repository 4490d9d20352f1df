"""TensorFlow's SAME padding: the output is the input over the stride, rounded up, whatever the size and the stride.

What is missing is added in halves; an odd pixel more goes to the bottom and the right. So a 3×3 kernel at stride 2 pads
an even image by nothing above and one pixel below, where torch's `padding=1` pads one above and leaves the last unused:
the same sizes, but a grid shifted by one pixel, and other logits from the same weights.

Source: TensorFlow, documentation of tf.nn, "Notes on padding".
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ShapeError

Sides = tuple[int, int]  # pixels before and after
LOWEST = float("-inf")  # what never is a maximum


def same_padding(size: int, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> Sides:
    """Pixels to add before and after one axis, so that ceil(size / stride) positions of the kernel fit."""
    reach = dilation * (kernel_size - 1) + 1
    missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2


class SamePadConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: `nn.Conv2d` itself where that is symmetric.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, or (height, width).
        stride: Step of the kernel, in pixels of the input.
        dilation: Distance between the kernel's weights, in pixels of the input.
        groups: Into how many parts the channels are cut; as many as `in_channels` makes it depthwise.
        bias: Whether each output channel has one.

    Raises:
        ShapeError: the channels cannot be divided by groups, or the kernel, stride or dilation is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        _check(kernel_size, stride, dilation)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if groups < 1 or channels % groups:
                raise ShapeError(f"{name} (={channels}) must be divisible by groups (={groups})")
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias
        )

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Feature maps at 1/stride of the resolution, rounded up."""
        rows, columns = (
            same_padding(maps.shape[2 + axis], self.kernel_size[axis], stride=self.stride[0], dilation=self.dilation[0])
            for axis in (0, 1)
        )
        maps, padding = _padded(maps, rows, columns, value=0.0)
        return F.conv2d(maps, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The sizes, for print(network)."""
        return f"{super().extra_repr()}, padding=same"  # type: ignore[no-untyped-call]  # torch's own


class _SamePool2d(nn.Module):
    def __init__(self, kernel_size: int, *, stride: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        _check(self.kernel_size, self.stride, 1)

    def _pad(self, maps: Tensor, value: float) -> tuple[Tensor, Sides]:
        rows, columns = (same_padding(size, self.kernel_size, stride=self.stride) for size in maps.shape[2:])
        return _padded(maps, rows, columns, value=value)

    def extra_repr(self) -> str:
        """The sizes, for print(network)."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding=same"


class SameMaxPool2d(_SamePool2d):
    """Maximum pooling with TensorFlow's SAME padding; what is padded never is the maximum.

    Args:
        kernel_size: Side of the window, in pixels.
        stride: Step of the window, in pixels; the window's side where None.
    """

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """The maps at 1/stride of the resolution, rounded up."""
        maps, padding = self._pad(maps, LOWEST)
        return F.max_pool2d(maps, self.kernel_size, self.stride, padding)


class SameAvgPool2d(_SamePool2d):
    """Mean pooling with TensorFlow's SAME padding; the mean is over the window's pixels inside the image.

    Args:
        kernel_size: Side of the window, in pixels.
        stride: Step of the window, in pixels; the window's side where None.
    """

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """The maps at 1/stride of the resolution, rounded up."""
        padded, padding = self._pad(maps, 0.0)
        means = F.avg_pool2d(padded, self.kernel_size, self.stride, padding, count_include_pad=False)
        if padded is maps:
            return means
        inside, _ = self._pad(maps.new_ones(1, 1, *maps.shape[2:]), 0.0)
        return means / F.avg_pool2d(inside, self.kernel_size, self.stride)


def _padded(maps: Tensor, rows: Sides, columns: Sides, *, value: float) -> tuple[Tensor, Sides]:
    """The maps padded as far as the operation itself cannot, and the padding left to it."""
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return maps, (rows[0], columns[0])
    return F.pad(maps, (*columns, *rows), value=value), (0, 0)


def _check(kernel_size: int | tuple[int, int], stride: int, dilation: int) -> None:
    sides = (kernel_size,) if isinstance(kernel_size, int) else kernel_size
    for name, value in (("kernel_size", min(sides)), ("stride", stride), ("dilation", dilation)):
        if value < 1:
            raise ShapeError(f"{name} (={value}) must be 1 or more")
