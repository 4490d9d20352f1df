"""What one layer makes of its input and what that costs, from the numbers alone: no module, no torch.

Along one axis a kernel of k weights, d pixels apart, reaches over r = d · (k - 1) + 1 pixels; in steps of s over n
pixels and their padding it has floor((n + padding - r) / s) + 1 places, rounded up where a pooling says so.

Source: Dumoulin and Visin 2016, arXiv:1603.07285.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from fovea.errors import ShapeError

Pair = tuple[int, int]  # along height and width; of a padding: before and after
Padding = tuple[Pair, Pair] | Literal["same", "full"]
Kind = Literal["conv", "dw", "max", "avg", "gap", "fc"]

FLOAT32 = 4  # bytes
NONE: Padding = ((0, 0), (0, 0))


class Maps(NamedTuple):
    """The feature maps of one image, or the image itself; channels is 0 where nobody has told them."""

    channels: int
    height: int
    width: int

    @property
    def elements(self) -> int:
        """Numbers in all maps together."""
        return math.prod(self)

    @property
    def bytes(self) -> int:
        """What they take in float32."""
        return self.elements * FLOAT32

    def __str__(self) -> str:
        return f"{self.height}×{self.width}" + (f"×{self.channels}" if self.channels else "")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A window moved along one axis.

    Args:
        size: Pixels of the input.
        kernel: Weights of the window.
        stride: Pixels from one window to the next.
        before, after: Pixels of padding at either end.
        dilation: Pixels from one weight to the next.
        ceil: Whether a last window may hang over the end; one that begins behind the input is dropped, as in torch.

    Raises:
        ShapeError: a number out of range, or a window that does not fit.
    """

    size: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil: bool = False

    def __post_init__(self) -> None:
        positive(size=self.size, kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        if min(self.before, self.after) < 0:
            raise ShapeError(f"padding (={self.before} and {self.after}) must be 0 or more")
        if self.output < 1:
            raise ShapeError(_misfit(self))

    @property
    def reach(self) -> int:
        """Pixels from the window's first weight to its last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        """Pixels with the padding."""
        return self.size + self.before + self.after

    @property
    def room(self) -> int:
        """Pixels by which the window can move."""
        return self.padded - self.reach

    @property
    def steps(self) -> int:
        """Strides that fit into the room, rounded as it is told."""
        return -(-self.room // self.stride) if self.ceil else self.room // self.stride

    @property
    def output(self) -> int:
        """How many windows there are."""
        dropped = self.ceil and self.steps * self.stride >= self.size + self.before
        return self.steps + 1 - dropped

    @property
    def left(self) -> int:
        """Pixels behind the last window, padding included; below 0, how many it hangs over."""
        return self.room - (self.output - 1) * self.stride

    @property
    def lost(self) -> int:
        """Pixels of the input itself behind the last window: what rounding down costs."""
        return min(max(self.left - self.after, 0), self.size)

    @property
    def unseen(self) -> int:
        """Pixels of the input that no weight ever meets: those lost, and those between windows or weights."""
        if (self.dilation == 1 and self.stride <= self.kernel) or (self.stride == 1 and self.dilation <= self.output):
            return self.lost  # without gaps
        met = bytearray(self.padded)
        for first in range(0, min(self.reach, self.padded), self.dilation):
            places = range(first, min(first + (self.output - 1) * self.stride + 1, self.padded), self.stride)
            met[places.start : places.stop : places.step] = b"\1" * len(places)
        return self.size - sum(met[self.before : self.before + self.size])


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer as one writes it down; pairs are height and width.

    Args:
        kind: Convolution, depthwise convolution, max, average or global average pooling, fully connected.
        kernel, stride, dilation: Of the window.
        padding: Before and after along each axis; or "same", which gives ceil(n / stride), the odd pixel behind, as
            TensorFlow has it; or "full", wherever the window touches the input.
        groups: Parts of the channels that do not see each other.
        out_channels: Of a convolution, or units; 0 where nobody has told them.
        ceil: Whether sizes are rounded up.
        bias: Whether each output channel has one.
    """

    kind: Kind
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = NONE
    dilation: Pair = (1, 1)
    groups: int = 1
    out_channels: int = 0
    ceil: bool = False
    bias: bool = True

    @property
    def windowed(self) -> bool:
        """Whether it moves a window, rather than seeing all of its input at once."""
        return self.kind not in ("gap", "fc")

    @property
    def learns(self) -> bool:
        """Whether it has weights."""
        return self.kind in ("conv", "dw", "fc")

    def extents(self, maps: Maps) -> tuple[Extent, Extent]:
        """Its window along height and width.

        Raises:
            ShapeError: a window that does not fit, or a pooling padded by more than half its kernel.
        """
        both = self._extent(0, maps.height), self._extent(1, maps.width)
        for each in () if self.learns or self.padding == "same" else both:
            if (padding := max(each.before, each.after)) > each.kernel // 2:
                rule = f"must be at most half its kernel (={each.kernel}), or a window could hold nothing else"
                raise ShapeError(f"the padding (={padding}) of a pooling {rule}: {each.kernel // 2} would do")
        return both

    def _extent(self, axis: int, size: int) -> Extent:
        kernel, stride, dilation = self.kernel[axis], self.stride[axis], self.dilation[axis]
        positive(kernel=kernel, stride=stride, dilation=dilation)
        reach = dilation * (kernel - 1) + 1
        if self.padding == "same":
            before, after = same_padding(size, reach, stride=stride)
        else:
            before, after = (reach - 1, reach - 1) if self.padding == "full" else self.padding[axis]
        return Extent(
            size=size, kernel=kernel, stride=stride, before=before, after=after, dilation=dilation, ceil=self.ceil
        )


@dataclass(frozen=True, kw_only=True)
class Worked:
    """A layer worked out on its input; prints itself step by step. Counts are for one image.

    Args:
        layer: The layer; of a depthwise convolution with the groups and channels that the input gives it.
        before, after: The maps that enter and leave.
        extents: Its window along height and width; empty where it sees everything.
        factors: The numbers whose product is the weights; empty where it has none.
        batch_size: Images that the printed text adds up at its end.
    """

    layer: Layer
    before: Maps
    after: Maps
    extents: tuple[Extent, ...]
    factors: tuple[int, ...]
    batch_size: int = 1

    @property
    def weights(self) -> int:
        """Parameters without biases."""
        return math.prod(self.factors) if self.factors else 0

    @property
    def biases(self) -> int:
        """One for each output channel, or none."""
        return self.after.channels if self.layer.learns and self.layer.bias else 0

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def macs(self) -> int:
        """Multiply-adds, without biases: every weight once for each place of the output; none for poolings."""
        return self.weights * self.after.height * self.after.width

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines; without counts where nobody has told the channels."""
        sides = {
            axis: {"output": each.output, "padding": [each.before, each.after]}
            | {name: getattr(each, name) for name in ("left", "lost", "unseen")}
            for axis, each in zip(("height", "width"), self.extents, strict=False)
        }
        counts = {"elements": self.after.elements, "bytes": self.after.bytes}
        counts |= {name: getattr(self, name) for name in ("weights", "biases", "parameters", "macs")}
        counts |= {"flops": 2 * self.macs, "batch_size": self.batch_size}
        output = self.after._asdict() | {"channels": self.after.channels or None}
        return {"input": self.before._asdict(), "output": output, **sides, **(counts if self.after.channels else {})}

    def __str__(self) -> str:
        from fovea.cost.chain import text

        return text(self)


def work(layer: Layer, maps: Maps, *, batch_size: int = 1) -> Worked:
    """Work a layer out.

    Raises:
        ShapeError: sizes that do not fit each other.
    """
    positive(in_channels=maps.channels, groups=layer.groups, batch_size=batch_size)
    if layer.kind == "dw":
        layer = replace(layer, groups=maps.channels, out_channels=maps.channels)
    _divide(layer, maps)
    extents = layer.extents(maps) if layer.windowed else ()
    height, width = (extent.output for extent in extents) if extents else (1, 1)
    channels = layer.out_channels if layer.learns else maps.channels
    factors: tuple[int, ...] = (*layer.kernel, maps.channels // layer.groups, channels) if layer.learns else ()
    if layer.kind == "fc":
        factors = (maps.elements, channels)
    after = Maps(channels, height, width)
    return Worked(layer=layer, before=maps, after=after, extents=extents, factors=factors, batch_size=batch_size)


def same_padding(size: int, reach: int, *, stride: int = 1) -> Pair:
    """Pixels before and after one axis, so that ceil(size / stride) windows fit; the odd one stands behind."""
    missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2


def positive(**numbers: int) -> None:
    """Refuse numbers below 1, with a ShapeError that names the first."""
    for name, number in numbers.items():
        if number < 1:
            raise ShapeError(f"{name} (={number}) must be 1 or more")


def _divide(layer: Layer, maps: Maps) -> None:
    """Groups must divide both counts of channels; a count that nobody has told, 0, fits all."""
    groups, both = layer.groups, math.gcd(maps.channels, layer.out_channels)
    for name, channels in (("in_channels", maps.channels), ("out_channels", layer.out_channels)):
        if over := channels % groups:
            near = f"{channels - over} or {channels - over + groups}" if channels > groups else f"{groups}"
            fitting = min((n for n in range(1, both + 1) if both % n == 0), key=lambda n: abs(n - groups))
            raise ShapeError(
                f"{name} (={channels}) must be divisible by groups (={groups}), and {channels} / {groups} = "
                f"{channels / groups:.4g}: {near} channels would do, or groups of {fitting}"
            )


def _misfit(extent: Extent) -> str:
    """Why a window does not fit, and what would."""
    missing = -extent.room - (extent.stride - 1 if extent.ceil else 0)
    gaps = f", over {extent.reach} pixels with dilation {extent.dilation}" if extent.dilation > 1 else ""
    padding = f" + {extent.before} + {extent.after}" if extent.before or extent.after else ""
    sum_ = f"{extent.size}{padding} − {extent.reach} = −{-extent.room}"
    kernel = (extent.padded - 1) // extent.dilation + 1
    return (
        f"the kernel (={extent.kernel}{gaps}) must fit the padded input, and {sum_} is below 0: a kernel of {kernel}, "
        f"a size of {extent.size + missing} or {-(-missing // 2)} more padding on each side would do"
    )
