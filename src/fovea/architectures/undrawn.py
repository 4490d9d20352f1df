"""Building a network without memory also without drawing weights, of which there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FILLING = (torch.Tensor.fill_, torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.zero_)


class Undrawn(TorchFunctionMode):
    """Layers that are built within leave their weights as they are: for the meta device, where weights hold no values.

    torch's layers draw there all the same, and that takes as long as all the rest of building a network.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],  # torch's signature
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The tensor itself from what would fill it; anything else as it is."""
        given = kwargs or {}
        if func in FILLING or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else given["tensor"]
        return func(*args, **given)
