"""The feed-forward network that has learned one style: a picture in, the same picture painted out, in one pass."""

from __future__ import annotations

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.style.sizing import Picture, as_images, as_picture
from fovea.style.teaching_options import Normalisation

BLOCKS = 5  # residual blocks
STRIDE = 4  # what two convolutions of stride 2 shrink by
STEP = 0.1  # of the last convolution's output; one update moves all the 2,592 weights behind a pixel at once
LEAST = 8  # pixels that a side is filled up to: maps of one place have no variance to be normalised by


class Styler(nn.Module):
    """Two steps down, five residual blocks, two steps up, and a sigmoid: any picture, at its own size.

    Three things are not the paper's. What the last convolution gives counts a tenth before the sigmoid, so that the
    first updates do not end in black and white (docs/log.md). Each step up repeats pixels before a convolution of
    stride 1, where the paper's convolutions of stride 1/2 leave a checkerboard. And instance normalisation, the
    default, takes the place of batch normalisation: what contrast a photograph has then does not matter, which is most
    of what later work gained.

    Args:
        width: Filters of the first convolution: 32 in the paper, then 64 and 128.
        normalisation: "instance", or the paper's "batch".

    Source: Johnson, Alahi and Fei-Fei 2016, arXiv:1603.08155, and its supplement, Table 1; Ulyanov, Vedaldi and
    Lempitsky 2016, arXiv:1607.08022; Odena, Dumoulin and Olah 2016, Distill, "Deconvolution and checkerboard
    artifacts".
    """

    def __init__(self, width: int = 32, normalisation: Normalisation = "instance") -> None:
        super().__init__()
        self.width, self.normalisation = width, normalisation
        parts: dict[str, nn.Module] = {
            "conv1": _layer(3, width, 9, normalisation),
            "down2": _layer(width, 2 * width, 3, normalisation, stride=2),
            "down3": _layer(2 * width, 4 * width, 3, normalisation, stride=2),
        }
        parts |= {f"block{n}": _Residual(4 * width, normalisation) for n in range(1, BLOCKS + 1)}
        parts |= {
            "up2": nn.Sequential(nn.Upsample(scale_factor=2), _layer(4 * width, 2 * width, 3, normalisation)),
            "up1": nn.Sequential(nn.Upsample(scale_factor=2), _layer(2 * width, width, 3, normalisation)),
            "output": _padded(nn.Conv2d(width, 3, 9)),
        }
        self.features = nn.Sequential(OrderedDict(parts))

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Pictures in [0, 1] painted, in [0, 1]; sides below 8 or no multiple of 4 are filled up first."""
        height, width = images.shape[2:]
        filled = F.pad(images, (0, _missing(width), 0, _missing(height)), mode="replicate")
        return torch.sigmoid(STEP * self.features(2 * filled - 1).float())[:, :, :height, :width]


class _Residual(nn.Module):
    """Two convolutions beside which the maps pass unchanged; no rectifier behind the sum, as the paper has it."""

    def __init__(self, channels: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.first = _layer(channels, channels, 3, normalisation)
        self.second = nn.Sequential(_padded(nn.Conv2d(channels, channels, 3)), _norm(channels, normalisation))

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        added: Tensor = maps + self.second(self.first(maps))
        return added


def apply(styler: Styler, picture: Picture) -> Picture:
    """A picture painted in one pass, at its own size."""
    device = next(styler.parameters()).device
    styler.eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        images = as_images(picture).to(device).contiguous(memory_format=torch.channels_last)
        return as_picture(styler(images))


def _missing(side: int) -> int:
    return max(LEAST, side + -side % STRIDE) - side


def _layer(before: int, channels: int, kernel: int, normalisation: Normalisation, *, stride: int = 1) -> nn.Sequential:
    convolution = _padded(nn.Conv2d(before, channels, kernel, stride))
    return nn.Sequential(convolution, _norm(channels, normalisation), nn.ReLU())


def _padded(convolution: nn.Conv2d) -> nn.Sequential:
    """Borders are mirrored, lest the picture gets a frame; those of a map of one pixel are repeated."""
    return nn.Sequential(_Mirrored(int(convolution.kernel_size[0]) // 2), convolution)


class _Mirrored(nn.Module):
    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        mode = "reflect" if min(maps.shape[2:]) > self.pixels else "replicate"
        return F.pad(maps, (self.pixels,) * 4, mode=mode)


class _InstanceNorm(nn.InstanceNorm2d):
    """The same without gradients as groups of one filter, whose kernel takes maps channels-last as they are."""

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:  # noqa: A002  # torch's name
        if torch.is_grad_enabled():
            return super().forward(input)
        return F.group_norm(input, self.num_features, self.weight, self.bias, self.eps)


def _norm(channels: int, normalisation: Normalisation) -> nn.Module:
    return _InstanceNorm(channels, affine=True) if normalisation == "instance" else nn.BatchNorm2d(channels)
