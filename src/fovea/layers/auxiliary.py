"""Auxiliary classifiers: small heads on a network's middle, which bring gradients there while it trains."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from fovea.errors import ShapeError, UsageError
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.inception import Unit, rectified

POOLING, STEP = 5, 3  # side and stride of the mean pooling before both kinds
CHANNELS = 128  # of the 1×1 convolution behind it


def pooled_side(side: int) -> int:
    """Side of the maps that the mean pooling leaves.

    Raises:
        ShapeError: side is less than the pooling's window.
    """
    if side < POOLING:
        raise ShapeError(f"feature maps of {side}×{side} are too small for an auxiliary classifier; {POOLING} is least")
    return (side - POOLING) // STEP + 1


class AuxiliaryClassifier(nn.Sequential):
    """GoogLeNet's: mean pooling 5×5/3, 1×1 convolution to 128, 1,024 hidden units, dropout, logits.

    Args:
        in_channels: Channels of the stage it reads.
        num_classes: Number of logits.
        side: Side of the stage's maps, in pixels; 14 in the paper.
        adaptive: Pool to `side`'s pooled size whatever the maps are, instead of by a fixed window.
        dropout: Share of hidden units dropped, in [0, 1); the paper's 70 %.
        unit: Makes the convolution with its nonlinearity.

    Raises:
        ShapeError: side is below 5.
        UsageError: dropout lies outside [0, 1).

    Source: Szegedy et al. 2014, arXiv:1409.4842, section 5.
    """

    HIDDEN = 1024

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        side: int = 14,
        adaptive: bool = False,
        dropout: float = 0.7,
        unit: Unit = rectified,
    ) -> None:
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout (={dropout}) must be at least 0 and less than 1")
        left = pooled_side(side)
        parts: dict[str, nn.Module] = {
            "pool": nn.AdaptiveAvgPool2d(left) if adaptive else nn.AvgPool2d(POOLING, STEP),
            "conv": unit(in_channels, CHANNELS, 1),
            "flatten": nn.Flatten(),
            "hidden": nn.Linear(CHANNELS * left**2, self.HIDDEN),
            "activation": nn.ReLU(),
            "dropout": nn.Dropout(dropout),
            "output": nn.Linear(self.HIDDEN, num_classes),
        }
        super().__init__(OrderedDict(parts))


class NormalisedAuxiliaryClassifier(nn.Sequential):
    """Inception v3's: mean pooling 5×5/3, 1×1 convolution to 128, a convolution over all that is left, logits.

    Batch normalisation makes it a regulariser, as the paper has it. The second convolution's kernel is 5×5, or the
    maps' side where that is less.

    Args:
        in_channels: Channels of the stage it reads.
        num_classes: Number of logits.
        side: Side of the stage's maps, in pixels; 17 as published.
        eps: What the normalisation adds to the variance.

    Raises:
        ShapeError: side is below 5.

    Source: Szegedy et al. 2015, arXiv:1512.00567, section 4 and Figure 8.
    """

    FEATURES = 768

    def __init__(self, in_channels: int, num_classes: int, *, side: int = 17, eps: float = 1e-3) -> None:
        kernel = min(5, pooled_side(side))
        parts: dict[str, nn.Module] = {
            "pool": nn.AvgPool2d(POOLING, STEP),
            "projection": ConvNorm(in_channels, CHANNELS, 1, eps=eps),
            "conv": ConvNorm(CHANNELS, self.FEATURES, kernel, padding=0, eps=eps),
            "mean": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "output": nn.Linear(self.FEATURES, num_classes),
        }
        super().__init__(OrderedDict(parts))
