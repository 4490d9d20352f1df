"""How far each layer's weights move: gradient norms, weight norms, and the size of updates against the weights."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fovea.errors import require
from fovea.files import write_durably

LAYERS = "layers.csv"
COLUMNS = ("epoch", "layer", "gradient_norm", "weight_norm", "update_ratio")
SAMPLES = 8  # steps of an epoch that are watched, about
NORMS = 3  # of a layer: gradient, weights, update


class LayerWatch:
    """Watches some updates of each epoch layer by layer, and writes their means into layers.csv after it.

    A layer is a module that owns parameters with a gradient. Which steps are watched depends on the step alone, so a
    run is watched alike wherever it was stopped; no number of the training depends on it. After a resume the epochs
    that were finished stay in the file; the running epoch's sums begin again: its means are those of the steps since.

    Args:
        network: Whose weights, where they are trained.
        run: The run folder.
        steps: Of an epoch.

    Raises:
        UsageError: fewer than one step.
    """

    def __init__(self, network: nn.Module, run: Path, steps: int) -> None:
        require("steps", steps, steps >= 1, "1 or more")
        self.run, self.steps = run, steps
        self._written: list[str] | None = None
        owned = _owned(network)
        self.layers = list(owned)
        self._parameters = [parameter for parameters in owned.values() for parameter in parameters]
        owners = [place for place, parameters in enumerate(owned.values()) for _ in parameters]
        device = self._parameters[0].device if self._parameters else torch.device("cpu")
        self._owners = torch.tensor(owners, dtype=torch.int64, device=device)
        self._sums = torch.zeros(NORMS, len(owned), device=device)
        self._count = torch.zeros((), device=device)

    def samples(self, step: int) -> bool:
        """Whether this step, counted from 0 over the whole run, is watched: about eight of an epoch, and its last."""
        place = step % self.steps
        return place % max(1, self.steps // SAMPLES) == 0 or place == self.steps - 1

    @contextmanager
    def observing(self, step: int, spoilt: Tensor | None = None) -> Iterator[None]:
        """Stand around the optimiser's update, with its gradients as it takes them; the device is not waited for.

        Args:
            step: Counted from 0 over the whole run.
            spoilt: Above 0 where the update is not made, since a number was not finite; it is not counted.
        """
        if not self.samples(step) or not self._parameters:
            yield
            return
        weights = [parameter.detach() for parameter in self._parameters]
        none = torch.zeros((), device=weights[0].device)
        gradients = [none if parameter.grad is None else parameter.grad for parameter in self._parameters]
        seen = [self._norms(gradients), self._norms(weights)]
        before = [weight.clone() for weight in weights]
        yield
        torch._foreach_sub_(before, weights)
        norms = torch.stack([*seen, self._norms(before)])
        made = torch.ones_like(self._count) if spoilt is None else (spoilt == 0).to(self._count)
        self._sums += torch.where(made > 0, norms, 0.0)
        self._count += made

    def __call__(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the means of the epoch that the last row finished, behind those of the epochs before."""
        if not rows or not float(self._count):
            return
        epoch = int(rows[-1]["epoch"])
        if self._written is None:  # those of before a resume
            self._written = [line for line in _lines(self.run) if 0 <= _epoch(line) < epoch]
        gradients, weights, updates = (self._sums / self._count).tolist()
        for layer, gradient, weight, update in zip(self.layers, gradients, weights, updates, strict=True):
            # Weights that are all zero have no size that an update could be compared with.
            self._written.append(_line((epoch, layer, gradient, weight, update / weight if weight > 0 else None)))
        write_durably(self.run / LAYERS, "\n".join([_line(COLUMNS), *self._written, ""]).encode())
        self._sums.zero_()
        self._count.zero_()

    def _norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """The Euclidean norm of each layer's tensors together."""
        each = torch._foreach_norm([tensor.float() for tensor in tensors])
        squares = torch.stack([norm.to(self._sums.device) for norm in each]).square()
        return torch.zeros_like(self._sums[0]).index_add_(0, self._owners, squares).sqrt()


def read_layers(run: Path, *, since: int = 0) -> list[dict[str, Any]]:
    """The rows of layers.csv: epoch, layer, and the means over its watched steps; none where there is no such file.

    A row that cannot be read is left out: the file is for looking at, and training goes on without it.

    Args:
        run: The run folder.
        since: Leave out the epochs before it.
    """
    found: list[dict[str, Any]] = []
    for line in _lines(run):
        if _epoch(line) < since:
            continue
        with contextlib.suppress(KeyError, TypeError, ValueError, csv.Error):
            row = next(csv.DictReader([line], COLUMNS))
            values = {name: None if row[name] == "" else float(row[name]) for name in COLUMNS[2:]}
            found.append({"epoch": int(row["epoch"]), "layer": str(row["layer"])} | values)
    return found


def _lines(run: Path) -> list[str]:
    """The lines of the file below its head."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (run / LAYERS).read_text(encoding="utf-8").splitlines()[1:]
    return []


def _epoch(line: str) -> int:
    """The epoch of a line, or -1: most lines are of other epochs, and need no more reading."""
    epoch = line.partition(",")[0]
    return int(epoch) if epoch.isdecimal() else -1


def _owned(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters with a gradient by the path of the module that owns them, each once."""
    seen: set[int] = set()
    found: dict[str, list[nn.Parameter]] = {}
    for path, module in network.named_modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found.setdefault(path or type(module).__name__, []).append(parameter)
    return found


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
