"""Optimisers: what makes an update of a gradient, with a state that checkpoints hold to the bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fovea.errors import ModelError
from fovea.training.muon import Muon, blocks_of
from fovea.training.options import Update
from fovea.training.rmsprop import BITS, RMSProp

MASKED_BY_TORCH = ("cpu", "cuda")  # where the fused kernels are known to heed found_inf


def build(
    network: nn.Module,
    update: Update,
    scales: Mapping[nn.Parameter, float] | None = None,
    head: Collection[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """The optimiser of what the network trains; weight decay on matrices and kernels only, unless `decay_all`.

    Biases, the scales and shifts of normalisation, and other vectors have one dimension.

    All state exists from the start, laid out in memory as its parameter is: build it when the network stands on its
    device in its memory format. Where the attribute `found_inf` (a float32 scalar on that device) is 1, a step changes
    neither weights nor state; without it every step counts. The kernels of sgd, adam and adamw walk through memory
    without looking at strides: a gradient must be laid out as its parameter, as autograd leaves it.

    Args:
        network: What learns is what takes a gradient now.
        update: How.
        scales: What the learning rate of some parameters is multiplied by; their group says so as `scale`.
        head: What `head_lr` is meant for, its biases too.

    Raises:
        ModelError: no parameter is trained.

    Source: sgd: Sutskever et al. 2013, ICML; adam: Kingma and Ba 2014, arXiv:1412.6980; adamw: Loshchilov and Hutter
    2017, arXiv:1711.05101; rmsprop and muon: see there.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        count = sum(parameter.numel() for parameter in network.parameters())
        raise ModelError(
            f"none of the network's {count:,} parameters is trained (requires_grad is off in all of them); "
            "an update needs at least one: unfreeze the head"
        )
    if update.optimiser == "muon":
        groups = _groups(network, update, blocks_of(network), scales or {}, head)
        lr, momentum = update.lr, update.momentum
        return Muon(groups, lr=lr, momentum=momentum, nesterov=update.nesterov, fixed_norm=update.muon_norm)
    groups = _groups(network, update, {}, scales or {}, head)
    if update.optimiser == "rmsprop":
        rates = {"lr": update.lr, "rho": update.second_moment, "momentum": update.momentum}
        return RMSProp(groups, **rates, epsilon=update.epsilon)
    optimiser = _torch_optimiser(groups, update)
    _prepare(optimiser)
    if any(parameter.device.type not in MASKED_BY_TORCH for parameter in network.parameters()):
        mask(optimiser)
    return optimiser


def state_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, not copied, as "index.key": the parameter's place over all groups, and what it is."""
    return {
        f"{index}.{key}": value.detach()
        for index, parameter in enumerate(_parameters(optimiser))
        for key, value in optimiser.state[parameter].items()
    }


def load_state(optimiser: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
    """Copy a state into the optimiser's own tensors, whose layout in memory stays; nothing is copied unless all fits.

    Args:
        optimiser: One that `build` made of the same network and options.
        state: By the parameter's place over all groups and by what it is, as `state_tensors` has them.

    Raises:
        ModelError: it is the state of another optimiser or network.
    """
    own = state_tensors(optimiser)
    given = {f"{index}.{key}": value for index, values in state.items() for key, value in values.items()}
    odd = sorted(own.keys() ^ given.keys())
    if odd:
        where = "is missing from" if odd[0] in own else "is too much in"
        raise ModelError(
            f"{odd[0]} {where} the state of {type(optimiser).__name__} ({len(given)} tensors, {len(own)} expected); "
            "it must come from the same network and optimiser: go on with the run's own options"
        )
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            raise ModelError(
                f"{name} of the optimiser's state has shape {tuple(given[name].shape)}, its parameter "
                f"{tuple(tensor.shape)}; it must come from the same network: go on with the run's own options"
            )
    for name, tensor in own.items():
        tensor.copy_(given[name])


def mask(optimiser: torch.optim.Optimizer) -> None:
    """Heed `found_inf` for kernels that do not: keep weights and state before a step, and put them back.

    Nothing is waited for: the bits of the old and the new are multiplied by 0 and 1, and added.
    """
    kept: list[Tensor] = []

    def keep(*_: object) -> None:
        flagged = getattr(optimiser, "found_inf", None) is not None
        kept[:] = [bits.clone() for bits in _bits(optimiser)] if flagged else []

    def put_back(*_: object) -> None:
        for old, new in zip(kept, _bits(optimiser) if kept else [], strict=True):
            found: Tensor = optimiser.found_inf  # type: ignore[attr-defined]  # where torch's optimisers look
            new.mul_((1 - found).to(new.dtype)).add_(old.mul_(found.to(old.dtype)))

    optimiser.register_step_pre_hook(keep)
    optimiser.register_step_post_hook(put_back)


def _groups(
    network: nn.Module,
    update: Update,
    blocks: Mapping[nn.Parameter, int],
    scales: Mapping[nn.Parameter, float],
    head: Collection[nn.Parameter],
) -> list[dict[str, Any]]:
    """What is trained, by its learning rate, its weight decay and, for muon, by the blocks that are orthogonalised."""
    members: dict[tuple[float, int, bool, float], list[nn.Parameter]] = defaultdict(list)
    head = set(head)  # by identity
    for parameter in network.parameters():
        if parameter.requires_grad:
            own = _own_rate(parameter, update, parameter in head)
            decayed = update.decay_all or parameter.ndim > 1
            members[scales.get(parameter, 1.0) * own, blocks.get(parameter, 0), decayed, own].append(parameter)
    of_muon = update.optimiser == "muon"
    return [
        {"params": those, "weight_decay": update.weight_decay * decayed / own, "scale": scale}
        | ({"blocks": count} if of_muon else {})
        for (scale, count, decayed, own), those in sorted(members.items(), key=lambda member: member[0], reverse=True)
    ]


def _own_rate(parameter: nn.Parameter, update: Update, of_head: bool) -> float:
    """What a parameter's learning rate is, by what it is, in parts of `lr`; its decay is divided by as much."""
    if of_head and update.head_lr > 0:
        return update.head_lr / update.lr
    return update.bias_lr / update.lr if parameter.ndim <= 1 and update.bias_lr > 0 else 1.0


def _torch_optimiser(groups: list[dict[str, Any]], update: Update) -> torch.optim.Optimizer:
    if update.optimiser == "sgd":
        nesterov = update.nesterov and update.momentum > 0
        return torch.optim.SGD(groups, lr=update.lr, momentum=update.momentum, nesterov=nesterov, fused=True)
    kind = torch.optim.Adam if update.optimiser == "adam" else torch.optim.AdamW
    betas = (update.momentum, update.second_moment)
    return kind(groups, lr=update.lr, betas=betas, eps=update.epsilon, fused=True)


def _prepare(optimiser: torch.optim.Optimizer) -> None:
    """Make the state that torch would make in the first step.

    What SGD would make there is not initialised, and would stay so where that very step is masked.
    """
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = optimiser.state[parameter]
            if not isinstance(optimiser, torch.optim.SGD):
                state["step"] = torch.zeros((), device=parameter.device)
                names = ["exp_avg", "exp_avg_sq"]
            else:
                names = ["momentum_buffer"] if group["momentum"] > 0 else []
            for name in names:
                state[name] = torch.zeros_like(parameter, requires_grad=False)


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimiser.param_groups for parameter in group["params"])


def _bits(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    held = [parameter.detach() for parameter in _parameters(optimiser)] + list(state_tensors(optimiser).values())
    return [tensor.view(BITS[tensor.element_size()]) for tensor in held]
