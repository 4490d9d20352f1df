"""Why an image does not fit a network: the layer, the size that reached it, and the smallest size that fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fovea.errors import ShapeError
from fovea.layers.weightless import call_weightless, weightless

Steps = Sequence[tuple[str, nn.Module]]  # the network's stages and its head's modules in order, with their names

LARGEST = 1024  # pixels; a network that takes no image up to here is not explained


def shape_after(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape a module makes of one image or feature map, both without the batch; nothing is computed.

    Raises:
        RuntimeError: the shape does not fit the module; torch says why.
        NotImplementedError: the module gives no tensor, or cannot run without memory.
    """
    with _evaluating(module), torch.no_grad():
        output = call_weightless(module, weightless(module), torch.empty(1, *shape, device="meta"))
    if not isinstance(output, Tensor):
        raise NotImplementedError(f"{type(module).__name__} gives no tensor")
    return tuple(output.shape[1:])


def too_small(steps: Steps, shape: tuple[int, ...]) -> ShapeError | None:
    """What to tell the user after an image of this shape (channels, height, width) made torch raise.

    Args:
        steps: What the image passes, in order, with names.
        shape: The image's, without the batch.

    Returns:
        The error to raise; None where the shape fits, so that something else went wrong.
    """
    stopped = _stops_at(steps, shape)
    if stopped is None:
        return None
    index, reached = stopped
    least = smallest_image(steps, shape[0])
    rule = "no square image fits" if least is None else f"the smallest image that fits is {least}×{least}"
    return ShapeError(
        f"images of {_sides(shape)} pixels do not fit this network: {_sides(reached)} reaches {steps[index][0]}; {rule}"
    )


def smallest_image(steps: Steps, channels: int) -> int | None:
    """The side of the smallest square image that passes all steps, found by trying; None where none up to 1024 does."""
    furthest = _reach(steps, channels, LARGEST)
    low, high = 1, LARGEST
    while low < high:  # what the largest image passes, smaller ones pass from some size on
        middle = (low + high) // 2
        low, high = (low, middle) if _reach(steps, channels, middle) >= furthest else (middle + 1, high)
    # A head of fixed size lets only some sizes through: go on one by one.
    return next((size for size in range(low, LARGEST + 1) if _reach(steps, channels, size) == len(steps)), None)


def _reach(steps: Steps, channels: int, size: int) -> int:
    stopped = _stops_at(steps, (channels, size, size))
    return len(steps) if stopped is None else stopped[0]


def _stops_at(steps: Steps, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """The number of the first step that refuses its input, and that input's shape; None where all accept."""
    for index, (_, step) in enumerate(steps):
        try:
            after = shape_after(step, shape)
        except NotImplementedError:
            return None  # not to be judged without weights
        except RuntimeError:
            return index, shape
        shape = after
    return None


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in (shape[1:] if len(shape) == 3 else shape))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode for a while; each part then returns to the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
