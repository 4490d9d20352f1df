"""Normal numbers, as stateless as the uniform ones they are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fovea import randomness


def normals(draw_key: int, indices: ArrayLike, draws: int = 1) -> NDArray[np.float64]:
    """Standard normal numbers, shape (len(indices), draws); row i depends on indices[i] alone.

    The inverse of the normal distribution, of one uniform number each; none lies beyond 8.3 deviations.
    """
    from scipy.special import ndtri

    uniform = randomness.uniforms(draw_key, indices, draws)
    found: NDArray[np.float64] = ndtri(np.maximum(uniform, 2.0**-54))  # of 0 it is minus infinity
    return found
