"""What a style is learned from: squares of chance out of photographs, step after step."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fovea.data.ahead import ahead
from fovea.data.pixels import read_image
from fovea.errors import DataError
from fovea.randomness import key, permutation, uniforms
from fovea.style.sizing import as_images
from fovea.style.teaching_options import TeachingOptions

ROOM = 1.15  # what photographs are larger than the squares cut out of them, at least


def batches(
    images: Sequence[Path], options: TeachingOptions, taken: int = 0
) -> Generator[Float[Tensor, "n 3 s s"], None, None]:
    """The batches of all steps that remain after those taken, read ahead.

    Which images, and where they are cut, depends on the seed and the step alone.

    Raises:
        UnreadableImage: one cannot be read, when its turn comes.
    """
    size, count = options.batch_size, len(images)
    orders: dict[int, NDArray[np.int64]] = {}

    def square(n: int) -> Float[Tensor, "1 3 s s"]:
        epoch, place = divmod(n, count)
        if epoch not in orders:
            orders.clear()
            orders[epoch] = permutation(key(options.seed, "styler order", epoch), count)
        return _square(images[orders[epoch][place]], options.image_size, key(options.seed, "squares", n))

    with closing(ahead(square, range(taken * size, options.steps * size), 1)) as ready:
        for _ in range(taken, options.steps):
            yield torch.cat([next(ready) for _ in range(size)])


def listed(images: Sequence[Path]) -> str:
    """A fingerprint of files by names and sizes; their folder may lie elsewhere.

    Raises:
        DataError: one is not there.
    """
    try:
        told = "".join(f"{path.name}\0{path.stat().st_size}\n" for path in images)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); restore it, or leave it out") from error
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:16]


def _square(path: Path, side: int, draw_key: int) -> Float[Tensor, "1 3 s s"]:
    """A square of chance out of a photograph, mirrored or not."""
    picture = read_image(path)
    height, width = picture.shape[:2]
    factor = ROOM * side / min(height, width)
    size = (max(side, round(width * factor)), max(side, round(height * factor)))
    left, top, turn = uniforms(draw_key, [0], 3)[0]
    x, y = int(left * (size[0] - side + 1)), int(top * (size[1] - side + 1))
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(image)[y : y + side, x : x + side]
    return as_images(pixels[:, ::-1] if turn < 0.5 else pixels)
