"""The signals that mean "stop", and when they may be heard."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ECHO_SECONDS = 0.5
STDOUT = 1


@contextmanager
def stop_signals(act: Callable[[bool], None]) -> Iterator[None]:
    """While it lasts, the first signal to stop calls `act(True)`, and every further one `act(False)`.

    One Ctrl-C can arrive twice, from the terminal and from a wrapper that forwards it: what comes within
    `ECHO_SECONDS` of the first is the same wish.
    """
    loop = asyncio.get_running_loop()
    seen: float | None = None

    def on_signal() -> None:
        nonlocal seen
        if seen is None:
            seen = loop.time()
            act(True)
        elif loop.time() - seen > ECHO_SECONDS:
            act(False)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # Only the cleaning up is left, and nobody needs to say it again.
            signal.signal(number, handler if seen is None else signal.SIG_IGN)


@contextmanager
def signals_held() -> Iterator[None]:
    """While it lasts, signals to stop wait: between a process's birth and our knowing its pid, nobody could end it.

    They are held here and not in the kernel, whose mask the new process would inherit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in before:
        signal.signal(number, lambda came, _frame: held.append(came))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for came in held:
            os.kill(os.getpid(), came)


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """While it lasts, as a long import does, Ctrl-C ends us at once and without a word: nothing is to be cleaned up."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Terminal:
    """The terminal that standard output is, if it is one and we are what runs in its foreground.

    Closing it sends SIGHUP to the leader of its session alone. A shell passes that on; where `make` is the leader, it
    only waits for us. In the background of a terminal, or without one, nobody wants us to end with it.
    """

    def __init__(self) -> None:
        self._was_ours = False
        self.is_gone()

    def is_gone(self) -> bool:
        """Whether it has been closed since somebody last looked; once it has, always."""
        try:
            self._was_ours = os.tcgetpgrp(STDOUT) == os.getpgrp()
        except OSError:
            return self._was_ours
        return False


def ignore_signals() -> None:
    """While servers are stopped. That is short, and must not end half-way."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
