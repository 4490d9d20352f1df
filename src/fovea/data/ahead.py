"""Work done ahead by threads, handed over in order, and not waited for without end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from fovea.errors import MachineError

Item = TypeVar("Item")
Result = TypeVar("Result")
DEADLINE = 300.0  # seconds: a disk or a network that gives nothing for so long is not slow, it hangs


def ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    deadline: float = DEADLINE,
    told: Callable[[Item], str] = str,
) -> Generator[Result, None, None]:
    """`work` of each item in its turn, a few done before they are asked for.

    Threads, not processes: decoding, copying and arithmetic release the interpreter's lock, and nothing is copied
    between processes. What is raised reaches the caller in its turn; closing the iterator ends the threads.

    Args:
        work: What is done with an item.
        items: In the order wanted.
        workers: Threads; 0 does the work when it is asked for. At most two results more than threads lie ready.
        deadline: Seconds that a result is waited for, once it is asked for.
        told: What a message calls an item.

    Raises:
        MachineError: a result did not come in time; the item is named.
    """
    if workers == 0:
        yield from map(work, items)
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    tasks: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()
    # Daemons, so that one that hangs in a read that never ends does not keep the process from ending.
    threads = [Thread(target=_serve, args=(work, tasks), name="fovea-loader", daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()

    def ready() -> Result:
        item, future = waiting.popleft()
        try:
            return future.result(deadline)
        except TimeoutError as error:
            if future.done():  # the work's own
                raise
            raise MachineError(
                f"{told(item)}: could not be read within {deadline:g} s; check the disk or network where it lies, "
                "then go on with the run"
            ) from error

    try:
        for item in items:
            waiting.append((item, Future()))
            tasks.put(waiting[-1])
            if len(waiting) > workers + 1:
                yield ready()
        while waiting:
            yield ready()
    except MachineError:
        deadline = 0.0  # nobody waits again for what hangs
        raise
    finally:
        for _, future in waiting:
            future.cancel()
        _end(threads, tasks, deadline)


def _serve(work: Callable[[Item], Result], tasks: SimpleQueue[tuple[Item, Future[Result]] | None]) -> None:
    """One thread: items as they come, until there is None."""
    while (task := tasks.get()) is not None:
        item, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(item))
            except BaseException as error:  # it is raised where the result is asked for
                future.set_exception(error)


def _end(threads: list[Thread], tasks: SimpleQueue[tuple[Item, Future[Result]] | None], deadline: float) -> None:
    for _ in threads:
        tasks.put(None)
    until = time.monotonic() + deadline
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
