"""Progressive resizing: training begins on small images, which cost little, and ends on the network's own size."""

from __future__ import annotations

from torch.nn import functional as F

from fovea.data.batch import Batch
from fovea.training.options import TrainingOptions

GROWING = 0.75  # share of the epochs over which images grow; the rest has the full size
MULTIPLE = 16  # of pixels, so that few sizes occur and strides divide them


def side_in(epoch: int, options: TrainingOptions, image_size: int) -> int:
    """Side of the images in an epoch, counted from 0: it grows linearly from the smallest size to the network's.

    Source: Tan and Le 2021, arXiv:2104.00298, section 4.2; Howard 2018 (fast.ai's DAWNBench entry).
    """
    smallest = options.input.smallest_size
    if not 0 < smallest < image_size:
        return image_size
    share = min(1.0, epoch / max(1.0, GROWING * options.epochs))
    side = smallest + share * (image_size - smallest)
    return image_size if share == 1.0 else min(image_size, max(smallest, round(side / MULTIPLE) * MULTIPLE))


def resized(batch: Batch, side: int) -> Batch:
    """The batch with its images at this side, smaller than theirs; the same batch where that is theirs already."""
    if side == batch.images.shape[-1]:
        return batch
    images = F.interpolate(batch.images, size=(side, side), mode="bilinear", antialias=True)
    return batch._replace(images=images)
