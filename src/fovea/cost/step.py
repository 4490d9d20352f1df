"""One step of training without numbers: the real forward and backward pass, on the meta device, under observation.

Autograd itself decides what is kept for the backward pass and when it is freed, so the account holds for any module,
with gradient checkpointing and mixed precision too; only what kernels borrow for themselves is a model (`workspace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fovea.cost.liveness import Liveness
from fovea.cost.recorder import Recorder, Trace
from fovea.cost.running import dtype_of, evaluating, explained, image_batch, without_fast_paths
from fovea.layers.weightless import named_tensors

Precision = Literal["float32", "bf16"]
Size = int | tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a network is trained, as far as memory and time go.

    Args:
        in_channels: Channels of the images.
        image_size: Side of the images in pixels, or (height, width).
        batch_size: Images in a step.
        precision: "bf16" is autocast: weights stay float32, convolutions and products run in bfloat16.
        channels_last: Whether weights and images lie with their channels last.
        checkpointing: Whether each block keeps its input alone, and runs again in the backward pass.
    """

    in_channels: int = 3
    image_size: Size = 224
    batch_size: int = 32
    precision: Precision = "float32"
    channels_last: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class Step:
    """What one step did: its operations, the account of its memory, and the gradients it left."""

    trace: Trace
    liveness: Liveness
    gradients: frozenset[int]  # the names of their storages in the account
    held: dict[str, int]  # bytes that are there all the time: weights, buffers, images
    trainable: tuple[int, ...]  # the bytes of each of the weights that learn


def training_step(network: nn.Module, setting: Setting, *, blocks: Sequence[nn.Module] = ()) -> Step:
    """Forward and backward pass of one batch, with cross-entropy where the network gives logits.

    Args:
        network: Any module; nothing of it is changed.
        setting: How it is trained.
        blocks: What is checkpointed, where the setting says so.

    Raises:
        ShapeError: the images do not fit.
        ModelError: the network cannot run without numbers.
    """
    mode, how = _mode(setting)
    liveness = Liveness()
    recorder = Recorder(after=liveness.after)
    with mode:
        tensors = _weightless(network, setting, how)
        images = _images(network, setting, how)
        labels = torch.empty(setting.batch_size, dtype=torch.int64, **how)
        liveness.ignore([*tensors.values(), images, labels])
        whole = _Whole(network, recorder, setting.precision)
        named = {f"network.{name}": tensor for name, tensor in tensors.items()}
        recomputing = checkpointed(blocks) if setting.checkpointing else nullcontext()
        in_training = nullcontext() if network.training else evaluating(network, training=True)
        with in_training, recomputing, without_fast_paths(), recorder.watching(network), explained(recorder):
            functional_call(whole, named, (images, labels), tie_weights=False)
    unique = list({id(tensor): tensor for tensor in tensors.values()}.values())
    parameters = [tensor for tensor in unique if isinstance(tensor, nn.Parameter)]
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = liveness.names(p.grad for p in learning if p.grad is not None)
    buffers = [tensor for tensor in unique if not isinstance(tensor, nn.Parameter)]
    held = {"weights": _bytes(parameters), "buffers": _bytes(buffers), "images": _bytes([images, labels])}
    each = tuple(_bytes([parameter]) for parameter in learning)
    return Step(recorder.trace, liveness, frozenset(gradients), held, each)


def forward_pass(network: nn.Module, setting: Setting) -> Trace:
    """A forward pass of one batch in evaluation mode, in the precision and memory format of training.

    Raises:
        ShapeError: the images do not fit.
        ModelError: the network cannot run without numbers.
    """
    mode, how = _mode(setting)
    recorder = Recorder()
    recorder.phase = "evaluation"
    with mode, evaluating(network), torch.no_grad(), without_fast_paths():
        tensors = _weightless(network, setting, how)
        images = _images(network, setting, how)
        with _autocast(setting.precision), recorder.watching(network), explained(recorder):
            functional_call(network, tensors, (images,), tie_weights=False)
    return recorder.trace


class _Whole(nn.Module):
    """Forward and backward as one module, so that its weights can be replaced for both."""

    def __init__(self, network: nn.Module, recorder: Recorder, precision: Precision) -> None:
        super().__init__()
        self.network, self.recorder, self.precision = network, recorder, precision

    def forward(self, images: Tensor, labels: Tensor) -> None:
        self.recorder.phase = "forward"
        with _autocast(self.precision):
            loss = loss_of(self.network(images), labels)
        self.recorder.phase = "backward"
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]  # torch types it not


def loss_of(output: Any, labels: Tensor) -> Tensor:
    """Cross-entropy of logits, also of several heads; the sum of anything else."""
    if isinstance(output, Tensor):
        if output.dim() == 2 and output.is_floating_point():
            return F.cross_entropy(output, labels)
        return output.float().sum()
    parts = output.values() if isinstance(output, dict) else output
    losses = [loss_of(part, labels) for part in parts if part is not None]
    return torch.stack(losses).sum()


def _mode(setting: Setting) -> tuple[AbstractContextManager[Any], dict[str, Any]]:
    """Autocast and channels-last maps want tensors that say they lie on a CPU: fake ones do, meta ones do not."""
    if setting.precision == "float32" and not setting.channels_last:
        return nullcontext(), {"device": "meta"}
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True), {"device": "cpu"}


def _weightless(network: nn.Module, setting: Setting, how: dict[str, Any]) -> dict[str, Tensor]:
    tensors = named_tensors(network)
    empty: dict[int, Tensor] = {}
    for tensor in tensors.values():
        made = torch.empty(tensor.shape, dtype=tensor.dtype, **how)
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(_laid_out(made, setting), requires_grad=tensor.requires_grad)
        empty[id(tensor)] = made
    return {name: empty[id(tensor)] for name, tensor in tensors.items()}


def _images(network: nn.Module, setting: Setting, how: dict[str, Any]) -> Tensor:
    shape = setting.in_channels, setting.image_size, setting.batch_size
    return _laid_out(image_batch(*shape, dtype=dtype_of(network), **how), setting)


def _autocast(precision: Precision) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _laid_out(tensor: Tensor, setting: Setting) -> Tensor:
    last = setting.channels_last and tensor.dim() == 4
    return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


@contextmanager
def checkpointed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Let each block forget what it computes, and compute it again; their own forward returns afterwards."""
    own = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = _forgetful(block.forward)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward


def _forgetful(forward: Any) -> Any:
    return lambda *args, **kwargs: checkpoint(
        forward, *args, use_reentrant=False, preserve_rng_state=False, determinism_check="none", **kwargs
    )


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors)
