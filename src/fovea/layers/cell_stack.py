"""Stages of which each cell reads the outputs of two before it, and the network made of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import Initialisation, torch_default
from fovea.layers.smallest_image import too_small


class CellStack(nn.Sequential):
    """Named stages in order; a cell among them gets the map before and one further back.

    Args:
        stages: The stages in order, by name.
        back: How many outputs back each cell's second map lies, by the cell's name: 2 is the one before the map
            before. Stages without an entry take one map. Where there is no output so far back, the cell gets None.
    """

    def __init__(self, stages: Mapping[str, nn.Module], *, back: Mapping[str, int]) -> None:
        super().__init__(OrderedDict(stages))
        self.back = dict(back)

    def staged(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each stage's name and output, one after another; a stage runs when its turn is asked for."""
        furthest = max(self.back.values(), default=1)
        outputs: list[Tensor | None] = [None] * furthest
        maps = images
        for name, stage in self.named_children():
            maps = stage(maps, outputs[-self.back[name]]) if name in self.back else stage(maps)
            outputs = [*outputs[1:], maps]  # what nobody will read is let go
            yield name, maps

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """The last stage's output."""
        maps = images
        for _, maps in self.staged(images):  # noqa: B007  # the last one is what is wanted
            pass
        return maps


class CellNet(ConvNet):
    """A network of cells; as ConvNet, but its features pass two maps from cell to cell.

    Args:
        stages: The feature stages in order, by name.
        back: How many outputs back each cell's second map lies, as CellStack takes it.
        head: The head's modules in order, by name; the last one gives the logits.
        in_channels: Channels of the images.
        scheme: How convolutions and linear layers start.
        auxiliary: Classifiers for training alone, each by the name of the stage whose output it reads.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        *,
        back: Mapping[str, int],
        head: Mapping[str, nn.Module],
        in_channels: int,
        scheme: Initialisation = torch_default,
        auxiliary: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__(stages, head=head, in_channels=in_channels, scheme=scheme, auxiliary=auxiliary)
        self.features: CellStack = CellStack(stages, back=back)

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
            for name, maps in self.features.staged(images):
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
        staged = self.features.staged(images)
        while len(outputs) < len(wanted):
            name, maps = next(staged)
            if name in wanted:
                outputs[name] = maps
        return outputs

    def _explain(self, error: RuntimeError, images: Tensor) -> None:
        # Cells cannot run one by one on one map each: the features count as one step.
        explained = too_small([("features", self.features), ("head", self.head)], tuple(images.shape[1:]))
        if explained is not None:
            raise explained from error
