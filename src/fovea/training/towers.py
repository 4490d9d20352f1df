"""Model parallelism as AlexNet has it: two towers, each with half of every layer's filters, on two devices or ranks.

Where the towers see each other (AlexNet's conv3, fc6 and fc7), the halves of the feature maps are exchanged before the
layer; elsewhere nothing is sent. The output layer is cut along its inputs instead: each tower says what its own half of
fc7 contributes, and only the sum of the logits is sent. So any number of classes will do.

The gradient going backward through an exchange is exchanged the other way: what both towers say about a map is added up
where the map was made. Both ranks compute the same loss of the same logits, so nothing is divided and no gradient of a
weight is ever sent: data parallelism sends every weight's gradient, model parallelism feature maps.

Source: Krizhevsky, Sutskever and Hinton 2012, NIPS, section 3.2 and Figure 2.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from fovea.errors import MachineError, ModelError, ShapeError, UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.local_response_norm import LocalResponseNorm

TOWERS = 2
MAP_BY_MAP = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)

Kind = Literal["images", "own", "both", "dropout", "output"]
Maps = list[Tensor]  # one for each tower of this process


class Layer(NamedTuple):
    """One layer of the whole network, and what it reads when the towers lie apart."""

    name: str
    module: nn.Module
    kind: Kind  # all images, its own tower's maps, those of both; a mask is drawn for both; the logits are a sum


class TowersApart(nn.Module):
    """A network with two towers, whose halves lie on different devices; from images to the whole network's logits.

    Parameters are called as in the whole network, after `halves.0.` or `halves.1.`. Dropout draws the mask of both
    towers and takes its own part, so that a seed gives the numbers that it gives on one device. Where there are ranks,
    both must call `forward`, `gradient_norm`, and whatever merges.

    Made by `apart` and `across_ranks`.

    Args:
        network: The whole network; its tensors are copied.
        devices: Where the towers of this process lie, by their number, 0 or 1.
        exchange: How the towers reach each other.

    Raises:
        UsageError: the network has no two towers.
    """

    def __init__(self, network: nn.Module, devices: Mapping[int, torch.device], exchange: _InOneProcess) -> None:
        super().__init__()
        layers = towers_of(network)
        self.in_channels = int(next(iter(network.parameters())).shape[1])
        self.devices, self._exchange = dict(devices), exchange
        self._kinds = [(layer.name, layer.kind) for layer in layers]
        self._cuts = {name: dim for layer in layers for name, dim in _cuts(layer)}
        self._shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        self.halves = nn.ModuleDict({str(tower): _half(network, layers, tower) for tower in devices})
        self.load_state_dict(self.halved(network.state_dict()), assign=True)
        for name, parameter in network.named_parameters():
            for tower in devices:
                self.halves[str(tower)].get_parameter(name).requires_grad_(parameter.requires_grad)
        self.train(network.training)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits of a batch of images, on the device of this process's first tower.

        Raises:
            ShapeError: the images have another number of channels than the network.
        """
        if images.shape[1] != self.in_channels:
            raise ShapeError(f"images have {images.shape[1]} channels, but the network takes {self.in_channels}")
        maps = [images.to(device) for device in self.devices.values()]
        for name, kind in self._kinds:
            if kind == "dropout":
                maps = self._dropped(name, maps)
                continue
            if kind == "both":
                maps = self._exchange.gathered(maps)
            halves = [half.get_submodule(name) for half in self.halves.values()]
            maps = [half(each) for half, each in zip(halves, maps, strict=True)]
        return self._exchange.total(maps)

    def merged(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors by the whole network's names, on the CPU, from halves by the names that they have here.

        The halves are shaped as the parameters are: weights, averages of them, or an optimiser's moments. Numbers
        without dimensions are taken from the first tower of this process.

        Raises:
            ModelError: a tensor has another shape than its parameter's half.
        """
        found: dict[str, Tensor] = {}
        for name in self._cuts:
            keys = {tower: f"halves.{tower}.{name}" for tower in self.devices}
            if all(key in tensors for key in keys.values()):
                found[name] = self._whole(name, {tower: tensors[key].detach() for tower, key in keys.items()})
        return found

    def halved(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `merged` was made from: this process's halves of whole tensors, copied to their devices.

        Raises:
            ModelError: a tensor has another shape than the whole network's parameter.
        """
        found: dict[str, Tensor] = {}
        for tower, device in self.devices.items():
            for name in (name for name in self._cuts if name in tensors):
                self._check(name, tensors[name], self._shapes[name])
                part = self._part(name, tensors[name].detach(), tower).clone()
                found[f"halves.{tower}.{name}"] = part.to(device) if part.dim() else part
        return found

    def merge_into(self, network: nn.Module) -> None:
        """Put the weights as they are now into the whole network, which may lie anywhere."""
        targets = dict(network.named_parameters())
        with torch.no_grad():
            for name, whole in self.merged(self.state_dict()).items():
                targets[name].copy_(whole)

    def take_from(self, network: nn.Module) -> None:
        """Take the whole network's weights, as after a checkpoint was read into it."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, half in self.halved(dict(network.named_parameters())).items():
                own[name].copy_(half)

    def merge_state(self, optimiser: torch.optim.Optimizer, network: nn.Module, whole: torch.optim.Optimizer) -> None:
        """Put what an optimiser of the halves remembers into one of the whole network, as checkpoints hold it.

        Args:
            optimiser: Of this module's parameters.
            network: The whole network.
            whole: Of its parameters; nothing but its state changes.

        Raises:
            ModelError: something remembered has another shape than its parameter, or the optimisers differ.
        """
        _remember(whole, network, _by_parameter(_by_kind(optimiser, self), self.merged))

    def take_state(self, whole: torch.optim.Optimizer, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """The way back: the halves of what an optimiser of the whole network remembers.

        Args:
            whole: Of the network's parameters.
            network: The whole network.
            optimiser: Of this module's parameters; nothing but its state changes.

        Raises:
            ModelError: something remembered has another shape than its parameter, or the optimisers differ.
        """
        _remember(optimiser, self, _by_parameter(_by_kind(whole, network), self.halved))

    def gradient_norm(self) -> Float[Tensor, ""]:
        """The Euclidean norm of both towers' gradients, the same on both ranks."""
        device = next(iter(self.devices.values()))
        square = torch.zeros((), device=device)
        for parameter in self.parameters():
            if parameter.grad is not None:
                square += torch.linalg.vector_norm(parameter.grad.float()).square().to(device)
        return self._exchange.summed(square).sqrt()

    def scale_gradients(self, factor: Float[Tensor, ""]) -> None:
        """Multiply both towers' gradients by a number, as clipping does, wherever they lie."""
        for half in self.halves.values():
            gradients = [parameter.grad for parameter in half.parameters() if parameter.grad is not None]
            if gradients:
                torch._foreach_mul_(gradients, factor.to(gradients[0].device))

    def _dropped(self, name: str, maps: Maps) -> Maps:
        """Drop as one device would: one mask over the units of both towers, of which each takes its own part."""
        dropout = next(iter(self.halves.values())).get_submodule(name)
        if not dropout.training or not isinstance(dropout, nn.Dropout):
            return maps
        images, units = maps[0].shape[0], maps[0].shape[1]
        kept = F.dropout(maps[0].new_ones((images, TOWERS * units, *maps[0].shape[2:])), dropout.p)
        masks = kept.chunk(TOWERS, dim=1)
        return [each * masks[tower].to(each.device) for tower, each in zip(self.devices, maps, strict=True)]

    def _part(self, name: str, tensor: Tensor, tower: int) -> Tensor:
        return tensor if tensor.dim() == 0 else tensor.tensor_split(TOWERS, dim=self._cuts[name])[tower]

    def _whole(self, name: str, own: Mapping[int, Tensor]) -> Tensor:
        first = next(iter(own.values()))
        if first.dim() == 0:
            return first.cpu()
        outline = torch.empty(self._shapes[name], dtype=first.dtype, device="meta")
        shapes = [self._part(name, outline, tower).shape for tower in range(TOWERS)]
        for tower, half in own.items():
            self._check(name, half, shapes[tower])
        return torch.cat([each.cpu() for each in self._exchange.collected(own, shapes)], dim=self._cuts[name])

    def _check(self, name: str, tensor: Tensor, shape: torch.Size) -> None:
        if tensor.dim() > 0 and tensor.shape != shape:
            raise ModelError(
                f"{name}: a tensor {tuple(tensor.shape)} is not shaped as the parameter {tuple(shape)}, and cannot be "
                "cut or joined with it; train with another optimiser, or without towers apart"
            )


class _InOneProcess:
    """How the towers of one process reach each other: by copies, through which autograd knows the way back."""

    def gathered(self, maps: Maps) -> Maps:
        """The maps of both, the first tower's first, for each tower of this process."""
        if maps[0].device == maps[1].device:
            return [torch.cat(maps, dim=1)] * TOWERS
        return [torch.cat([each.to(own.device) for each in maps], dim=1) for own in maps]

    def total(self, maps: Maps) -> Tensor:
        """The sum of what both contribute to the logits."""
        return maps[0] + maps[1].to(maps[0].device)

    def summed(self, number: Tensor) -> Tensor:
        """The sum of a number over the processes, outside the graph."""
        return number

    def collected(self, own: Mapping[int, Tensor], shapes: list[torch.Size]) -> Maps:
        """Both halves, of which this process has one or both, outside the graph."""
        del shapes  # both are here
        return [own[tower] for tower in range(TOWERS)]


class _OverRanks(_InOneProcess):
    """The same for one tower on each of two ranks: half of the maps is sent, forward as backward."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group, self.rank = group, dist.get_rank(group)

    def swapped(self, mine: Tensor) -> Tensor:
        """What the other rank has in the place of this tensor; it has the same shape."""
        both = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(TOWERS)]
        dist.all_gather(both, mine.contiguous(), group=self.group)
        return both[1 - self.rank]

    def gathered(self, maps: Maps) -> Maps:
        whole: Tensor = _Gathered.apply(maps[0], self)
        return [whole]

    def total(self, maps: Maps) -> Tensor:
        total: Tensor = _Total.apply(maps[0], self)
        return total

    def summed(self, number: Tensor) -> Tensor:
        return number + self.swapped(number)

    def collected(self, own: Mapping[int, Tensor], shapes: list[torch.Size]) -> Maps:
        mine = own[self.rank].contiguous()
        halves = [mine if tower == self.rank else mine.new_empty(shape) for tower, shape in enumerate(shapes)]
        for tower, half in enumerate(halves):
            dist.broadcast(half, group=self.group, group_src=tower)
        return halves


class _Gathered(torch.autograd.Function):
    """Both halves of the maps; backward, what both ranks say about the own half."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, exchange: _OverRanks) -> Tensor:
        ctx.exchange = exchange
        other = exchange.swapped(mine)
        return torch.cat([mine, other] if exchange.rank == 0 else [other, mine], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        parts = gradient.chunk(TOWERS, dim=1)
        rank = ctx.exchange.rank
        return parts[rank] + ctx.exchange.swapped(parts[1 - rank]), None


class _Total(torch.autograd.Function):
    """The sum over both ranks, the same on both to the bit; backward, the gradient as it is, since the loss is one."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, exchange: _OverRanks) -> Tensor:  # noqa: ARG004  # torch passes it
        return mine + exchange.swapped(mine)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004  # torch passes it
        return gradient, None


class HalfOutput(nn.Linear):
    """Half of an output layer: the contribution of half of the features to all logits, and of half of the biases.

    Args:
        features: Of this tower.
        num_classes: Of the whole network.
        tower: 0 or 1.
        bias: Whether the whole layer has biases.
    """

    def __init__(self, features: int, num_classes: int, *, tower: int, bias: bool) -> None:
        super().__init__(features, num_classes, bias=False, device="meta")
        own = num_classes // TOWERS + (num_classes % TOWERS if tower == 0 else 0)
        self.place = (0, num_classes - own) if tower == 0 else (num_classes - own, 0)
        if bias:
            self.bias = nn.Parameter(torch.empty(own, device="meta"))

    def forward(self, features: Float[Tensor, "n m"]) -> Float[Tensor, "n k"]:
        """This tower's part of the logits."""
        return F.linear(features, self.weight, None if self.bias is None else F.pad(self.bias, self.place))


def apart(network: nn.Module, devices: tuple[torch.device, torch.device]) -> TowersApart:
    """The network's towers on two devices of this process, which may be one and the same.

    Args:
        network: With two towers; it is copied, and stays as it is until `merge_into`.
        devices: Of the first tower, where the logits come out, and of the second.

    Raises:
        UsageError: the network has no two towers.
    """
    return TowersApart(network, dict(enumerate(devices)), _InOneProcess())


def across_ranks(network: nn.Module, device: torch.device, *, group: dist.ProcessGroup | None = None) -> TowersApart:
    """This rank's tower of the network; both ranks must see the same images, the same seed and the same loss.

    Both begin with the first rank's weights, which the network of the second receives as well.

    Args:
        network: With two towers; its halves are copied.
        device: Where this rank computes.
        group: The two ranks; all where None.

    Raises:
        UsageError: the network has no two towers, or there are not two ranks.
    """
    ranks = dist.get_world_size(group)
    if ranks != TOWERS:
        raise UsageError(
            f"two towers need two ranks, and there are {ranks}; start them with torchrun --nproc-per-node 2"
        )
    towers_of(network)
    for tensor in network.state_dict().values():
        sent = tensor.to(device).contiguous()
        dist.broadcast(sent, group=group, group_src=0)
        tensor.copy_(sent)
    exchange = _OverRanks(group)
    return TowersApart(network, {exchange.rank: device}, exchange)


def two_devices(device: torch.device) -> tuple[torch.device, torch.device]:
    """Where the towers of one process lie: on two GPUs, or both on the CPU, which shows the same numbers.

    Raises:
        MachineError: there are no two devices of this kind.
    """
    if device.type == "cpu":
        return device, device
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if count < TOWERS:
        raise MachineError(f"towers apart need two devices, and there is {count} ({device.type}); leave them together")
    first = device.index or 0
    return torch.device(device.type, first), torch.device(device.type, (first + 1) % count)


def towers_of(network: nn.Module) -> list[Layer]:
    """The layers in order, and what each reads when the towers lie apart.

    A network has two towers where its stages and its head are layers one after another, some convolution has two
    groups, every normalisation has as many, and every layer's filters can be halved.

    Raises:
        UsageError: it has none; the message names the layer.
    """
    if not isinstance(network, ConvNet) or len(network.auxiliary):
        raise _no_towers(f"{type(network).__name__} is not one row of stages and a head")
    leaves = [*_leaves(network.features, "features"), *_leaves(network.head, "head")]
    layers = [Layer(name, module, _kind(name, module)) for name, module in leaves]
    if not any(isinstance(layer.module, nn.Conv2d) and layer.module.groups == TOWERS for layer in layers):
        raise _no_towers("no convolution has two groups")
    first, last = layers[0], layers[-1]
    if first.kind != "both" or not isinstance(last.module, nn.Linear):
        raise _no_towers(f"it begins with {first.name} and ends with {last.name}, not with a convolution and logits")
    if last.module.in_features % TOWERS:
        raise _no_towers(f"{last.name} has {last.module.in_features} features, which cannot be halved")
    for layer in layers[:-1]:
        filters = next((parameter.shape[0] for parameter in layer.module.parameters()), TOWERS)
        if filters % TOWERS:
            raise _no_towers(f"{layer.name} has {filters} filters, which cannot be halved")
    return [first._replace(kind="images"), *layers[1:-1], last._replace(kind="output")]


def _no_towers(reason: str) -> UsageError:
    return UsageError(f"this network has no two towers to be set apart: {reason}; alexnet (towers=2) has them")


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if type(module).forward is not nn.Sequential.forward:
        yield path, module
        return
    for name, child in module.named_children():
        yield from _leaves(child, f"{path}.{name}")


def _kind(name: str, module: nn.Module) -> Kind:
    groups = getattr(module, "groups", TOWERS)
    if isinstance(module, nn.Conv2d) and groups == 1:
        return "both"
    if isinstance(module, (nn.Conv2d, LocalResponseNorm)) and groups == TOWERS:
        return "own"
    if isinstance(module, nn.Linear):
        return "both"
    if isinstance(module, nn.Dropout):
        return "dropout"
    if isinstance(module, MAP_BY_MAP) and getattr(module, "start_dim", 1) == 1:
        return "own"
    raise _no_towers(f"{name} is {module}")


def _cuts(layer: Layer) -> Iterator[tuple[str, int]]:
    """Each parameter of a layer by its name in the network, and the dimension along which it is halved."""
    for name, _ in layer.module.named_parameters():
        yield f"{layer.name}.{name}", 1 if layer.kind == "output" and name == "weight" else 0


def _half(network: nn.Module, layers: list[Layer], tower: int) -> nn.Module:
    """A tower with the whole network's names; its tensors have no memory yet."""
    made = {layer.name: _half_layer(layer, tower) for layer in layers}

    def tree(module: nn.Module, path: str) -> nn.Module:
        if path in made:
            return made[path]
        return nn.Sequential(OrderedDict((n, tree(child, f"{path}.{n}")) for n, child in module.named_children()))

    half = nn.Module()
    for name in ("features", "head"):
        half.add_module(name, tree(network.get_submodule(name), name))
    return half


def _half_layer(layer: Layer, tower: int) -> nn.Module:
    module = layer.module
    if isinstance(module, nn.Conv2d):
        return nn.Conv2d(
            module.in_channels // module.groups,
            module.out_channels // TOWERS,
            module.kernel_size,  # type: ignore[arg-type]  # torch keeps tuples of any length
            module.stride,  # type: ignore[arg-type]
            module.padding,  # type: ignore[arg-type]
            module.dilation,  # type: ignore[arg-type]
            bias=module.bias is not None,
            padding_mode=module.padding_mode,
            device="meta",
        )
    if isinstance(module, nn.Linear):
        bias = module.bias is not None
        if layer.kind == "output":
            return HalfOutput(module.in_features // TOWERS, module.out_features, tower=tower, bias=bias)
        return nn.Linear(module.in_features, module.out_features // TOWERS, bias, device="meta")
    own = copy.deepcopy(module)
    if isinstance(own, LocalResponseNorm):
        own.groups = 1
    return own


States = dict[str, dict[str, Any]]  # what an optimiser remembers: by its own word for it, then by parameter; or turned


def _by_kind(optimiser: torch.optim.Optimizer, module: nn.Module) -> States:
    """What an optimiser remembers of a module's parameters, by its own word for it, then by the parameter's name."""
    found: States = {}
    for name, parameter in module.named_parameters():
        for word, value in optimiser.state.get(parameter, {}).items():
            found.setdefault(word, {})[name] = value
    return found


def _by_parameter(states: States, changed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> States:
    """Every kind merged or halved, by the parameter's new name, then by the optimiser's word."""
    found: States = {}
    for word in sorted(states):
        for name, value in changed(states[word]).items():
            found.setdefault(name, {})[word] = value
    return found


def _remember(optimiser: torch.optim.Optimizer, module: nn.Module, states: States) -> None:
    """Copy into the optimiser's own tensors, whose layout in memory stays."""
    for name, parameter in module.named_parameters():
        own = optimiser.state.get(parameter, {})
        told = states.get(name, {})
        if own.keys() != told.keys():
            raise ModelError(
                f"{type(optimiser).__name__} remembers {', '.join(own) or 'nothing'} of {name}, and is to remember "
                f"{', '.join(told) or 'nothing'}; build both by fovea.training.optimisers from the same options"
            )
        for word, value in told.items():
            own[word].copy_(value)
