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


_blocks: list[StopFlag] = []  # that run now, the innermost last


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch Ctrl-C and SIGTERM while the block runs; outside the main thread nothing is caught.

    Blocks within each other share what they hear. One that begins when the one around it has been asked to stop is
    asked from the start; and the one around learns of the signal at the end of this one, where nobody may have heeded
    it: a run that was just being finished is finished, but it is the last of several.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    outer = _blocks[-1] if _blocks else None
    if outer is not None:
        flag.signal_number = outer.signal_number
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def catch(number: int, _frame: FrameType | None) -> None:
        flag.signal_number = number
        for each in before:
            signal.signal(each, signal.SIG_DFL)  # the second signal ends at once

    if flag.signal_number is None:
        for number in before:
            signal.signal(number, catch)
    _blocks.append(flag)
    try:
        yield flag
    finally:
        _blocks.pop()
        for number, handler in before.items():
            signal.signal(number, handler)
        if outer is not None and flag.signal_number is not None:
            outer.signal_number = flag.signal_number
