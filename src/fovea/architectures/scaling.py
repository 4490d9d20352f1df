"""Scaling a table of stages: wider by a factor, deeper by a factor, with the rounding of the published code."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from fovea.errors import UsageError

DIVISOR = 8  # channels come in multiples of it, which suits the hardware
AnyRow = TypeVar("AnyRow", bound=tuple[Any, ...])


def make_divisible(channels: float, divisor: int = DIVISOR) -> int:
    """The nearest multiple of the divisor, halves up; one more where that would lose over a tenth; at least one.

    Source: the code of MobileNetV2, which EfficientNet's and MnasNet's repeat as round_filters.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


def scaled(rows: Iterable[AnyRow], *, width: float = 1.0, depth: float = 1.0) -> tuple[AnyRow, ...]:
    """A table of stages made wider and deeper; it takes any rows that have `channels` and `layers`.

    Channels are rounded by `make_divisible`, layers up. A factor of exactly 1 leaves its column as it is.

    Args:
        rows: NamedTuples such as MobileNetV2's, MnasNet's, EfficientNet's.
        width: Factor on the channels of every stage.
        depth: Factor on the layers of every stage.

    Raises:
        UsageError: a factor is not above 0.

    Source: Tan and Le 2019, arXiv:1905.11946, section 3; rounding by its code.
    """
    check_factors(width=width, depth=depth)
    return tuple(_scaled(row, width, depth) for row in rows)


def _scaled(row: Any, width: float, depth: float) -> Any:
    channels = row.channels if width == 1 else make_divisible(row.channels * width)
    return row._replace(channels=channels, layers=math.ceil(row.layers * depth))


def check_factors(**factors: float) -> None:
    """Refuse factors that make nothing.

    Raises:
        UsageError: one is not above 0.
    """
    for name, factor in factors.items():
        if not 0 < factor < math.inf:
            raise UsageError(f"{name} (={factor}) must be above 0: it multiplies every stage of the table")


class Scaling(NamedTuple):
    """How much wider, deeper and finer than the baseline."""

    width: float
    depth: float
    resolution: float


COMPOUND = Scaling(width=1.1, depth=1.2, resolution=1.15)  # beta, alpha, gamma: twice the multiply-adds for each phi


def compound(phi: float) -> Scaling:
    """The compound scaling of EfficientNet: each factor is its base to the power of phi.

    Found by a grid search under depth · width² · resolution² ≈ 2, so that phi more costs 2^phi times as much. The
    published networks have rounded factors of their own, which drift away from these: B2 and B3 have phi = 1 and 2,
    B7 has 3.1 times the depth where phi = 7 says 3.58.

    Raises:
        UsageError: phi makes a factor that is no number above 0.

    Source: Tan and Le 2019, arXiv:1905.11946, section 3.3, equation 3, and section 4.
    """
    try:
        factors = Scaling(*(base**phi for base in COMPOUND))
    except OverflowError:
        raise UsageError(f"phi (={phi}) is too large") from None
    check_factors(**factors._asdict())
    return factors
