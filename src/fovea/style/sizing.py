"""Pictures of 8 bits as images in [0, 1] of a size, and back."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fovea.errors import ShapeError

LUMA = (0.299, 0.587, 0.114)  # what red, green and blue add to brightness (ITU-R 601)
LEAST = 8  # pixels of a picture's shorter side, before and after it is fitted

Picture = UInt8[NDArray[np.uint8], "_ _ 3"]  # height, width and RGB, of any size


def fitted_size(picture: Picture, longest: int, what: str = "the picture") -> tuple[int, int]:
    """Height and width of a picture whose longer side has become so many pixels.

    Raises:
        ShapeError: its shorter side is below 8 pixels, before or after.
    """
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    rows, columns = round(height * factor), round(width * factor)
    if min(height, width, rows, columns) < LEAST:
        raise ShapeError(
            f"{what} has {width}×{height} pixels, which become {columns}×{rows}; both sides must be {LEAST} or more "
            f"before and after: take a larger picture, cut it to a fuller shape, or choose a larger size"
        )
    return rows, columns


def fitted(picture: Picture, longest: int) -> Picture:
    """A picture whose longer side has become so many pixels (bicubic, smoothed before it shrinks).

    Raises:
        ShapeError: as `fitted_size`.
    """
    height, width = fitted_size(picture, longest)
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def as_images(picture: Picture) -> Float[Tensor, "1 3 h w"]:
    """A picture in [0, 1]."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def as_picture(images: Float[Tensor, "1 3 h w"]) -> Picture:
    """The one image of a batch as a picture; what leaves 0 to 1 is clipped."""
    pixels = (images[0].detach().clamp(0, 1) * 255).round().to(torch.uint8)
    found: Picture = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
    return found


def enlarged(images: Float[Tensor, "1 3 h w"], size: tuple[int, int]) -> Float[Tensor, "1 3 i j"]:
    """Images of another height and width, bicubic."""
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False)
