"""Ctrl-Z: a process that writes into the journal stops between two batches, when it holds no lock."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

_STOPPING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""What a terminal stops a process with: Ctrl-Z, and reading or writing there from the background."""


class Suspending:
    """Stops this process at a terminal's signal as soon as it is at rest.

    SIGSTOP cannot be put off: who waits for what a process holds that was stopped by it names the process.
    """

    def __init__(self) -> None:
        self._at_rest: Callable[[], AbstractContextManager[object]] | None = None
        self._due: int | None = None
        self._waits = False

    def at_rest(self, at_rest: Callable[[], AbstractContextManager[object]]) -> None:
        """Put it off, from now on, until `at_rest` lets the block begin; stop now where it was due before."""
        self._at_rest = at_rest
        if self._due is not None:
            self.handle(self._due)

    def handle(self, number: int, _: object = None) -> None:
        """Stop, now or when it is known what is at rest."""
        if self._at_rest is None:
            self._due = number
            return
        if self._waits:  # it came again before this process has stopped
            return
        self._due, self._waits = None, True
        try:
            with self._at_rest():
                before = signal.signal(number, signal.SIG_DFL)
                # To this thread: it goes on after the signal, and not before.
                signal.pthread_kill(threading.get_ident(), number)
                signal.signal(number, before)
        finally:
            self._waits = False


@contextlib.contextmanager
def suspended_at_rest() -> Iterator[Suspending]:
    """Put off a terminal's stop signals in the block; those that are ignored stay so."""
    suspending = Suspending()
    before = {number: signal.getsignal(number) for number in _STOPPING}
    is_main = threading.current_thread() is threading.main_thread()
    ours = [number for number, handler in before.items() if is_main and handler is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, suspending.handle)
    try:
        yield suspending
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
