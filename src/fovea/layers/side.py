"""How large the feature maps become on their way through a sequence of stages, by arithmetic on the modules alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from torch import nn

from fovea.errors import ShapeError

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def side_after(stages: Mapping[str, nn.Module], image_size: int) -> int:
    """Side of the square maps, in pixels, that leave the last of stages which run one after another.

    Convolutions and poolings count, in the order in which they stand; every other module is taken to keep the size.

    Raises:
        ShapeError: nothing is left somewhere; says which stage, what reached it, and the least image_size that fits.
    """
    side = image_size
    for name, stage in stages.items():
        before, side = side, _through(stage, side)
        if side < 1:
            least = next(size for size in itertools.count(image_size + 1) if _fits(stages, size))
            raise ShapeError(
                f"image_size (={image_size}) is too small: {before} pixels a side reach {name} and none leave it; "
                f"{least} is the least"
            )
    return side


def _fits(stages: Mapping[str, nn.Module], side: int) -> bool:
    for stage in stages.values():
        side = _through(stage, side)
        if side < 1:
            return False
    return True


def _through(stage: nn.Module, side: int) -> int:
    for module in stage.modules():
        if isinstance(module, WINDOWED):
            side = _after_window(module, side)
            if side < 1:
                return 0
    return side


def _after_window(module: nn.Module, side: int) -> int:
    kernel, stride, padding = (_number(getattr(module, name)) for name in ("kernel_size", "stride", "padding"))
    reach = _number(getattr(module, "dilation", 1)) * (kernel - 1) + 1
    room = side + 2 * padding - reach
    if not getattr(module, "ceil_mode", False):
        return room // stride + 1
    windows = -(-room // stride) + 1
    # As torch and Caffe have it: no window may start in the padding behind the image.
    return windows - 1 if (windows - 1) * stride >= side + padding else windows


def _number(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
