"""AmoebaNet-A. Real, Aggarwal, Huang and Le 2019, "Regularized Evolution for Image Classifier Architecture Search".

arXiv:1802.01548. Cells found by evolution in NASNet's search space, stacked as NASNet's are; (N, F) are the normal
cells of a stack and the filters of the first. The genotype is that of the code published for TPUs; the paper's figure 6
was not compared with it.
"""

from __future__ import annotations

from typing import Literal

from fovea.architectures.nasnet import CIFAR, Plan, cell_network, chosen
from fovea.layers.cell import genotype
from fovea.layers.cell_stack import CellNet

# fmt: off
# Each row makes a state from two: (state, operation) + (state, operation). State 0 is the current map, 1 the previous.
# The output holds states that are used inside the cell as well. The paper's text says "unused states"; only what the
# code has here gives the paper's 86.7 million parameters, the text's rule gives 75.1 million.
NORMAL = genotype(
    ((0, "avg3x3"), (0, "max3x3")),   # 2
    ((1, "sep3x3"), (1, "none")),     # 3
    ((0, "none"),   (1, "avg3x3")),   # 4
    ((0, "sep3x3"), (2, "sep5x5")),   # 5
    ((5, "avg3x3"), (0, "sep3x3")),   # 6
    concat=(1, 3, 4, 6),
)
REDUCTION = genotype(
    ((1, "sep3x3"), (0, "avg3x3")),   # 2
    ((0, "max3x3"), (2, "sep7x7")),   # 3
    ((1, "max3x3"), (0, "max3x3")),   # 4
    ((4, "sep3x3"), (0, "1x7_7x1")),  # 5
    ((1, "avg3x3"), (0, "sep7x7")),   # 6
    concat=(2, 3, 4, 5, 6),
)
# fmt: on

PLAN = Plan(
    NORMAL,
    REDUCTION,
    repeats=6,
    filters=190,
    stem_channels=32,
    drop_path=0.3,
    drop_by_depth=False,  # NASNet's code has it grow with depth, AmoebaNet's with the steps alone
    auxiliary_width=0.4,
)
CIFAR_PLAN = PLAN._replace(stem_cells=0, dropout=0.0, normalisation=CIFAR, auxiliary_width=1.0)
PLANS = {
    "f190": PLAN,
    "f448": PLAN._replace(filters=448),
    "mobile": PLAN._replace(repeats=4, filters=50),  # (4, 50) from memory
    # A stem of 3 F channels, as NASNet has it, comes to the parameters that the paper prints; one of 32 does not.
    "cifar_f32": CIFAR_PLAN._replace(filters=32, stem_channels=96),
    "cifar_f36": CIFAR_PLAN._replace(filters=36, stem_channels=108),
}


def amoebanet_a(
    *,
    num_classes: int = 1001,
    in_channels: int = 3,
    image_size: int = 331,
    size: str = "f190",
    stem: Literal["paper", "small"] = "paper",
    auxiliary: bool = False,
) -> CellNet:
    """AmoebaNet-A for ImageNet: f190 (6, 190), f448 (6, 448), mobile (4, 50); for CIFAR: cifar_f32, cifar_f36 (6, F).

    The ImageNet networks have 1,001 classes, as the published code: the first is "background". Drop path acts once
    `layers.drop_path.schedule_drop_path` is called in training. Initialisation is the code's (variance 2 over the
    fan-out, NASNet's too). For CIFAR no code is published: normalisation and dropout are NASNet's for CIFAR, and so is
    the auxiliary classifier's width, by assumption.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Decides the auxiliary classifier's last kernel alone.
        size: A row of PLANS.
        stem: "small" is a 3×3 convolution to 3 F channels at stride 1 without stem cells, as for CIFAR.
        auxiliary: Whether a classifier reads the last cell before the second reduction, in training.

    Raises:
        UsageError: no such size or stem.
        ShapeError: the image is too small for the last reduction, or for the auxiliary classifier.
    """
    return cell_network(
        chosen(PLANS, size, stem),
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        auxiliary=auxiliary,
    )
