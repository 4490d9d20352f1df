"""How far slow work has come, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 2.0  # seconds before anything is said: most work is done by then
PAUSE = 30.0  # seconds between two lines where there is no terminal


@contextmanager
def counting(what: str) -> Iterator[Callable[..., None]]:
    """A function to be told (done, all), and more in words, from one thread; what it shows is gone afterwards."""
    started = time.monotonic()
    shown = 0.0
    terminal = sys.stderr.isatty()

    def progress(done: int, total: int, more: str = "") -> None:
        nonlocal shown
        now = time.monotonic()
        if now - started < PATIENCE or (now - shown < (0.1 if terminal else PAUSE) and done < total):
            return
        shown = now
        left = (now - started) / max(done, 1) * (total - done)
        line = f"{what}: {done:,} of {total:,}, about {left:,.0f} s left{more and f', {more}'}"
        sys.stderr.write(f"\r\033[K{line}" if terminal else f"{line}\n")
        sys.stderr.flush()

    try:
        yield progress
    finally:
        if terminal and shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
