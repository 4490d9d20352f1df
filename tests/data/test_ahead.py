"""Work done ahead: in order, bounded, and without leftovers."""

import threading
import time

import pytest

from fovea.data.ahead import ahead


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("fovea-loader")]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def work(item: int) -> int:
        time.sleep((5 - item % 5) / 1000)
        return item * item

    assert list(ahead(work, range(20), workers)) == [n * n for n in range(20)]
    assert threads() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_than_a_few_are_done_before_they_are_asked_for(workers: int) -> None:
    done: list[int] = []
    made = ahead(lambda item: done.append(item), range(1000), workers)
    next(made)
    time.sleep(0.05)
    assert len(done) <= workers + 2
    made.close()
    assert threads() == []


def test_nothing_is_done_before_it_is_asked_for_without_workers() -> None:
    done: list[int] = []
    made = ahead(lambda item: done.append(item), range(10), 0)
    assert done == []
    next(made)
    assert done == [0]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_raised_reaches_the_caller_in_its_turn(workers: int) -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    made = ahead(work, range(10), workers)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(made)
    assert threads() == []
