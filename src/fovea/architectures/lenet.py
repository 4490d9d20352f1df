"""LeNet-5. LeCun, Bottou, Bengio and Haffner 1998, Proc. IEEE 86(11):2278-2324, section II-B; and its two modern forms.

Three networks go by this name. The paper's has partial connections, trainable subsampling, a scaled tanh and radial
basis functions as output. The lectures' has unpadded convolutions, max pooling and ReLU. The book's (Dive into Deep
Learning) has sigmoids, mean pooling and padding.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from fovea.errors import ShapeError
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import glorot_uniform, he_normal
from fovea.layers.partial_convolution import PartialConv2d
from fovea.layers.radial_basis import RadialBasisOutput
from fovea.layers.scaled_tanh import ScaledTanh
from fovea.layers.trainable_subsampling import TrainableSubsampling

MAPS = (6, 16)  # feature maps of the two convolutions, 5×5 each, with a pooling of 2×2 behind it
UNITS = (120, 84)  # fully connected units before the output
KERNEL = 5
BOUND_1998 = 2.4  # weights and biases start uniformly within ± this over the fan-in (Appendix A, from memory)

# Table I of the paper, by columns: the maps of S2 that each map of C3 sees. Written from memory; its totals, 60 pairs
# and 1,516 parameters, are the published ones.
# fmt: off
C3_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),                        # three contiguous maps
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),      # four contiguous maps
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),                                                # four, not contiguous
    (0, 1, 2, 3, 4, 5),                                                                      # all six
)
# fmt: on


def lenet5(*, num_classes: int = 10, in_channels: int = 1, image_size: int = 32) -> ConvNet:
    """LeNet-5 as the lectures modify it: unpadded 5×5 convolutions, max pooling, ReLU, softmax.

    The slides count three ReLUs without saying where; here one follows each convolution and each hidden layer.
    He initialisation, as befits ReLU.
    """
    return _sequential(num_classes, in_channels, image_size, padding=0, activation=nn.ReLU, pooling=nn.MaxPool2d)


def lenet5_book(*, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> ConvNet:
    """LeNet-5 as the book Dive into Deep Learning has it: sigmoid, mean pooling, padding 2 at 28 pixels.

    Xavier's uniform initialisation, as the book has it (from memory).
    """
    return _sequential(num_classes, in_channels, image_size, padding=2, activation=nn.Sigmoid, pooling=nn.AvgPool2d)


def lenet5_1998(*, num_classes: int = 10, in_channels: int = 1, image_size: int = 32) -> ConvNet:
    """LeNet-5 exactly as published: partial connections in C3, trainable subsampling, scaled tanh, radial basis output.

    For another number of classes than ten the output's codes are drawn instead of digits' bitmaps.

    Raises:
        ShapeError: image_size is not 32, the only size at which C5's maps are 1×1 as published.
    """
    if image_size != 32:
        raise ShapeError(f"image_size (={image_size}) must be 32 for lenet5_1998: its C5 sees the whole 5×5 map")
    stages = {
        "c1": nn.Sequential(nn.Conv2d(in_channels, MAPS[0], KERNEL), ScaledTanh()),
        "s2": nn.Sequential(TrainableSubsampling(MAPS[0], bound=_bound_1998(4)), ScaledTanh()),
        "c3": nn.Sequential(PartialConv2d(MAPS[0], C3_TABLE, KERNEL, bound=_bound_1998), ScaledTanh()),
        "s4": nn.Sequential(TrainableSubsampling(MAPS[1], bound=_bound_1998(4)), ScaledTanh()),
        "c5": nn.Sequential(nn.Conv2d(MAPS[1], UNITS[0], KERNEL), ScaledTanh()),
    }
    head = {
        "flatten": nn.Flatten(),
        "f6": nn.Sequential(nn.Linear(*UNITS), ScaledTanh()),
        "output": RadialBasisOutput(UNITS[1], num_classes),
    }
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=_within_1998)


def _sequential(
    num_classes: int,
    in_channels: int,
    image_size: int,
    *,
    padding: int,
    activation: type[nn.Module],
    pooling: type[nn.Module],
) -> ConvNet:
    stages: dict[str, nn.Module] = {}
    side = image_size
    for n, (channels, out_channels) in enumerate(pairwise((in_channels, *MAPS)), start=1):
        border = padding if n == 1 else 0
        stages[f"conv{n}"] = nn.Sequential(nn.Conv2d(channels, out_channels, KERNEL, padding=border), activation())
        stages[f"pool{n}"] = pooling(2)
        side = (side + 2 * border - KERNEL + 1) // 2
        if side < 1:
            raise ShapeError(f"image_size (={image_size}) is too small: nothing is left after pool{n}; 16 is the least")
    widths = (MAPS[-1] * side**2, *UNITS)
    head: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for n, (features, units) in enumerate(pairwise(widths), start=3):
        head[f"fc{n}"] = nn.Sequential(nn.Linear(features, units), activation())
    head["output"] = nn.Linear(UNITS[-1], num_classes)
    scheme = he_normal() if activation is nn.ReLU else glorot_uniform()
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=scheme)


def _bound_1998(fan_in: int) -> float:
    return BOUND_1998 / fan_in


def _within_1998(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        bound = _bound_1998(module.weight[0].numel())  # type: ignore[index]  # a weighted layer
        nn.init.uniform_(parameter, -bound, bound)
