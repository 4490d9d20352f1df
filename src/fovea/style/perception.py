"""A network as what sees: named layers read at once, no layer run beyond the last of them, max pooling made average."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.cost.receptive_field import Field
from fovea.errors import MachineError, ModelError, ShapeError
from fovea.explain.fields import fields_of
from fovea.explain.places import Place, places_of
from fovea.explain.reaching import black, normalised
from fovea.explain.untouched import untouched
from fovea.runtime.features import stages_of
from fovea.runtime.model import Model
from fovea.style.options import CONTENT, STYLE, Pooling, Precision
from fovea.style.sizing import LUMA, Picture, as_images, fitted
from fovea.training.arithmetic import autocast, candidates

NUMBERED = re.compile(r"(?:conv|relu)(\d+)_(\d+)")  # VGG's layers, as papers call them
TOO_SMALL = re.compile("(?i)size|kernel")  # in torch's own words for a kernel larger than its map
FLOOR = 0.1  # of a layer's mean activation: a filter that is quieter counts as this loud
PROBE = 256  # pixels of the longer side of the photographs by which filters are scaled
TINY = 1e-12  # the least that is divided by, of a layer of zeros
MOST = 5  # style layers of a network whose paper names none

Reading = dict[str, Float[Tensor, "_ _ _ _"]]  # by layer; maps of different sizes


class _Enough(Exception):
    """No error: the way out of a network whose rest need not run."""


@dataclass(frozen=True)
class Layers:
    """The layers that are read.

    Args:
        content: The one that keeps content.
        style: Those that keep style.
    """

    content: str
    style: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys((*self.style, self.content)))


class Perception:
    """What a network makes of pictures at some of its layers.

    It is a copy: the model it was made from stays as it was, and may go. Weights lie channels-last and ask for no
    gradient; those of layers beyond the last that is read are not kept.

    Every filter counts as loud as any other: `scales` holds each filter's mean activation, by which whoever compares
    readings divides. That is the same as scaling the filters to a mean activation of 1, as the paper does with
    VGG-19's, wherever rectifiers and poolings alone stand between them. Means are taken over scikit-learn's two
    photographs.

    Args:
        model: Where the weights come from, and how images are prepared.
        content_layer: The layer that keeps content; the network's own where None (`own_layers`).
        style_layers: Those that keep style, likewise.
        pooling: What stands for max pooling.
        precision: "float32" or "bf16"; "auto" is bf16 where the hardware has it.

    Raises:
        UsageError: a layer that there is not.
        ModelError: a layer that gives no maps; a network of other images than grey or RGB.

    Source: Gatys, Ecker and Bethge 2016, CVPR, section 2.
    """

    def __init__(
        self,
        model: Model,
        *,
        content_layer: str | None = None,
        style_layers: tuple[str, ...] = (),
        pooling: Pooling = "average",
        precision: Precision = "auto",
    ) -> None:
        self.device, self.spec, self.name = model.device, model.bundle.preprocessing, model.bundle.name
        if self.spec.in_channels not in (1, 3):
            raise ModelError(
                f"{self.name} takes images of {self.spec.in_channels} channels; pictures have 3, grey ones 1"
            )
        self.precision = arithmetic(model, precision)
        with untouched(model.network):
            self.layers = own_layers(model, content_layer, style_layers)
            places = _places(model, self.layers.all)
            paths = {module: path for path, module in model.network.named_modules()}
            self.paths = {place.name: paths[place.module] for place in places}
            self.channels = {place.name: place.shape[0] for place in places}
            self.network = _trunk(self, model, pooling)
        self.scales = _loudness(self)

    def read(self, images: Float[Tensor, "n 3 h w"]) -> Reading:
        """The maps of every layer, of pictures in [0, 1], differentiable.

        Raises:
            ShapeError: the pictures are too small for a layer.
        """
        if self.spec.in_channels == 1:
            images = luminance(images)
        found: Reading = {}
        modules = dict(self.network.named_modules())
        with contextlib.ExitStack() as hooks:
            for name, path in self.paths.items():
                hooks.callback(modules[path].register_forward_hook(self.leaving(name, found)).remove)
            hooks.enter_context(autocast(self.precision, self.device))
            hooks.enter_context(contextlib.suppress(_Enough))
            try:
                self.network(normalised(self.spec, images))
            except (RuntimeError, ShapeError) as error:
                height, width = images.shape[2:]
                if "memory" in str(error):
                    raise MachineError(
                        f"{width}×{height} pixels do not fit in memory; take a smaller size, or a lower --memory, so "
                        f"that the picture is worked on in tiles"
                    ) from error
                if not isinstance(error, ShapeError) and not TOO_SMALL.search(str(error)):
                    raise
                missing = next(name for name in self.paths if name not in found)
                raise ShapeError(
                    f"{width}×{height} pixels do not get as far as {missing} ({error}); take a larger size, or earlier "
                    f"layers"
                ) from error
        return found

    def sizes(self, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """Height and width of each layer's maps, of a picture of this height and width, without computing any.

        Raises:
            ShapeError: the picture is too small for a layer.
        """
        with torch.no_grad(), numberless():
            reading = self.read(torch.empty(1, 3, *size, device=self.device))
        return {name: (maps.shape[2], maps.shape[3]) for name, maps in reading.items()}

    def fields(self) -> dict[str, Field]:
        """What a place of each layer sees."""
        modules = [self.network.get_submodule(path) for path in self.paths.values()]
        found = fields_of(self.network, modules, (self.spec.in_channels, self.spec.image_size))
        return dict(zip(self.paths, found, strict=True))

    def weights(self) -> int:
        """Bytes of what is kept of the network."""
        return sum(each.numel() * each.itemsize for each in self.network.parameters() if not each.is_meta)

    def leaving(self, name: str, found: Reading) -> Callable[[object, object, Tensor], None]:
        """A hook that keeps what leaves a layer, and ends the pass once all has been read."""
        return functools.partial(self._left, name, found)

    def _left(self, name: str, found: Reading, _: object, __: object, output: Tensor) -> None:
        if output.is_meta:  # a network that explains why it failed tries itself without numbers
            return
        found[name] = output
        if len(found) == len(self.paths):
            raise _Enough


def numberless() -> AbstractContextManager[object]:
    """Tensors made and operations run inside have shapes and no numbers, whatever their device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def arithmetic(model: Model, precision: Precision) -> Literal["float32", "bf16"]:
    """The precision itself; for "auto" bf16 where the model's device has it."""
    if precision != "auto":
        return precision
    return "bf16" if "bf16" in candidates(model.network, model.device) else "float32"


def own_layers(model: Model, content: str | None = None, style: tuple[str, ...] = ()) -> Layers:
    """The layers named, and where none is named those of the paper, or what answers to them in another network.

    That is: style at the last stage of each resolution, the first five of them, and content at the last but one of
    these. The network is to be in evaluation mode.

    Raises:
        ModelError: none of its stages gives maps of more than one place.
    """
    known = dict(model.network.named_modules())
    if all(_path(each) in known for each in (*STYLE, CONTENT)):
        return Layers(content or CONTENT, style or STYLE)
    if content and style:
        return Layers(content, style)
    places = _shaped(model, list(stages_of(model.network)))
    own = tuple({place.shape[1:]: place.name for place in places if place.spatial}.values())[:MOST]
    if not own:
        raise ModelError(f"{model.bundle.name} has no stages that give maps; name --content-layer and --style-layers")
    return Layers(content or own[-2:][0], style or own)


def luminance(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Brightness of RGB pictures (ITU-R 601)."""
    return (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)


def _path(name: str) -> str:
    """A layer's path, from one that papers call conv4_2: what leaves its rectifier, as in the authors' code."""
    found = NUMBERED.fullmatch(name)
    return f"features.conv{found[1]}.relu{found[2]}" if found else name


def _places(model: Model, names: Sequence[str]) -> list[Place]:
    """The layers of those names.

    Raises:
        UsageError: there is none.
        ModelError: it gives no maps.
    """
    known = dict(model.network.named_modules())
    paths = [path if (path := _path(name)) in known else name for name in names]
    places = _shaped(model, paths)
    for name, place in zip(names, places, strict=True):
        if not place.maps:
            raise ModelError(f"{name} gives {place.shape[0]} numbers and no maps; take an earlier layer")
    return [place._replace(name=name) for name, place in zip(names, places, strict=True)]


def _shaped(model: Model, names: Sequence[str]) -> list[Place]:
    """The places of those names, found without numbers: a head of large layers would take more than all the rest."""
    side = model.bundle.preprocessing.image_size
    with numberless():
        images = torch.empty(1, model.bundle.preprocessing.in_channels, side, side, device=model.device)
        return places_of(model.network, images, names)


def _trunk(perception: Perception, model: Model, pooling: Pooling) -> nn.Module:
    """A copy of the network that shares its weights' numbers, pools otherwise, and keeps only what runs."""
    tensors = (*model.network.parameters(), *model.network.buffers())
    trunk = copy.deepcopy(model.network, {id(each): each for each in tensors})
    for module in list(trunk.modules()):
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # what is read stays as it left its layer
        for name, child in list(module.named_children()):
            if pooling == "average" and isinstance(child, nn.MaxPool2d):
                setattr(module, name, _averaging(child))
    runs = _running(perception, trunk, black(model))
    for module in trunk.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_own(parameter, runs=module in runs), requires_grad=False))
    return trunk


def _averaging(pool: nn.MaxPool2d) -> nn.AvgPool2d:
    """Pooling of the same windows by their mean, of which padding is no part."""
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, count_include_pad=False)


def _running(perception: Perception, trunk: nn.Module, images: Tensor) -> set[nn.Module]:
    """The modules that run before the last layer has been read."""
    runs: set[nn.Module] = set()
    found: Reading = {}
    modules = dict(trunk.named_modules())
    with contextlib.ExitStack() as hooks, torch.no_grad(), contextlib.suppress(_Enough):
        for module in modules.values():
            hooks.callback(module.register_forward_pre_hook(lambda module, _: runs.add(module)).remove)
        for name, path in perception.paths.items():
            hooks.callback(modules[path].register_forward_hook(perception.leaving(name, found)).remove)
        trunk(images)
    return runs


def _own(parameter: Tensor, *, runs: bool) -> Tensor:
    if not runs:
        return torch.empty_like(parameter, device="meta")
    return parameter.detach().contiguous(
        memory_format=torch.channels_last if parameter.dim() == 4 else torch.contiguous_format
    )


def _loudness(perception: Perception) -> dict[str, Float[Tensor, "c"]]:
    """Each filter's mean activation over scikit-learn's two photographs, a tenth of the layer's mean at least."""
    means: dict[str, list[Tensor]] = {name: [] for name in perception.layers.all}
    with torch.no_grad():
        for picture in _photographs():
            images = as_images(picture).to(perception.device)
            for name, maps in perception.read(images).items():
                means[name].append(maps.float().abs().mean((0, 2, 3)))
    loud = {name: torch.stack(each).mean(0) for name, each in means.items()}
    return {name: each.clamp_min(max(FLOOR * float(each.mean()), TINY)) for name, each in loud.items()}


@functools.cache
def _photographs() -> tuple[Picture, ...]:
    """scikit-learn's two photographs, of `PROBE` pixels."""
    from sklearn.datasets import load_sample_images

    return tuple(fitted(picture, PROBE) for picture in load_sample_images().images)
