"""When a checkpoint is due within an epoch. What is saved does not change what is computed, so a clock may decide."""

from __future__ import annotations

import time

from fovea.training.options import Keeping


class Saving:
    """Counts minutes and steps since the last checkpoint.

    Args:
        keeping: How often.
    """

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self.saved()

    def saved(self) -> None:
        """A checkpoint was written."""
        self._at = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether one is due after so many steps."""
        every = self._keeping.save_steps
        if every and step % every == 0:
            return True
        minutes = self._keeping.save_minutes
        return minutes > 0 and time.monotonic() - self._at >= 60 * minutes
