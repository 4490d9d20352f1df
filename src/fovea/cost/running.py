"""Running a module without its weights and without arithmetic, whatever device it lies on; nothing of it is changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fovea.cost.operations import name_of
from fovea.cost.receptive_field import of_image
from fovea.cost.recorder import FIELD, Recorder
from fovea.errors import FoveaError, ModelError, ShapeError
from fovea.layers.weightless import call_weightless, named_tensors, weightless

LIKE_THE_FIRST = {"relu", "silu", "sigmoid", "gelu", "tanh", "hardswish", "hardsigmoid", "elu", "leaky_relu"}
WITHOUT_NUMBERS = re.compile(r"\bmeta\b", re.IGNORECASE)  # torch names the device in what it says of such tensors
LIKE_BOTH = {"add", "mul"}


def image_batch(in_channels: int, image_size: int | tuple[int, int], batch_size: int = 1, **how: Any) -> Tensor:
    """Images without pixels, on the meta device unless told otherwise."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return torch.empty(batch_size, in_channels, height, width, **{"device": "meta"} | how)


def dtype_of(network: nn.Module) -> torch.dtype:
    """What the network computes with: the type of its first floating-point parameter; float32 where it has none."""
    return next((each.dtype for each in network.parameters() if each.is_floating_point()), torch.float32)


def forward_on_meta(
    network: nn.Module, images: Tensor, recorder: Recorder, *, there: Callable[[Iterable[Tensor]], None] | None = None
) -> Any:
    """One forward pass in evaluation mode under observation; gives what the network gives.

    Args:
        network: On whatever device.
        images: On the meta device; they are taken in the type of the network's weights.
        recorder: What observes.
        there: Told the tensors that are there before the first operation: images, weights, buffers.

    Raises:
        ShapeError: the images do not fit; says in which layer, and what came in.
        ModelError: the module cannot run without numbers.
    """
    standing_in = weightless(network)
    images = images.to(dtype_of(network))
    if there is not None:
        there([images, *(named_tensors(network) | standing_in).values()])
    if recorder.fields:
        setattr(images, FIELD, of_image(images.dim()))
    if recorder.run is None:
        recorder.run = shapes_only
    with evaluating(network), torch.no_grad(), without_fast_paths(), recorder.watching(network), explained(recorder):
        return call_weightless(network, standing_in, images)


def shapes_only(function: Any, args: Any, kwargs: Any) -> tuple[Any, float]:
    """An operation without arithmetic; where the output is like the first input, torch need not work that out."""
    name = name_of(function)
    if name in LIKE_THE_FIRST and not kwargs and args[0].is_floating_point():
        return torch.empty_like(args[0]), 0.0
    if (
        name in LIKE_BOTH
        and type(args[1]) is Tensor
        and args[0].shape == args[1].shape
        and args[0].dtype == args[1].dtype
    ):
        return torch.empty_like(args[0]), 0.0
    if name == "native_batch_norm" and not args[5]:
        nothing = args[0].new_empty(0)
        return (torch.empty_like(args[0]), nothing, nothing), 0.0
    return function(*args, **kwargs), 0.0


@contextmanager
def evaluating(network: nn.Module, *, training: bool = False) -> Iterator[None]:
    """In evaluation (or training) mode for a while; each part then returns to the mode it was in."""
    modes = [(part, part.training) for part in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def without_fast_paths() -> Iterator[None]:
    """Attention as its parts, which can be counted, instead of in one fused step."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def explained(recorder: Recorder) -> Iterator[None]:
    """What a module raises while it is observed, as a sentence that names the layer and what came in."""
    try:
        yield
    except FoveaError:
        raise
    except Exception as error:
        call = recorder.stack[-1]
        kind = type(call.module).__name__ if call.module is not None else "the network"
        layer = f"{call.path} ({kind})" if call.path else kind
        came = " and ".join("×".join(map(str, spec.shape)) for spec in call.inputs)
        said = str(error).strip().partition("\n")[0].rstrip(".")
        if isinstance(error, NotImplementedError) or WITHOUT_NUMBERS.search(said):
            raise ModelError(
                f"{layer} cannot run without numbers: {said}; what it does may not depend on the pixels' values"
            ) from error
        if isinstance(error, (RuntimeError, ValueError, IndexError, AssertionError)):
            raise ShapeError(f"{layer} does not take what came in ({came or 'nothing'}): {said}") from error
        raise ModelError(f"{layer} fails when it is run: {type(error).__name__}: {said}") from error
