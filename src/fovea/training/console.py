"""What a person sees while training: the plan, one line per epoch, a bar on a terminal; all of it on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Console:
    """Lines for people on stderr; on a terminal also a bar for the running epoch.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Progress | None = None
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=RichConsole(stderr=True), transient=True)
            self._task = self._bar.add_task("", visible=False)

    def __enter__(self) -> Console:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, line: str) -> None:
        """One line, as it is."""
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif not self.quiet:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def step(self, epoch: int, done: int, total: int) -> None:
        """Move the bar of the running epoch, counted from 1."""
        if self._bar:
            self._bar.update(
                self._task, description=f"epoch {epoch}", completed=done, total=total, visible=done < total
            )

    def epoch(self, row: Mapping[str, Any], epochs: int, remaining: float) -> None:
        """The line of a finished epoch."""
        self.say(
            f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.2%}"
            f"  validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.2%}"
            f"  {row['images_per_second']:,.0f} images/s  lr {row['learning_rate']:.3g}"
            f"  data wait {row['data_wait']:.0%}  ETA {duration(remaining)}"
        )


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds, as they are said: 1 h 02 min, 16 min 53 s, 9 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
