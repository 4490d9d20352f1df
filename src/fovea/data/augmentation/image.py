"""Images varied one by one: cropped anew out of the whole image, or distorted after they were fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fovea import randomness
from fovea.data.augmentation.crops import CROP_DRAWS, cropped
from fovea.data.augmentation.policies import DRAWS, distort
from fovea.data.fitted import Fitted
from fovea.data.options import Augmentation


def one_by_one(options: Augmentation) -> bool:
    """Whether anything is asked for that is done to single images, on the processor."""
    return options.crop != "centre" or options.policy != "none" or options.photometric > 0


def varied(
    fitted: Fitted, indices: NDArray[np.int64], options: Augmentation, draw_key: int
) -> list[NDArray[np.generic]]:
    """Fitted pixels (c, s, s), channels last in memory, of each image, as its own draws say.

    Args:
        fitted: The training split.
        indices: Which images.
        options: How they are varied.
        draw_key: The key of (seed, purpose, epoch).

    Raises:
        UnreadableImage: a file that cannot be read.
        ShapeError: images that are not of 8 bits with 1 or 3 channels.
    """
    crops = randomness.uniforms(randomness.key(draw_key, "crop"), indices, draws=CROP_DRAWS)
    distortions = randomness.uniforms(randomness.key(draw_key, "distortion"), indices, draws=DRAWS)
    distorting = options.policy != "none" or options.photometric > 0
    found = []
    for row, index in enumerate(indices.tolist()):
        if options.crop == "centre":
            planes = fitted.gather(np.array([index]))[0].permute(1, 2, 0).numpy()
        else:
            planes = cropped(fitted.images[index], fitted.preprocessing, options, crops[row])
        if distorting:
            planes = _distorted(planes, options, distortions[row])
        found.append(planes.transpose(2, 0, 1))
    return found


def _distorted(planes: NDArray[np.generic], options: Augmentation, draws: NDArray[np.float64]) -> NDArray[np.generic]:
    grey = planes.shape[2] == 1
    changed = distort(Image.fromarray(planes[:, :, 0] if grey else planes), options, draws)
    return np.asarray(changed).reshape(planes.shape)
