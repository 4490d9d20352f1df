"""Receptive fields measured: which pixels a unit's gradient reaches, where nothing hides or cancels any."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fovea.cost.recorder import FIELD, Recorder
from fovea.cost.running import forward_on_meta, image_batch

SMALL = 1e-100  # the images' value, so that no activation is cut off above; without biases it grows in proportion


class MeanForMaximum(TorchFunctionMode):
    """Of a maximum only one pixel counts; of the mean over the same window, every one."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (F.max_pool2d, torch.max_pool2d):
            return mean_pooling(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def mean_pooling(images, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    assert dilation in (1, (1, 1))
    assert not return_indices
    images = images.masked_fill(images.isneginf(), 0)  # padding of a maximum
    return F.avg_pool2d(images, kernel_size, stride, padding, ceil_mode)


@torch.no_grad()
def transparent(network):
    """Weights that are all positive, no biases, normalisation that leaves things alone.

    A convolution takes the mean over channels and the sum over its window: so the gradient at the edge of a deep
    network's field does not vanish, and that in the middle stays within what double precision holds.
    """
    network = network.double().eval().requires_grad_(requires_grad=False)  # the images' gradient is all that is asked
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.fill_(1 / parameter.shape[1])
        else:
            parameter.fill_(0 if name.endswith("bias") else 1)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.fill_(name.endswith("running_var"))
    return network


@pytest.fixture
def measured():
    """A function: the first and last pixel along an axis that a unit's gradient reaches; None where it reaches none."""

    def measure(network, shape, axis, unit=None):
        images = torch.full(shape, SMALL, dtype=torch.float64, requires_grad=True)
        with MeanForMaximum():
            maps = network(images)
        unit = maps.shape[axis] // 2 if unit is None else unit
        maps.select(axis, unit).sum().backward()
        assert images.grad.isfinite().all()
        reached = images.grad.abs().sum(dim=tuple(dim for dim in range(4) if dim != axis)).nonzero().flatten()
        return (int(reached[0]), int(reached[-1])) if len(reached) else None

    return measure


@pytest.fixture
def followed():
    """A function: the receptive field of what a module gives for images of a shape, and the shape that it gives."""

    def follow(network, shape):
        dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
        images = image_batch(shape[1], shape[2:], dtype=dtype)
        maps = forward_on_meta(network, images, Recorder(fields=True))
        return getattr(maps, FIELD, None), tuple(maps.shape)

    return follow


@pytest.fixture
def clear():
    """A function that makes a module transparent; see there."""
    torch.set_num_threads(1)
    return transparent
