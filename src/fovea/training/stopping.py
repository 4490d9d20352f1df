"""Signals set a flag; the loop saves and stops. A second signal ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopFlag:
    """The signal that asked to stop, or None."""

    signal_number: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch Ctrl-C and SIGTERM while the block runs; outside the main thread nothing is caught.

    A block around this one learns of the signal at the end of this one, where nobody may have heeded it: a run that was
    just being finished is finished, but it is the last of several.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def catch(number: int, _frame: FrameType | None) -> None:
        flag.signal_number = number
        for each in before:
            signal.signal(each, signal.SIG_DFL)  # the second signal ends at once

    catch.flag = flag  # type: ignore[attr-defined]  # by which an inner block knows this one
    for number in before:
        signal.signal(number, catch)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        outer = getattr(before[signal.SIGINT], "flag", None)
        if isinstance(outer, StopFlag) and flag.signal_number is not None:
            outer.signal_number = flag.signal_number
