"""NaN and overflow: they never enter the weights, and where they came from is said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from fovea.data.batch import Batch
from fovea.training.losses import Loss

NAMED = 10  # files that a message names


class Guard:
    """A flag on the device, raised by the first step that is not finite; it masks that update and all after it.

    It is read a step later, when the device has long computed it, so that the step waits for nothing.

    Args:
        device: Where the network trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.raised = torch.zeros((), device=device)
        waits = device.type == "cuda"
        self._slots = [_Slot(self.raised, waits), _Slot(self.raised, waits)]
        self._posted: list[int] = []

    def check(self, loss: Tensor, norm: Tensor) -> None:
        """Raise the flag where this step's loss or gradient is not finite; optimisers know it as `found_inf`."""
        self.raised.logical_or_((loss.detach() + norm) * 0)  # of NaN and infinity, times 0 is NaN, and NaN is true

    def post(self, step: int) -> None:
        """Start the flag's way to where `seen` can read it, after so many steps."""
        self._slots[step % 2].post()
        self._posted = [*self._posted[-1:], step]

    def seen(self, *, now: bool = False) -> int | None:
        """The step that raised the flag, as far as it is known without waiting.

        Args:
            now: Wait for the step posted last, too.
        """
        known = self._posted if now or not self._slots[0].waits else self._posted[:-1]
        return next((step for step in known if self._slots[step % 2].read()), None)


class _Slot:
    """A copy of the flag on its way from the device; where nothing has to travel, the flag itself as it was posted."""

    def __init__(self, flag: Tensor, waits: bool) -> None:
        self.waits, self._flag = waits, flag
        self._copy = torch.zeros((), pin_memory=waits)
        self._arrived = torch.cuda.Event() if waits else None  # type: ignore[no-untyped-call]

    def post(self) -> None:
        self._copy.copy_(self._flag, non_blocking=self.waits)
        if self._arrived is not None:
            self._arrived.record()

    def read(self) -> bool:
        if self._arrived is not None:
            self._arrived.synchronize()
        return bool(self._copy)


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients together, without waiting for the device."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    return norm


def diagnosed(forward: nn.Module, batch: Batch, loss: Loss, names: Sequence[str]) -> str:
    """Where NaN or infinity came from: the files, the first layer, or the gradient; in words.

    Args:
        forward: What the step ran, in training mode, with the weights that it ran with.
        batch: The step's images and labels.
        loss: What it minimised.
        names: Of the images.
    """
    bad = _bad_rows(batch.images)
    if bad:
        return f"the pixels of {_named(bad, names)} are not finite"
    found: list[tuple[str, list[int]]] = []
    with ExitStack() as hooks:
        for name, module in forward.named_modules():
            if not list(module.children()):
                handle = module.register_forward_hook(lambda *seen, name=name: _note(found, name, seen[-1]))
                hooks.callback(handle.remove)
        outputs = forward(batch.images)
    if found:
        layer, rows = found[0]
        which = "" if len(rows) == len(names) else f", for {_named(rows, names)}"
        return f"layer {layer.removeprefix('network.')} gave NaN or infinity{which}"
    value = loss(outputs, batch)
    if not torch.isfinite(value):
        return f"the loss is {value.item()}, of logits that are finite"
    forward.zero_grad()
    torch.autograd.backward(value)
    gradients = {name: weight.grad for name, weight in forward.named_parameters() if weight.grad is not None}
    spoilt = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
    overflows = not torch.isfinite(gradient_norm(list(gradients.values())))
    forward.zero_grad()
    if spoilt:
        return f"the gradient of {spoilt[-1].removeprefix('network.')} is not finite, that of the layers behind it is"
    if overflows:
        return "the gradient's norm overflows"
    return "the same step, done again, is finite here (of several processes another one says more)"


def _note(found: list[tuple[str, list[int]]], name: str, output: object) -> None:
    if isinstance(output, Tensor) and output.is_floating_point():
        rows = _bad_rows(output)
        if rows:
            found.append((name, rows))


def _bad_rows(maps: Tensor) -> list[int]:
    finite = torch.isfinite(maps.detach().flatten(1) if maps.dim() > 1 else maps.detach()[:, None]).all(dim=1)
    return [int(row) for row in torch.nonzero(~finite).flatten()]


def _named(rows: Sequence[int], names: Sequence[str]) -> str:
    listed = ", ".join(names[row] for row in rows[:NAMED])
    return listed + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")
