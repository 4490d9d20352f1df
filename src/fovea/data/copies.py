"""Images of one split that stand in another too: what inflates a figure, told beside it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import ArrayImages, Chosen, FileImages, Images, Split


def copies(judged: Split, others: Split) -> NDArray[np.int64]:
    """Places of the judged images whose bytes are those of an image of the other split.

    Files are compared as they lie, by the hashes of the index, arrays by their values; nothing is decoded for it. So it
    is a lower bound: the same picture saved anew has other bytes (`fovea check` looks for those).
    """
    known = set(_hashes(others.images))
    return np.array([place for place, each in enumerate(_hashes(judged.images)) if each in known], np.int64)


def _hashes(images: Images) -> list[bytes]:
    if isinstance(images, Chosen):
        every = _hashes(images.images)
        return [every[index] for index in images.indices.tolist()] if every else []
    if isinstance(images, FileImages):
        return [bytes(digest) for digest in images.index.digests[images.rows]]
    if isinstance(images, ArrayImages):
        return [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images.array]
    return []
