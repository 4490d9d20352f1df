"""Shapes, parameters and multiply-adds of any module, without weights and without arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from fovea.cost.recorder import Recorder
from fovea.cost.rows import rows_of
from fovea.cost.running import forward_on_meta, image_batch


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one image costs.

    Args:
        parameters: Learnable ones; shared ones count once, buffers do not.
        multiply_adds: Of convolutions and linear layers; without biases, normalisation, pooling, activations.
        shapes: What leaves each stage, without the batch: (channels, height, width) or (units,). A part of the head
            that is called like a stage is `head.<name>`; a stage that does not run, or gives no tensor, is absent.
    """

    parameters: int
    multiply_adds: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def measure(network: nn.Module, *, in_channels: int, image_size: int) -> Cost:
    """The cost of one image of a square size, by running the module once on the meta device.

    A module with a method `multiply_adds(output)` counts itself: what it runs may do more than its layer means.

    Raises:
        ShapeError: the image does not fit; says in which layer.
        ModelError: the module cannot run without numbers.
    """
    recorder = Recorder()
    forward_on_meta(network, image_batch(in_channels, image_size), recorder)
    names = {id(stage): name for name, stage in stages_of(network).items()}
    left = {names[id(call.module)]: call.shape for call in recorder.trace.calls if id(call.module) in names}
    return Cost(
        parameters=parameters(network),
        multiply_adds=sum(row.macs for row in rows_of(recorder.trace, network)),
        shapes={name: shape[1:] for name, shape in left.items() if shape is not None},
    )


def parameters(network: nn.Module) -> int:
    """Number of learnable parameters; shared ones count once, buffers do not."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def multiply_adds(network: nn.Module, *, in_channels: int, image_size: int) -> int:
    """Multiply-adds of one image, as `measure` counts them."""
    return measure(network, in_channels=in_channels, image_size=image_size).multiply_adds


def stage_shapes(network: nn.Module, *, in_channels: int, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape leaving each stage for one image, as `measure` finds them."""
    return measure(network, in_channels=in_channels, image_size=image_size).shapes


def stages_of(network: nn.Module) -> dict[str, nn.Module]:
    """The parts that have a row of their own: children of `features` and `head`, or the module's own children."""
    parts = [part for part in ("features", "head") if isinstance(getattr(network, part, None), nn.Module)]
    if not parts:
        return dict(network.named_children())
    stages: dict[str, nn.Module] = {}
    for part in parts:
        for name, child in getattr(network, part).named_children():
            stages[name if name not in stages else f"{part}.{name}"] = child
    return stages
