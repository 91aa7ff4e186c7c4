"""Cuts what takes too long: a link that swallows everything gives no error of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from relay.journal.faults import report_here

_LOOK_EVERY = 0.5


class Watchdog:
    """A thread that looks twice a second whether somebody's time is up, and then calls what cuts it off."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[float, Callable[[], None]]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def over(self, cut: Callable[[], None]) -> Iterator[None]:
        """Have `cut` called, once, where the block takes longer than the patience; never after the block."""
        token = object()
        with self._lock:
            self._watched[token] = time.monotonic() + self._patience, cut
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(token, None)

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY):
            with self._lock:
                now = time.monotonic()
                late = [token for token, (deadline, _) in self._watched.items() if deadline <= now]
                for token in late:
                    _call(self._watched.pop(token)[1])

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()
        self._thread.join()


def _call(cut: Callable[[], None]) -> None:
    """Cut one off; what goes wrong must not end the watch over the others."""
    try:
        cut()
    except Exception as error:  # noqa: BLE001 - as above
        report_here(error)
