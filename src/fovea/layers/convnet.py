"""The usual network: named stages one after another, then a head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ModelError, ShapeError, UsageError, suggestion
from fovea.layers.initialisation import Initialisation, initialise, torch_default
from fovea.layers.smallest_image import too_small


class ConvNet(nn.Module):
    """Images through named stages to feature maps, and through a head to logits.

    The stages carry the paper's names, so that Grad-CAM, style layers, freezing and checkpoints all say the same:
    `features.conv4_x`. The head's last module is its output layer; the one before it gives `num_features` numbers.

    Args:
        stages: The feature stages in order, by name.
        head: The head's modules in order, by name; the last one gives the logits.
        in_channels: Channels of the images.
        scheme: How convolutions and linear layers start.
        auxiliary: Classifiers for training alone, each by the name of the stage whose output it reads; its last
            module gives the logits.

    Raises:
        UsageError: an auxiliary classifier is to read a stage that there is not.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        *,
        head: Mapping[str, nn.Module],
        in_channels: int,
        scheme: Initialisation = torch_default,
        auxiliary: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.features = nn.Sequential(OrderedDict(stages))
        self.head = nn.Sequential(OrderedDict(head))
        self.auxiliary = nn.ModuleDict(dict(auxiliary or {}))
        self._check_stages(self.auxiliary)
        self.scheme = scheme
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give every tensor its starting value, as the paper says, each once; on the meta device there is none."""
        if any(parameter.is_meta for parameter in self.parameters()):
            return
        for part in self.children():
            initialise(part, self.scheme)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return int(_width(self.head[-1], "out"))

    @property
    def num_features(self) -> int:
        """Length of what the output layer receives."""
        return int(_width(self.head[-1], "in"))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits of a batch of images.

        Raises:
            ShapeError: the images have another number of channels than the network, or are too small for a stage.
        """
        self._check_channels(images)
        try:
            logits: Tensor = self.head(self.features(images))
        except RuntimeError as error:
            self._explain(error, images)
            raise
        return logits

    def forward_with_auxiliary(
        self, images: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n k"], dict[str, Float[Tensor, "n k"]]]:
        """The logits, and those of the auxiliary classifiers by the stage that each reads; every stage runs once.

        Raises:
            ShapeError: as in `forward`.
        """
        self._check_channels(images)
        auxiliary: dict[str, Tensor] = {}
        maps = images
        try:
            for name, stage in self.features.named_children():
                maps = stage(maps)
                if name in self.auxiliary:
                    auxiliary[name] = self.auxiliary[name](maps)
            return self.head(maps), auxiliary
        except RuntimeError as error:
            self._explain(error, images)
            raise

    def stage_outputs(self, images: Float[Tensor, "n c h w"], names: Iterable[str]) -> dict[str, Tensor]:
        """The outputs of the named stages, in the network's order; later stages do not run.

        Raises:
            UsageError: a name is no stage of this network.
        """
        wanted = set(names)
        self._check_stages(wanted)
        outputs: dict[str, Tensor] = {}
        for name, stage in self.features.named_children():
            if len(outputs) == len(wanted):
                break
            images = stage(images)
            if name in wanted:
                outputs[name] = images
        return outputs

    def reset_head(self, num_classes: int) -> None:
        """Replace the output layer, and those of the auxiliary classifiers, by fresh ones for other classes."""
        for head in (self.head, *self.auxiliary.children()):
            name, output = list(head.named_children())[-1]
            setattr(head, name, _fresh_output(output, num_classes))

    def _check_channels(self, images: Tensor) -> None:
        if images.shape[1] != self.in_channels:
            raise ShapeError(
                f"images have {images.shape[1]} channels, but the network takes in_channels={self.in_channels}; "
                f"build it with in_channels={images.shape[1]}, or convert the images"
            )

    def _check_stages(self, names: Iterable[str]) -> None:
        stages = dict(self.features.named_children())
        for name in sorted(set(names) - stages.keys()):
            raise UsageError(f"no stage is called {name}; there are {', '.join(stages)}.{suggestion(name, stages)}")

    def _explain(self, error: RuntimeError, images: Tensor) -> None:
        """Raise in the error's stead what the images' size has to do with it, if anything; nothing is sought before."""
        stages, head = list(self.features.named_children()), list(self.head.named_children())
        ways = [[*stages, *head]]
        for last, auxiliary in self.auxiliary.items():
            until = [name for name, _ in stages].index(last) + 1
            ways.append([*stages[:until], (f"the auxiliary classifier of {last}", auxiliary)])
        for steps in ways:
            explained = too_small(steps, tuple(images.shape[1:]))
            if explained is not None:
                raise explained from error


def _width(output: nn.Module, side: str) -> int:
    for unit in ("features", "channels"):
        if hasattr(output, f"{side}_{unit}"):
            return int(getattr(output, f"{side}_{unit}"))
    raise ModelError(f"the head's last module ({type(output).__name__}) has no {side}_features or {side}_channels")


def _fresh_output(output: nn.Module, num_classes: int) -> nn.Module:
    resized: Callable[[int], nn.Module] | None = getattr(output, "resized", None)
    if resized is not None:
        return resized(num_classes)
    if isinstance(output, nn.Linear):
        weight = output.weight
        return nn.Linear(
            output.in_features, num_classes, output.bias is not None, device=weight.device, dtype=weight.dtype
        )
    raise ModelError(f"the head's last module ({type(output).__name__}) cannot be replaced; give it resized(n)")
