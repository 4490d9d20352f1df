"""The lecture's quadrant: what much or little, similar or different data suggests, and whether the figures agree."""

from __future__ import annotations

from dataclasses import dataclass

from fovea.transfer.options import Similar

LITTLE = 5_000  # training images; of fewer the data counts as little

ADVICE = {
    (True, True): "classify the features of a high stage (probe, svm): fine-tuning would overfit",
    (
        True,
        False,
    ): "classify the features of a lower stage (probe:STAGE, svm:STAGE), or take lower stages over (lower:K)",
    (False, True): "start from the weights and fine-tune; from scratch where time allows",
    (False, False): "from scratch, or started from the weights and fine-tuned",
}
ADVISED = {
    (True, True): ("probe", "svm", "knn"),
    (True, False): ("probe:", "svm:", "knn:", "lower"),
    (False, True): ("finetune", "gradual", "both", "scratch"),
    (False, False): ("scratch", "finetune", "gradual", "both"),
}


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

    def advises(self, way: str) -> bool:
        """Whether a way is among those that the table says."""
        kind, colon, _ = way.partition(":")
        names = ADVISED[self.little, self.similar]
        if (self.little, self.similar) == (True, False):  # there it is the lower stage that matters
            return kind == "lower" or f"{kind}{colon}" in names
        return kind in names


def quadrant(images: int, *, channels: int, similar: Similar) -> Quadrant:
    """Where a data set stands; where nobody says, images in colour count as similar to the weights' own, grey as not.

    Args:
        images: Training images.
        channels: Of the data.
        similar: yes, no, or auto.
    """
    return Quadrant(images, channels == 3 if similar == "auto" else similar == "yes")
