"""Muon: the update of a filter bank is made orthogonal, so that no direction of it is left out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.training.rmsprop import evaluated, quenched, raised, unless, unread

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic: steepest at zero, and within 0.7 to 1.2 near one
STEPS = 5
SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum; of filters it is orthogonalised before it is subtracted, of all other parameters it is not.

    In a group whose `blocks` is above 0 every parameter is a matrix: a kernel of (out, in, height, width) is flattened
    to out rows, and cut into so many blocks of rows, those of a grouped convolution, which share no inputs. The update
    of each block is replaced by the orthogonal matrix closest to it, times √max(1, rows / columns). Groups with
    `blocks` 0 are updated by plain SGD with the same momentum.

    One learning rate serves both. An orthogonalised update has the spectral norm `lr`, whatever the filter's size and
    the loss's scale; 0.02 to 0.1 suits it, as it suits SGD on what remains: biases, normalisation, the first
    convolution and the last layer. An update of the same mean square as Adam's, 0.2 √max(rows, columns) as long, would
    want rates twenty times below SGD's. With `fixed_norm` each bank of `out` filters has the norm √out before each
    step, as in airbench94_muon: then the rate says by how much it turns. That changes what pretrained weights compute.

    Weight decay is decoupled in all groups: a step multiplies by 1 - lr * weight_decay.
    Where the attribute `found_inf` is 1, a step changes neither weights nor state; a GPU is not waited for.

    Args:
        groups: Groups of parameters with `blocks` and, where they are decayed, `weight_decay`.
        lr: Learning rate.
        momentum: Decay of the sum of gradients; 0 keeps none.
        nesterov: Look ahead: add the gradient to the decayed sum once more.
        fixed_norm: Give what is orthogonalised a fixed norm before it is updated.
        arithmetic: Type of the orthogonalisation; bfloat16 on a GPU that has it and float32 elsewhere by default.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/ (convolutions: all but the first one, and
    their repository's README; SGD for the rest: airbench94_muon of cifar10-airbench).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        nesterov: bool = True,
        fixed_norm: bool = False,
        arithmetic: torch.dtype | None = None,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.0, "blocks": 0}
        super().__init__(groups, defaults)
        self.arithmetic, self.fixed_norm = arithmetic, fixed_norm
        if momentum > 0:
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter, requires_grad=False)}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = evaluated(closure)
        found = getattr(self, "found_inf", None)
        if not raised(found):
            for group in self.param_groups:
                self._update(group, unread(found))
        return loss

    def _update(self, group: dict[str, Any], found: Tensor | None) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            return
        updates = self._with_momentum(parameters, group, found)
        if group["blocks"]:
            updates = orthogonalised(updates, group["blocks"], self.arithmetic or arithmetic_of(updates[0].device))
        lr, decay = group["lr"], group["weight_decay"]
        if decay > 0:
            torch._foreach_mul_(parameters, unless(found, 1 - lr * decay))
        if group["blocks"] and self.fixed_norm:
            _give_fixed_norm(parameters, found)
        if found is None:
            torch._foreach_add_(parameters, updates, alpha=-lr)
        else:
            torch._foreach_add_(parameters, torch._foreach_mul(updates, (found - 1) * lr))

    def _with_momentum(self, parameters: list[Tensor], group: dict[str, Any], found: Tensor | None) -> list[Tensor]:
        gradients = quenched([p.grad for p in parameters if p.grad is not None], found)
        if group["momentum"] == 0:
            return gradients
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(buffers, unless(found, group["momentum"]))
        torch._foreach_add_(buffers, gradients)
        return list(torch._foreach_add(gradients, buffers, alpha=group["momentum"])) if group["nesterov"] else buffers


def _give_fixed_norm(parameters: list[Tensor], found: Tensor | None) -> None:
    """Every bank the norm √out, one for each filter on average; nothing where the flag is up."""
    for parameter, norm in zip(parameters, torch._foreach_norm(parameters), strict=True):
        factor = math.sqrt(len(parameter)) / norm.clamp(min=SMALLEST_NORM)
        parameter.mul_(factor if found is None else torch.where(found > 0, 1.0, factor))


def orthogonalised(updates: Sequence[Tensor], blocks: int, arithmetic: torch.dtype) -> list[Tensor]:
    """The updates of kernels or matrices, orthogonal in each block, times √max(1, rows / columns).

    Args:
        updates: Each of (out, ...), out divisible by blocks.
        blocks: Of rows, each orthogonal in itself.
        arithmetic: The type that it is computed in.
    """
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, update in enumerate(updates):
        alike[len(update) // blocks, update[0].numel()].append(place)
    made: list[Tensor] = list(updates)
    for (rows, columns), places in alike.items():  # those of one size together: on a GPU small products are mostly wait
        matrices = torch.cat([updates[place].reshape(blocks, rows, columns) for place in places])
        matrices = newton_schulz(matrices, arithmetic) * math.sqrt(max(1.0, rows / columns))
        for place, matrix in zip(places, matrices.to(updates[places[0]].dtype).chunk(len(places)), strict=True):
            made[place] = matrix.reshape(updates[place].shape)
    return made


def newton_schulz(matrices: Float[Tensor, "n r c"], arithmetic: torch.dtype) -> Float[Tensor, "n r c"]:
    """Roughly the closest orthogonal matrices: singular vectors stay, singular values become about 1 (0.7 to 1.2).

    Only products are needed, of the smaller side's square. A matrix of zeros stays one.

    Args:
        matrices: Several of one size.
        arithmetic: The type that it is computed in, and that of the result.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/ (quintic Newton-Schulz, five steps).
    """
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x: Tensor = (matrices / norms.clamp(min=SMALLEST_NORM)).to(arithmetic)  # no singular value is above 1 now
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = _by_rows(x) if arithmetic == torch.float32 else _by_steps(x)
    return x.transpose(1, 2) if tall else x


def _by_steps(x: Tensor) -> Tensor:
    """As published: each step multiplies the matrices by a polynomial of their rows' products."""
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        products: Tensor = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(products, products, products, beta=b, alpha=c), x, beta=a)
    return x


def _by_rows(x: Tensor) -> Tensor:
    """The same, but all steps act on the rows' products, and their polynomials multiply the matrices once.

    Filters have many more columns than rows: on a CPU it is two to three times faster at (256, 2304). The products
    hold squares of singular values, too small for bfloat16; in float32 it agrees with the other way to about 1e-3.
    """
    a, b, c = COEFFICIENTS
    products: Tensor = x @ x.transpose(1, 2)
    whole = torch.empty(0)
    for step in range(STEPS):
        factor = torch.baddbmm(products, products, products, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        whole = factor @ whole if step > 0 else factor
        products = factor @ products @ factor
    return whole @ x


def arithmetic_of(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that has it, float32 elsewhere: on a CPU that is no slower, and the same on all of them."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def blocks_of(network: nn.Module) -> dict[nn.Parameter, int]:
    """For each parameter that Muon orthogonalises, its blocks of rows: the groups of its convolution.

    These are the kernels and matrices between the first layer and the last. Left out, as by their authors, are the
    first kernel, which sees pixels, and what gives logits: the last one, and matrices with as many rows, those of
    auxiliary classifiers. Left out are depthwise kernels too: a block of one row has nothing to be orthogonal to.

    Source: Jordan et al. 2024, https://github.com/KellerJordan/Muon (README).
    """
    groups = {m.weight: m.groups for m in network.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)}
    banks = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    hidden = [p for p in banks[1:-1] if p.ndim == 4 or (p.ndim == 2 and len(p) != len(banks[-1]))]
    blocks = {parameter: groups.get(parameter, 1) for parameter in hidden}
    return {p: n for p, n in blocks.items() if len(p) // n > 1 and p[0].numel() > 1}
