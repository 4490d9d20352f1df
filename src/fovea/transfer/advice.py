"""The lecture's quadrant: what much or little, similar or different data suggests, and whether the figures agree."""

from __future__ import annotations

from dataclasses import dataclass

from fovea.transfer.options import Similar
from fovea.transfer.ways import FIXED, Way

LITTLE = 5_000  # training images; of fewer the data counts as little

ADVICE = {
    (True, True): "classify the features of a high stage (probe, svm): fine-tuning would overfit",
    (True, False): "classify features of a lower stage (probe:STAGE, svm:STAGE), or take lower stages over (lower:K)",
    (False, True): "start from the weights and fine-tune; from scratch where time allows",
    (False, False): "from scratch, or started from the weights and fine-tuned",
}
FROM_ALL = ("finetune", "gradual", "both", "scratch")  # what trains every stage, with much data


@dataclass(frozen=True)
class Quadrant:
    """Where a data set stands.

    Args:
        images: Training images.
        similar: Whether they are like those that the weights were made with.
    """

    images: int
    similar: bool

    @property
    def little(self) -> bool:
        """Whether there is little data."""
        return self.images < LITTLE

    @property
    def name(self) -> str:
        """In words."""
        return f"{'little' if self.little else 'much'} data, {'similar' if self.similar else 'different'}"

    @property
    def advice(self) -> str:
        """What the table says."""
        return ADVICE[self.little, self.similar]

    def advises(self, way: Way) -> bool:
        """Whether a way is among those that the table says."""
        if not self.little:
            return way.kind in FROM_ALL
        if self.similar:
            return way.kind in FIXED and not way.stage
        return way.kind == "lower" or (way.kind in FIXED and way.stage != "")


def quadrant(images: int, *, channels: int, similar: Similar) -> Quadrant:
    """Where a data set stands; where nobody says, images in colour count as similar to the weights' own, grey as not.

    Args:
        images: Training images.
        channels: Of the data.
        similar: yes, no, or auto.
    """
    return Quadrant(images, channels == 3 if similar == "auto" else similar == "yes")
