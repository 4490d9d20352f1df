"""TensorBoard's event files, for those who look at all their runs there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fovea.errors import MachineError
from fovea.files import machine_error
from fovea.training.watching.layers import read_layers

EVENTS = "tensorboard"  # the folder in the run folder
TAGS = {
    "loss": "loss/train",
    "validation_loss": "loss/validation",
    "accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "gradient_norm": "gradient_norm",
    "images_per_second": "images_per_second",
    "data_wait": "data_wait",
}


class Board:
    """Writes what an epoch reached into runs/<run>/tensorboard; the step of a point is its epoch.

    The first call writes all rows anew, in place of the files that were there, and tells TensorBoard to forget their
    points: a run that was killed and resumed shows each epoch once. history.csv is what
    lasts; these files are a copy of it.

    Args:
        run: The run folder.

    Raises:
        MachineError: tensorboard is not installed.
    """

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MachineError(
                "tensorboard is not installed; pip install 'fovea-vision[tensorboard]', or leave --tensorboard away"
            ) from error
        self.run, self._written = run, 0
        self._writing: Callable[..., Any] = SummaryWriter
        self._writer: Any = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the epochs that are new, and what was noted of their layers, and hand them to the disk.

        Raises:
            MachineError: the disk is full or read-only.
        """
        new = rows[self._written :]
        try:
            self._writer = self._writer or self._fresh(self.run / EVENTS)
            layers = read_layers(self.run, since=new[0]["epoch"]) if new else []
            for row in new:
                self._write(row, [each for each in layers if each["epoch"] == row["epoch"]])
            self._writer.flush()
        except OSError as error:
            raise machine_error(self.run / EVENTS, error, needed=0) from error
        self._written = len(rows)

    def close(self) -> None:
        """Let go of the file; whatever was shown is in it already."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, row: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> None:
        for name, tag in TAGS.items():
            if row.get(name) is not None:
                self._writer.add_scalar(tag, row[name], row["epoch"])
        for each in layers:
            for name in ("update_ratio", "gradient_norm", "weight_norm"):
                if each[name] is not None:
                    self._writer.add_scalar(f"{name} of layers/{each['layer']}", each[name], row["epoch"])

    def _fresh(self, folder: Path) -> Any:
        """A writer into the folder, without the event files that an earlier process left there."""
        for old in folder.glob("events.out.tfevents.*"):
            with contextlib.suppress(OSError):  # what stays is purged below, where TensorBoard reads it
                old.unlink()
        return self._writing(str(folder), purge_step=0)
