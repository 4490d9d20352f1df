"""Work done ahead by threads, handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result, None, None]:
    """`work` of each item in its turn, a few done before they are asked for.

    Threads, not processes: decoding, copying and arithmetic release the interpreter's lock, and nothing is copied
    between processes. What is raised reaches the caller in its turn; closing the iterator ends the threads.

    Args:
        work: What is done with an item.
        items: In the order wanted.
        workers: Threads; 0 does the work when it is asked for. At most two results more than threads lie ready.
    """
    if workers == 0:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="fovea-loader") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
