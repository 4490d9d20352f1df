"""Everything that watches a run: layers, page, TensorBoard, and what the caller gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fovea.errors import FoveaError
from fovea.training.watching.board import Board
from fovea.training.watching.layers import LayerWatch
from fovea.training.watching.page import ProgressPage
from fovea.training.watching.watcher import Watcher


class Watching:
    """What one process of a run shows; those that do not write the run folder show nothing.

    Args:
        run: The run folder; nothing is written there yet.
        writes: Whether this process writes it.
        tensorboard: Whether TensorBoard's files are wanted.
        more: What the caller wants to be shown to.

    Raises:
        MachineError: tensorboard is not installed.
    """

    def __init__(self, run: Path, *, writes: bool, tensorboard: bool, more: Watcher | None) -> None:
        self._run, self._writes = run, writes
        self._board = Board(run) if tensorboard and writes else None
        self._more = more if writes else None
        self._page: ProgressPage | None = None

    @contextmanager
    def running(self, title: str, epochs: int, plan: str, layers: LayerWatch | None) -> Iterator[Sequence[Watcher]]:
        """Begin, and say on the page how it ended where it ends early; the watchers in between.

        The layers come first: page and TensorBoard read what they have written.
        """
        if not self._writes:
            yield ()
            return
        self._page = page = ProgressPage(self._run, title, epochs, plan)
        page.begin()
        try:
            yield [each for each in (layers, page, self._board, self._more) if each is not None]
        except FoveaError as error:
            page.stop(str(error))
            raise
        finally:
            if self._board is not None:
                self._board.close()

    def finish(self, scores: str) -> None:
        """Say on the page what was reached, and that it will not change any more."""
        if self._page is not None:
            self._page.finish(scores)
