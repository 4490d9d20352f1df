"""One figure over several seeds: what of it is the method, and what is luck."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fovea.errors import UsageError


@dataclass(frozen=True)
class OverSeeds:
    """An accuracy that runs of several seeds reached.

    Args:
        values: Seed by seed, in [0, 1].
        mean: Over the seeds.
        deviation: Standard deviation, of the sample.
        half: Half the width of the mean's 95 % interval, by Student's t; it is about seeds, not about images.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    half: float

    def __str__(self) -> str:
        each = ", ".join(f"{value:.2%}" for value in self.values)
        return (
            f"mean {self.mean:.2%} (95 % interval of the mean ± {self.half:.2%}), standard deviation "
            f"{self.deviation:.2%} over {len(self.values)} seeds ({each})"
        )


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Mean, standard deviation and interval of what several seeds reached.

    Raises:
        UsageError: fewer than two values, which have no spread.
    """
    if len(values) < 2:
        raise UsageError(f"a spread over seeds wants two values or more; there are {len(values)}")
    from scipy.stats import t  # slow to load

    deviation = statistics.stdev(values)
    half = float(t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
    return OverSeeds(tuple(values), statistics.mean(values), deviation, half)
