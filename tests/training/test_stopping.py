"""Signals: the first sets a flag, the second ends at once, and what was there before comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from fovea.training.stopping import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sets_the_flag_and_nothing_else(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert stop.signal_number is None
        signal.raise_signal(number)
        assert stop.signal_number == number
    assert signal.getsignal(number) is before


def test_the_handlers_come_back_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyError), stop_on_signals():
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_two_blocks_do_not_share_a_flag():
    with stop_on_signals():
        signal.raise_signal(signal.SIGINT)
    with stop_on_signals() as stop:
        assert stop.signal_number is None


def test_a_block_around_it_learns_of_the_signal():
    with stop_on_signals() as outer:
        with stop_on_signals():
            signal.raise_signal(signal.SIGTERM)
            assert outer.signal_number is None
        assert outer.signal_number == signal.SIGTERM


def test_outside_the_main_thread_it_works_and_catches_nothing():
    found = []

    def inside():
        with stop_on_signals() as stop:
            found.append((stop.signal_number, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(10)
    assert found == [(None, before)]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(second):
    code = (
        "import time\nfrom fovea.training.stopping import stop_on_signals\n"
        "with stop_on_signals() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while stop.signal_number is None: time.sleep(0.01)\n"
        "    print('caught', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "caught\n"
        os.kill(process.pid, second)
        assert process.wait(10) == -second
