"""Dense evaluation: a classifier that slides over a whole image, its Linear layers read as convolutions.

Where windows overlap, work is shared that crops would repeat. A network without padding gives at each place what it
gives for the crop there. One with padding sees zeros around each crop, but here around the whole image alone, so that
the two differ; the second paper finds them to complete each other.

Source: Sermanet et al. 2013, "OverFeat", arXiv:1312.6229; Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.2.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from fovea.errors import ModelError, ShapeError, require
from fovea.randomness import key, uniforms

TOLERANCE = 1e-4  # relative to the largest logit
COARSE_TOLERANCE = 1e-2  # in half precision, and away from the CPU, where convolutions may keep ten bits (TF32)
INSTEAD = "judge it by crops instead: --protocol ten"

# Operations on maps that do the same at every place, beside those that torch marks as pointwise.
SLIDING = ("convolution", "max_pool2d", "max_pool3d", "avg_pool2d", "avg_pool3d", "batch_norm", "hardswish", "prelu")
CUTTING = ("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "slice")
# These do where height and width stay the last two dimensions and whole.
KEEPING = (
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "expand",
        "clone",
        "contiguous",
        "_to_copy",
        "detach",
        "alias",
        "cat",
        "stack",
    ),
    *("split", "split_with_sizes", "unbind", "select", "unsqueeze", "squeeze", "permute", "transpose"),
    *("sum", "mean", "amax"),
)
FRESH = ("new_", "ones_like", "zeros_like", "empty_like", "full_like")  # take no number from the maps
REDUCING = ("sum", "mean", "amax", "amin", "max", "var", "std", "_adaptive", "adaptive")  # as a name begins

Pooling = nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d


class DenseNetwork(nn.Module):
    """From images of the network's own size or larger to a map of logits; what `fully_convolutional` gives.

    Args:
        body: The converted network.
        in_channels: Channels of the images.
        image_size: Side in pixels of the images that the network was built for, and the least that it takes.
    """

    def __init__(self, body: nn.Module, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.body, self.in_channels, self.image_size = body, in_channels, image_size

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k i j"]:
        """Logits at each place of the last map; one place where the images are of the network's own size.

        An image's own are their mean over the last two dimensions, or the mean of the probabilities there.

        Raises:
            ShapeError: the images have other channels than the network, or are smaller than its own.
        """
        channels, height, width = images.shape[1:]
        if channels != self.in_channels or min(height, width) < self.image_size:
            raise ShapeError(
                f"images of {channels} channels and {height}×{width} pixels do not fit: dense evaluation of this "
                f"network takes {self.in_channels} channels and {self.image_size} pixels or more each way"
            )
        maps: Tensor = self.body(images)
        return maps


def fully_convolutional(network: nn.Module, in_channels: int, image_size: int) -> DenseNetwork:
    """The network as one that takes larger images too, in evaluation mode; it shares the weights, and nothing else.

    The Linear layer that reads flattened f×f maps becomes a convolution f×f without padding, the others 1×1; pooling of
    the whole map becomes pooling of windows of the size that the map has at `image_size`, one step at a time. The
    network given stays as it is. What comes out is tried before it is given: at `image_size` it must give the
    network's logits, and on a larger image no layer may do anything but slide.

    Args:
        network: From (n, in_channels, image_size, image_size) to logits (n, k), its flattening an nn.Flatten.
        in_channels: Channels of the images.
        image_size: Side in pixels of the images it was built for.

    Raises:
        UsageError: a size is below 1.
        ModelError: the network cannot slide; the message names the layer, and the protocol that does.
    """
    require("in_channels", in_channels, in_channels > 0, "1 or more")
    require("image_size", image_size, image_size > 0, "1 or more")
    shared = _sharing(network).eval()
    body = _body(shared)
    refuse = _Refusal(network, body)
    # Taller than wide, so that height, width and what was swapped cannot be taken for each other.
    larger = image_size + (image_size + 1) // 2, image_size + (image_size + 3) // 4
    with torch.inference_mode(False), torch.no_grad():
        images = _noise(network, in_channels, image_size, image_size)
        calls, logits = _called(shared, body, images)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            refuse("", "gives something else than logits of shape (n, k)")
        _convert(body, calls, refuse)
        dense = DenseNetwork(body, in_channels, image_size).eval()
        _watch(body, _noise(network, in_channels, *larger), refuse)
        _check_same(body(images), logits, refuse)
    return dense


class _Refusal:
    """Raises the one kind of error, which names the network, the layer, the reason, and the way out."""

    def __init__(self, network: nn.Module, body: nn.Module) -> None:
        self.network = getattr(getattr(network, "architecture", None), "name", type(network).__name__)
        self.kinds = {name: type(module).__name__ for name, module in body.named_modules()}

    def __call__(self, layer: str, why: str, cause: Exception | None = None) -> NoReturn:
        who = f"layer {layer} ({self.kinds[layer]})" if layer else "it"
        raise ModelError(f"dense evaluation does not work for {self.network}: {who} {why}; {INSTEAD}") from cause


class _Call(NamedTuple):
    name: str
    module: nn.Module
    shape: tuple[int, ...]  # of what it received


class _SlidingLinear(nn.Module):
    """A Linear layer that reads flattened maps, as a convolution over larger ones; its weight stays where it is."""

    def __init__(self, linear: nn.Linear, window: tuple[int, ...]) -> None:
        super().__init__()
        self.linear, self.window = linear, window

    def forward(self, maps: Tensor) -> Tensor:
        rows = self.linear.weight  # of numbers whose outermost dimension is the channels, as flattening leaves them
        return F.conv2d(maps, rows.reshape(len(rows), -1, *self.window), self.linear.bias)


def _sharing(network: nn.Module) -> nn.Module:
    """The same modules anew, on the same parameters and buffers."""
    return copy.deepcopy(network, {id(each): each for each in (*network.parameters(), *network.buffers())})


def _body(network: nn.Module) -> nn.Module:
    """Features and head of our own networks, whose `forward` promises logits of shape (n, k); others are whole."""
    parts = dict(network.named_children())
    if {"features", "head"} <= parts.keys() <= {"features", "head", "auxiliary"}:
        return nn.Sequential(OrderedDict(features=parts["features"], head=parts["head"]))
    return network


def _called(network: nn.Module, body: nn.Module, images: Tensor) -> tuple[list[_Call], Any]:
    """The calls of the layers that are to be converted, in their order, and what the network gives."""
    calls: list[_Call] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, inputs: calls.append(_Call(name, module, tuple(inputs[0].shape)))

    with ExitStack() as hooks:
        for name, module in body.named_modules():
            if isinstance(module, nn.Flatten | nn.Linear | Pooling):
                hooks.callback(module.register_forward_pre_hook(note(name)).remove)
        return calls, network(images)


def _convert(body: nn.Module, calls: list[_Call], refuse: _Refusal) -> None:
    window: tuple[int, ...] = ()  # that the next Linear layer reads
    for place, call in enumerate(calls):
        if not call.name or call.module in [earlier.module for earlier in calls[:place]]:
            refuse(call.name, "is used more than once, or is the whole network")
        if isinstance(call.module, nn.Linear):
            if len(call.shape) != 2 or not window or call.shape[1] % math.prod(window):
                refuse(call.name, f"reads {call.shape}; it must read (n, d), from maps that an nn.Flatten flattened")
            new: nn.Module = _SlidingLinear(call.module, window)
            window = (1, 1)
        elif isinstance(call.module, nn.Flatten):
            dims = call.module.start_dim, call.module.end_dim
            if len(call.shape) != 4 or dims not in ((1, -1), (1, 3)):
                refuse(call.name, f"flattens {call.shape} by dimensions {dims}; it must be (n, c, h, w) by (1, -1)")
            window = call.shape[2:]
            new = nn.Identity()
        else:
            new = _pooling(call, refuse)
            read = [isinstance(after.module, nn.Flatten) and after.shape[2:] for after in calls[place + 1 : place + 2]]
            if read != [(1, 1)] and not isinstance(new, nn.Identity):
                refuse(call.name, "pools the whole image, and not for the classifier alone")
        body.set_submodule(call.name, new)


def _pooling(call: _Call, refuse: _Refusal) -> nn.Module:
    """What adaptive pooling does at this size, for each window of a larger map."""
    size: Any = call.module.output_size
    pooled, window = size if isinstance(size, tuple) else (size, size), call.shape[-2:]
    if all(after in (None, before) for after, before in zip(pooled, window, strict=True)):
        return nn.Identity()
    if pooled != (1, 1):
        sides = [f"{height}×{width}" for height, width in (window, pooled)]
        refuse(call.name, f"pools {sides[0]} pixels to {sides[1]}, which no window that moves by one pixel does")
    kind = nn.AvgPool2d if isinstance(call.module, nn.AdaptiveAvgPool2d) else nn.MaxPool2d
    return kind((window[0], window[1]), stride=1)


class _OnlySliding(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Refuses each operation on maps that come from the images, unless it does the same at every place."""

    def __init__(self, images: Tensor, refused: Callable[[str], NoReturn]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.refused = refused
        self.maps = WeakTensorKeyDictionary()
        self.maps[images] = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        inputs = [each for each in _tensors((args, kwargs)) if each in self.maps]
        operation = func.overloadpacket.__name__
        if inputs and not operation.startswith(FRESH):
            names = [argument.name for argument in func._schema.arguments]
            training = dict(zip(names, args, strict=False)).get("training", False)  # by these very images' statistics
            if training or not _slides(func, operation, inputs, _tensors(given)):
                self.refused(operation)
            for each in _tensors(given):
                self.maps[each] = True
        return given


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _slides(func: Any, operation: str, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    window = "adaptive" not in operation and any(part in operation for part in SLIDING)
    if window or torch.Tag.pointwise in func.tags or operation in CUTTING:
        return True
    sides = {each.shape[-2:] for each in inputs if each.ndim >= 4}
    return operation in KEEPING and all(each.ndim >= 4 and each.shape[-2:] in sides for each in outputs)


def _watch(body: nn.Module, images: Tensor, refuse: _Refusal) -> None:
    """Refuse what does not slide over larger images, by the layer that was running."""
    inside = [""]

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: inside.append(name)

    def leave(*_: object) -> None:  # not where an error passes, so that the last one inside is the culprit
        inside.pop()

    def refused(operation: str) -> NoReturn:
        unknown = f"does '{operation}', which is not known to slide over an image"
        refuse(inside[-1], "pools the whole image" if operation.startswith(REDUCING) else unknown)

    with ExitStack() as hooks:
        for name, module in body.named_modules():
            hooks.callback(module.register_forward_pre_hook(enter(name)).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        try:
            with _OnlySliding(images, refused):
                body(images)
        except Exception as error:  # whatever a module says of shapes that it was not made for
            if isinstance(error, torch.OutOfMemoryError) or type(error) is ModelError:
                raise
            refuse(inside[-1], f"takes no larger image ({str(error).partition(chr(10))[0]})", error)


def _check_same(maps: Tensor, logits: Tensor, refuse: _Refusal) -> None:
    if maps.shape != (*logits.shape, 1, 1):
        refuse("", f"gives {tuple(maps.shape)} at its own size, instead of a map of one place for each class")
    tolerance = TOLERANCE if maps.device.type == "cpu" and maps.dtype.itemsize >= 4 else COARSE_TOLERANCE
    apart = float((maps[:, :, 0, 0] - logits).abs().max())
    if not apart <= tolerance * float(logits.abs().max()):  # NaN too is refused
        refuse("", f"gives other logits when it slides, by up to {apart:.3g} at its own size")


def _noise(network: nn.Module, in_channels: int, height: int, width: int) -> Tensor:
    """Two images of uniform noise, where and as the network's weights are."""
    flat = uniforms(key(0, "dense", height, width), range(2), in_channels * height * width) * 2 - 1
    like = next((each for each in network.parameters() if each.is_floating_point()), torch.empty(0))
    return torch.from_numpy(flat.reshape(2, in_channels, height, width)).to(like.device, like.dtype)
