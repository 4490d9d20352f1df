"""How the images of published weights were prepared: a few conventions, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from torch import Tensor

from fovea.data.preprocessing import Preprocessing
from fovea.errors import ModelError, UsageError, suggestion

Preparation = Literal["imagenet", "tf", "caffe", "unit"]

SAYS: Final = {
    "imagenet": "pixels in [0, 1], less (0.485, 0.456, 0.406), by (0.229, 0.224, 0.225): PyTorch's libraries",
    "tf": "pixels in [-1, 1]: TensorFlow's Inception and mobile networks",
    "caffe": "blue, green, red from 0 to 255, less (103.939, 116.779, 123.68): Caffe's VGG and ResNet, Keras's too",
    "unit": "pixels in [0, 1]",
}
MEANS: Final[dict[str, tuple[float, ...]]] = {
    "imagenet": (0.485, 0.456, 0.406),
    "tf": (0.5, 0.5, 0.5),
    "caffe": (123.68 / 255, 116.779 / 255, 103.939 / 255),  # red first: the kernels are turned round instead
    "unit": (0.0,),
}
DEVIATIONS: Final[dict[str, tuple[float, ...]]] = {
    "imagenet": (0.229, 0.224, 0.225),
    "tf": (0.5, 0.5, 0.5),
    "caffe": (1 / 255,),
    "unit": (1.0,),
}
SAME = 1e-4  # within which numbers are a convention's
LEAST = 1e-6  # deviation, where Keras has it too small to divide by
SHARE = 8 / 7  # of the network's size, to which the shorter side is resized: 256 for 224


def preprocessing(name: str, image_size: int, *, in_channels: int = 3, resize: int | None = None) -> Preprocessing:
    """The preprocessing of a convention; for other numbers of channels than three each has the mean of the three.

    Args:
        name: One of `SAYS`.
        image_size: Side of the network's images in pixels.
        in_channels: Channels of the images.
        resize: What the shorter side becomes first; 8/7 of the size where None, as 256 for 224.

    Raises:
        UsageError: an unknown name.
    """
    if name not in SAYS:
        known = "; ".join(f"{each} ({says})" for each, says in SAYS.items())
        raise UsageError(f"unknown preprocessing {name!r}; choose from {known}.{suggestion(name, SAYS)}")
    return Preprocessing(
        image_size=image_size,
        resize=round(image_size * SHARE) if resize is None else resize,
        in_channels=in_channels,
        mean=_each(MEANS[name], in_channels),
        std=_each(DEVIATIONS[name], in_channels),
    )


def within(tensors: Mapping[str, Tensor], image_size: int, *, in_channels: int = 3) -> Preprocessing:
    """The preprocessing of a network of Keras that normalises within: pixels in [0, 1], less mean, by deviation.

    Keras divides by the root of the variance. Its published EfficientNets have ImageNet's deviations in the place of
    variances, and a further layer without weights that divides by their roots again: by the deviations in all.

    Args:
        tensors: `normalization/mean` and `normalization/variance`, a number for each channel.
        image_size: Side of the network's images in pixels.
        in_channels: Channels of the images.

    Raises:
        ModelError: another number of means or variances than channels, or a variance below 0.
    """
    mean, variance = (tensors[f"normalization/{name}"].flatten().tolist() for name in ("mean", "variance"))
    if not len(mean) == len(variance) == in_channels or min(variance) < 0:
        raise ModelError(
            f"normalization/mean has {len(mean)} numbers and variance {len(variance)} (least {min(variance):g}); "
            f"there must be one for each of {in_channels} channels, and no variance below 0; name a --preprocessing"
        )
    published = [abs(v - d) for v, d in zip(variance, DEVIATIONS["imagenet"], strict=False)]
    std = variance if in_channels == 3 and max(published) < SAME else [v**0.5 for v in variance]
    return Preprocessing(
        image_size=image_size,
        resize=round(image_size * SHARE),
        in_channels=in_channels,
        mean=tuple(round(value, 6) for value in mean),
        std=tuple(round(max(value, LEAST), 6) for value in std),
    )


def _each(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) in (1, channels) else (sum(values) / len(values),)


def turned_round(kernels: Tensor) -> Tensor:
    """First kernels (out, 3, h, w) for blue, green, red as kernels for red, green, blue; and the other way round."""
    return kernels.flip(1)


def for_channels(kernels: Tensor, channels: int) -> Tensor:
    """First kernels (out, c, h, w) for images of another number of channels.

    For one channel the kernels' channels are added up, which gives what grey repeated in all of them gave. For others
    they are repeated in turn and scaled by their number, so that sums over the channels keep their size.

    Args:
        kernels: The first convolution's.
        channels: Wanted.
    """
    own = kernels.shape[1]
    if channels == own:
        return kernels
    if channels == 1:
        return kernels.sum(dim=1, keepdim=True)
    return kernels[:, [place % own for place in range(channels)]] * (own / channels)
