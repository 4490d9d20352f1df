"""What a network makes of images on the way to its logits: the outputs of its stages, as arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from fovea.data.arrays import images_of_arrays
from fovea.data.fitted import Fitted
from fovea.data.pixels import read_image
from fovea.data.sets import Images, Split
from fovea.errors import ModelError, UsageError, suggestion
from fovea.runtime.model import Model, as_model, by_batch, load
from fovea.runtime.predict import Decoded, find_images

HEAD = "head"  # what the output layer receives


def features(
    model: Model | nn.Module | Path | str,
    images: Images | Split | NDArray[np.generic] | Tensor | Path | str | Iterable[Path | str],
    *,
    stages: Sequence[str] = (HEAD,),
    pooled: bool = True,
) -> dict[str, Float32[NDArray[np.float32], "n ..."]]:
    """The outputs of named stages for images, computed by the exact fast path that also predicts.

    Args:
        model: What `fovea.load` or `Run.model` gives, or the path of a run folder or bundle; or any module, which then
            receives square images of one size, their pixels scaled to [0, 1].
        images: A split, an array (n, h, w) or (n, h, w, c) of uint8, a tensor (n, c, h, w); or image files, a folder of
            them, or several of these.
        stages: A stage of the network's features such as "conv4_x"; any other module by its path, such as
            "features.conv4_x.0"; or "head", what the output layer receives (`num_features` numbers).
        pooled: Maps (c, h, w) become their means over all positions (c); else they are given as they are.

    Returns:
        By stage, in the order asked for, one row for each image, float32: (n, c) pooled, else as the module gives it,
        (n, c, h, w) for maps.

    Raises:
        UsageError: the network has no such stage.
        DataError: images that cannot be read.
    """
    raw = images_of(images)
    if isinstance(model, nn.Module):
        training = model.training
        judged = as_model(model, raw, tuple(map(str, range(getattr(model, "num_classes", 1)))))
        model.train(training)  # a `Model` has it in evaluation mode for good; here it is its owner's again
        model = judged
    model = model if isinstance(model, Model) else load(model)
    labels = torch.zeros(len(raw), dtype=torch.int64)
    fitted = Fitted(raw, labels, model.bundle.preprocessing, None, workers=os.cpu_count() or 1)
    return {name: found.numpy() for name, found in stage_features(model, fitted, stages, pooled=pooled).items()}


def stage_features(
    model: Model, fitted: Fitted, stages: Sequence[str], *, pooled: bool = True
) -> dict[str, Float[Tensor, "n ..."]]:
    """As `features`, of fitted images, as tensors on the CPU.

    Raises:
        UsageError: the network has no such stage.
    """
    network, wanted = model.network, tuple(dict.fromkeys(stages))
    read = _reader(network, wanted, pooled=pooled)
    parts = by_batch(read, network, fitted, model.device, model.batch_size)
    return {name: torch.cat([part[place] for part in parts.values()]) for place, name in enumerate(wanted)}


def pooled_maps(maps: Tensor) -> Tensor:
    """The mean of each map over its positions; what has no positions stays as it is."""
    return maps.flatten(2).mean(2) if maps.ndim > 2 else maps


def _reader(network: nn.Module, names: tuple[str, ...], *, pooled: bool) -> Callable[[Tensor], list[Tensor]]:
    """From a batch of images to what the named stages give."""
    take: Callable[[Tensor], Tensor] = pooled_maps if pooled else torch.clone
    own = stages_of(network)
    staged: Any = network
    if own and all(name in own for name in names):  # what lies above the last of them need not run
        return lambda images: _ordered(staged.stage_outputs(images, names), names, take)
    modules = {name: module_of(network, name) for name in names}

    def read(images: Tensor) -> list[Tensor]:
        found: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for name, (module, enters) in modules.items():
                hooks.callback(_watch(module, name, found, take, enters=enters))
            network(images)
        return _ordered(found, names, torch.Tensor.contiguous)

    return read


def _ordered(found: dict[str, Tensor], names: tuple[str, ...], take: Callable[[Tensor], Tensor]) -> list[Tensor]:
    missing = [name for name in names if name not in found]
    if missing:
        raise ModelError(f"{missing[0]} did not run for these images, so it has no features; choose another stage")
    return [take(found[name]) for name in names]


def stages_of(network: nn.Module) -> dict[str, nn.Module]:
    """The stages of the network's features by name, in order; none where it has no named stages."""
    return dict(getattr(network, "features", nn.Module()).named_children()) if hasattr(network, "stage_outputs") else {}


def module_of(network: nn.Module, name: str) -> tuple[nn.Module, bool]:
    """The module of that name, and whether what enters it is wanted, not what leaves it.

    Raises:
        UsageError: there is none; the message has close matches.
    """
    own = stages_of(network)
    if name == HEAD:
        return output_layer(network), True
    if name in own:
        return own[name], False
    known = dict(network.named_modules())
    if name not in known or name == "":
        choices = [HEAD, *own, *(each for each in known if each)]
        told = ", ".join(choices[: 1 + len(own)] if own else choices[:12])
        raise UsageError(f"no stage is called {name}; there are {told}.{suggestion(name, choices)}")
    return known[name], False


def output_layer(network: nn.Module) -> nn.Module:
    """The module that gives the logits: the last of the head, else the last linear layer.

    Raises:
        UsageError: it cannot be told.
    """
    head = getattr(network, HEAD, None)
    if isinstance(head, nn.Sequential) and len(head):
        return head[-1]
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(f"{type(network).__name__} has no head and no linear layer; name a module by its path")
    return linear[-1]


def _watch(
    module: nn.Module, name: str, found: dict[str, Tensor], take: Callable[[Tensor], Tensor], *, enters: bool
) -> Callable[[], None]:
    """Keep what enters or leaves a module when it runs, taken at once: what follows may change it in place."""

    def entering(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[name] = take(inputs[0])

    def leaving(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        found[name] = take(output)

    handle = module.register_forward_pre_hook(entering) if enters else module.register_forward_hook(leaving)
    return handle.remove


def images_of(images: Any) -> Images:
    """Raw images from all that a user may give: a split, arrays, a tensor, files, folders."""
    if isinstance(images, Split):
        return images.images
    if isinstance(images, np.ndarray | Tensor):
        return images_of_arrays(images, np.zeros(len(images), np.int64))[0]
    if isinstance(images, str | Path) or not isinstance(images, Images):
        paths = find_images([images] if isinstance(images, str | Path) else images)
        return Decoded(tuple(read_image(path) for path in paths), tuple(map(str, paths)))
    return images
