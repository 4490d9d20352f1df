"""Running a module without its weights and without arithmetic, whatever device it lies on; nothing of it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fovea.cost.receptive_field import of_image
from fovea.cost.recorder import FIELD, Recorder
from fovea.errors import FoveaError, ModelError, ShapeError


def image_batch(in_channels: int, image_size: int | tuple[int, int], batch_size: int = 1, **how: Any) -> Tensor:
    """Images without pixels, on the meta device unless told otherwise."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return torch.empty(batch_size, in_channels, height, width, **{"device": "meta"} | how)


def forward_on_meta(network: nn.Module, images: Tensor, recorder: Recorder) -> Any:
    """One forward pass in evaluation mode under observation; gives what the network gives.

    Raises:
        ShapeError: the images do not fit; says in which layer, and what came in.
        ModelError: the module cannot run without numbers.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    if recorder.fields:
        setattr(images, FIELD, of_image(images.dim()))
    with evaluating(network), torch.no_grad(), without_fast_paths(), recorder.watching(network), explained(recorder):
        if all(tensor.is_meta for tensor in tensors.values()):
            return network(images)
        weightless = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
        return functional_call(network, weightless, (images,))


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
        said = str(error).strip().partition("\n")[0]
        if isinstance(error, NotImplementedError) or "meta" in said:
            raise ModelError(
                f"{layer} cannot run without numbers: {said}; what it does may not depend on the pixels' values"
            ) from error
        if isinstance(error, (RuntimeError, ValueError, IndexError, AssertionError)):
            raise ShapeError(f"{layer} does not take what came in ({came or 'nothing'}): {said}") from error
        raise ModelError(f"{layer} fails when it is run: {type(error).__name__}: {said}") from error
