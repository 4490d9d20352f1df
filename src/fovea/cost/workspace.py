"""What a CPU's convolution borrows while it runs: oneDNN's own layout of its inputs and outputs.

torch keeps maps as (channels, height, width), oneDNN computes on blocks of 16 channels: unless the maps lie
channels-last already, every convolution copies its input, its weights and its output, and frees the copies when it is
done. The rules were read off torch's allocation events (x86-64 with AVX-512, torch 2.14; docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from fovea.cost.recorder import Operation, Spec

BLOCK = 16  # channels
PLAIN = 3  # maps of up to so many channels are read as they are in the forward pass


def borrowed(operation: Operation) -> int:
    """Bytes that an operation takes beside its inputs and outputs, at its own peak; 0 for all but convolutions."""
    if operation.kind != "convolution" or not operation.outputs:
        return 0
    if operation.name == "convolution_backward":
        return _backward(operation)
    maps, weight = operation.args[:2]
    output = operation.outputs[0]
    if _stays(maps) or _stays(output):
        return 0
    before = _input(maps) + _blocked(output, 1) + _blocked_weight(weight)
    return max(before, _blocked(output, 1) + output.bytes) - output.bytes


def _backward(operation: Operation) -> int:
    gradient, maps, weight, *_ = operation.args
    wanted: Sequence[bool] = operation.args[10]
    if _stays(maps) or _stays(gradient):
        return 0
    both = _blocked(gradient, 1) + _blocked(maps, 1) + _blocked_weight(weight)
    gave = sum(spec.bytes for spec in operation.outputs)
    of_maps = both if wanted[0] else 0
    kept = maps.bytes if wanted[0] else 0  # the finished gradient of the maps, while that of the weights is made
    of_weights = kept + _blocked(gradient, 1) + _input(maps) + _blocked_weight(weight) if wanted[1] else 0
    return max(of_maps - gave, of_weights - gave, 0)


def _stays(maps: Spec) -> bool:
    """Channels-last maps with several channels are computed on where they lie."""
    return maps.channels_last


def _input(maps: Spec) -> int:
    return 0 if maps.shape[1] <= PLAIN else _blocked(maps, 1)


def _blocked(spec: Spec, dim: int) -> int:
    """The bytes of maps whose channels are filled up to whole blocks."""
    channels = spec.shape[dim]
    return spec.bytes // channels * (-(-channels // BLOCK) * BLOCK) if channels else 0


def _blocked_weight(weight: Spec) -> int:
    outputs, inputs = weight.shape[:2]
    if not outputs or not inputs:
        return 0
    return weight.bytes // outputs * (-(-outputs // BLOCK) * BLOCK)
