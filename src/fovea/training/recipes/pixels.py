"""The scale of the pixels that networks of 2012 to 2014 were fed."""

from __future__ import annotations

from typing import Final

# Values of 0 to 255 less their mean, not divided by any deviation: what the weights and biases of AlexNet, ZFNet, VGG
# and Caffe's GoogLeNet start for. The mean is that of all ImageNet's pixels (0.485, 0.456, 0.406 of its channels).
FROM_0_TO_255: Final[dict[str, tuple[float, ...]]] = {"mean": (0.45,), "std": (1 / 255,)}
