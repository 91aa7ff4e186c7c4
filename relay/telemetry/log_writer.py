"""Log lines are collected and written together, by a thread that alone may wait for the stream."""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections.abc import Callable
from typing import TextIO

from relay.telemetry.stdout_lock import turn

PAUSE = 0.02
"""Seconds between two writes: a write for each line costs more than the line."""

CAPACITY = 50_000
"""Lines kept while the stream takes none; what comes on top is counted and lost."""

ROOM = 20 * 1024 * 1024
"""Characters of such lines: some hold what senders wrote, and are many times as long as most."""

FLUSH_TIMEOUT = 2.0
"""Seconds that `close` waits for a stream that does not take the last lines."""


class LineWriter:
    """Takes lines from any thread, never waits and never raises; errors are written without pause.

    A thread writes, not the event loop: a reader of stdout that stalls must not stall the service.
    `turns` is a descriptor of `make_turns`, where other processes write to the same stream.
    """

    def __init__(
        self, stream: TextIO | None, *, lost: Callable[[int], str] = str, turns: int | None = None
    ) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._lost_line = lost
        self._turns = turns
        self._lock = threading.RLock()  # a warning of the garbage collector's may come in between
        self._lines: list[str] = []
        self._size = 0
        self._lost = 0
        self._waiting = threading.Event()
        self._urgent = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="relay-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def later(self, line: str) -> None:
        """Take a line that goes out with the others."""
        size = len(line)
        with self._lock:
            if len(self._lines) >= CAPACITY or self._size + size > ROOM:
                self._lost += 1
                return
            self._lines.append(line)
            self._size += size
        if not self._waiting.is_set():
            self._waiting.set()

    def now(self, line: str) -> None:
        """Take a line that goes out at once, with all that wait before it."""
        self.later(line)
        self._urgent.set()

    # The names by which structlog hands over a rendered line of each level.
    debug = info = warning = later
    error = critical = now

    def close(self) -> None:
        """Write what waits and end the thread; may be called twice."""
        self._closed = True
        self._urgent.set()
        self._waiting.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(FLUSH_TIMEOUT)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while not self._closed:
            self._waiting.wait()
            self._urgent.wait(PAUSE)
            # Cleared first: a line that comes while others are written wakes the thread again.
            self._waiting.clear()
            self._urgent.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            lost, self._lost = self._lost, 0
            self._size = 0
        try:
            if lost:
                lines.append(self._lost_line(lost))
            if lines:
                self._write("\n".join(lines) + "\n")
        except Exception:  # noqa: BLE001 - the thread must live; how many were lost is told with the next
            with self._lock:
                self._lost += lost + len(lines)

    def _write(self, text: str) -> None:
        if self._descriptor is not None:
            with turn(self._turns):
                _write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))
        elif self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                return  # a stream that is closed or broken has no one to tell


def _descriptor(stream: TextIO | None) -> int | None:
    """The file descriptor below a stream; None for one in memory."""
    if stream is None:
        return None
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            # Whoever shares the terminal or the pipe may have made it non-blocking.
            select.select([], [descriptor], [], 1.0)
        except OSError:
            return  # the reader is gone
