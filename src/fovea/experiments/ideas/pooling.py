"""Overlapping pooling, and the largest against the mean."""

from __future__ import annotations

from typing import Any

from torch import nn

from fovea.experiments.ideas.change import Change, Idea, Shape, replaced, swapped


def _tiled(network: nn.Module, _shape: Shape) -> int:
    return replaced(network, lambda pool: _apart(pool) if isinstance(pool, nn.MaxPool2d) else None)


def _apart(pool: Any) -> nn.Module | None:
    """The pooling with windows as large as its step; None where they are already, or the size stays."""
    step, window = _number(pool.stride), _number(pool.kernel_size)
    if step < 2 or window <= step:
        return None
    return nn.MaxPool2d(step, stride=step, ceil_mode=pool.ceil_mode)


def _mean(pool: Any) -> nn.Module:
    window, stride, padding = pool.kernel_size, pool.stride, pool.padding
    return nn.AvgPool2d(window, stride, padding, ceil_mode=pool.ceil_mode, count_include_pad=False)


def _number(value: Any) -> int:
    return int(value[0]) if isinstance(value, tuple) else int(value)


OVERLAPPING_POOLING = Idea(
    words="pooling whose windows overlap",
    source="Krizhevsky, Sutskever and Hinton 2012, section 3.4",
    without={"tiled": Change(words="windows as large as their step", network=_tiled)},
    where="networks that pool 3×3 at step 2: AlexNet, GoogLeNet, ResNet for ImageNet",
)
MAX_POOLING = Idea(
    words="the largest of a window",
    source="Scherer, Müller and Behnke 2010",
    without={"mean": Change(words="the mean of each window", network=swapped(nn.MaxPool2d, _mean))},
    where="networks with max pooling",
)
