"""What would do where images do not fit: the arithmetic of the layer that refuses them, and the nearest sizes that run.

The nearest sizes are found by running the module, on the meta device, and not by a rule: networks that halve five
times, that want multiples of 32, or that end in a head of fixed size are all answered alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from fovea.cost.recorder import Call, Recorder, Trace
from fovea.cost.running import forward_on_meta, image_batch, shapes_only
from fovea.errors import FoveaError

AROUND = 64  # pixels by which a side is changed at most
STARTING = 50  # operations in whose time a trial begins and ends
OPERATIONS = 20_000  # that all trials run together, about a second; the message says which sizes they came to
POOLINGS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd)


class Refused(BaseException):
    """An operation has failed; no Exception, lest a network that explains its own errors takes seconds to do so."""


def advice(module: nn.Module, in_channels: int, image_size: tuple[int, int]) -> str:
    """What follows the message of a module that does not take these images: each part begins with a semicolon.

    Args:
        module: Has just refused them.
        in_channels: Of the images.
        image_size: Of the images: (height, width) in pixels.
    """
    trace = refusal(module, in_channels, image_size)
    if trace is None:
        return ""
    call = next((each for each in trace.calls if _refuses(each)), None)
    wanted = _channels(call) if call is not None else None
    if call is not None and wanted is not None:
        came = call.inputs[0].shape
        told = f"; {_many(came[1], 'channel')} came in, {wanted} {'is' if wanted == 1 else 'are'} expected"
        return told + (f": give in_channels={wanted}" if came[1:] == (in_channels, *image_size) else "")
    found, tried = nearest(module, in_channels, image_size)
    reason = _window(call) or _units(call, trace) if call is not None else ""
    if found:
        return f"{reason}; it runs with images of {' or '.join(f'{side}×{side}' for side in found)} pixels"
    return f"{reason}; no square image of {min(tried)} to {max(tried)} pixels runs" if reason and tried else reason


def refusal(module: nn.Module, in_channels: int, image_size: tuple[int, int]) -> Trace | None:
    """What a module did until it refused the images; None where it takes them."""
    recorder = Recorder(run=_strictly)
    try:
        forward_on_meta(module, image_batch(in_channels, image_size), recorder)
    except (Refused, FoveaError):
        return recorder.trace
    return None


def nearest(module: nn.Module, in_channels: int, image_size: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Sides of square images that the module takes, and all that were tried.

    They are the nearest one below the given size, or below the middle of its sides, and the nearest one above.
    """
    middle = sum(image_size) // 2
    reach = AROUND + abs(image_size[0] - image_size[1]) // 2
    fitting: dict[bool, int] = {}  # by whether they are above
    tried: list[int] = []
    operations = 0
    for side in _outward(middle, reach):
        if len(fitting) == 2 or operations >= OPERATIONS:
            break
        if (side > middle) in fitting or (side, side) == image_size:
            continue
        tried.append(side)
        trace = refusal(module, in_channels, (side, side))
        if trace is None:
            fitting[side > middle] = side
        else:
            operations += STARTING + len(trace.operations)
    return sorted(fitting.values()), tried


def _strictly(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, float]:
    try:
        return shapes_only(function, args, kwargs)
    except Exception as error:
        raise Refused from error


def _outward(middle: int, reach: int) -> Iterator[int]:
    pairs = ((middle - distance, middle + distance) for distance in range(reach + 1))
    return (side for side in dict.fromkeys(itertools.chain.from_iterable(pairs)) if side > 0)


def _refuses(call: Call) -> bool:
    """Whether a layer whose arithmetic is known has begun, and never ended."""
    known = isinstance(call.module, (nn.modules.conv._ConvNd, nn.Linear, *POOLINGS))
    return known and call.shape is None and bool(call.inputs)


def _channels(call: Call) -> int | None:
    """The channels that a convolution expects, where others came in."""
    module, came = call.module, call.inputs[0].shape
    if not isinstance(module, nn.modules.conv._ConvNd) or len(came) != len(module.kernel_size) + 2:
        return None
    return module.in_channels if came[1] != module.in_channels else None


def _window(call: Call) -> str:
    """How a convolution or pooling comes to less than one pixel."""
    module: Any = call.module
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvTransposeNd)):
        return ""
    axes = len(module.kernel_size) if isinstance(module.kernel_size, tuple) else len(call.inputs[0].shape) - 2
    numbers = [_sides(module, name, axes) for name in ("kernel_size", "stride", "padding", "dilation")]
    for size, *window in zip(call.inputs[0].shape[-axes:], *numbers, strict=True):
        if formula := _place(size, *window, ceil=getattr(module, "ceil_mode", False)):
            layer = f"{call.path} ({type(module).__name__})" if call.path else "it"
            return f"; {layer} would give {formula} pixels"
    return ""


def _place(size: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil: bool) -> str:
    """The formula along one axis with its numbers, where the window does not fit."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    steps = -(-room // stride) if ceil else room // stride
    if steps >= 0:
        return ""
    reach = f"{kernel}" if dilation == 1 else f"{dilation}·({kernel} − 1) − 1"
    rounding = "ceil" if ceil else "floor"
    return f"{rounding}(({size} + 2·{padding} − {reach})/{stride}) + 1 = {_signed(steps + 1)}"


def _units(call: Call, trace: Trace) -> str:
    """How many units a linear layer got and how many it expects, as channels times sides where they were maps."""
    module, came = call.module, call.inputs[0].shape
    if not isinstance(module, nn.Linear) or not came or came[-1] == module.in_features:
        return ""
    expected, maps = module.in_features, _maps_before(call, trace)
    if len(came) == 4 and math.prod(came[1:]) == expected:
        return f"; it expects {expected} = {_product(came[1:])} units in a row: flatten the maps before it"
    if not maps or math.prod(maps) != came[-1]:
        return f"; {came[-1]} units came in, {expected} are expected"
    side = math.isqrt(expected // maps[0])
    fits = maps[0] * side * side == expected and len(maps) == 3
    factors = (maps[0], side, side) if fits else (maps[0], expected // maps[0]) if expected % maps[0] == 0 else ()
    known = f" = {_product(factors)}" if factors else ""
    return f"; {came[-1]} = {_product(maps)} units came in, {expected}{known} are expected"


def _maps_before(call: Call, trace: Trace) -> tuple[int, ...]:
    """The last maps before a layer, without the batch."""
    shapes = [each.shape for operation in trace.operations[: call.at] for each in operation.outputs]
    return next((shape[1:] for shape in reversed(shapes) if len(shape) > 2), ())


def _sides(module: Any, name: str, axes: int) -> tuple[int, ...]:
    value = getattr(module, name, 1)
    if isinstance(value, str):  # of a padding
        return (0,) * axes
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _product(factors: Sequence[int]) -> str:
    return "·".join(map(str, factors))


def _signed(number: int) -> str:
    return f"{number}".replace("-", "−")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")
