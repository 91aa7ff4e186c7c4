"""No thread and no endless task ends without a word: each outlives what it meets."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from relay.journal.writer.watchdog import Watchdog
from relay.telemetry import Telemetry
from relay.telemetry.log_writer import LineWriter
from tests.support.wait import eventually
from tests.unit.test_dispatch_dispatcher import commits, journal, loaded, ok, running

__all__ = ["commits", "journal"]


def broken(*_: object) -> NoReturn:
    """A bug."""
    raise KeyError("a bug of ours")


class Moody(io.StringIO):
    """A stream that takes nothing as long as it is told so."""

    broken = False
    tried = 0

    def write(self, text: str) -> int:
        """Take a text, or raise what no stream should."""
        self.tried += 1
        return broken() if self.broken else super().write(text)


def test_the_log_outlives_what_its_stream_raises() -> None:
    """What was lost is counted, and told with the next lines."""
    stream = Moody()
    writer = LineWriter(stream, lost=lambda count: f"lost {count}")
    stream.broken = True
    writer.later("one")
    eventually(lambda: stream.tried)
    stream.broken = False
    writer.later("two")
    writer.close()
    assert stream.getvalue() == "two\nlost 1\n"


def test_the_log_is_written_where_no_turn_can_be_had(tmp_path: Path) -> None:
    """A line that may be torn is better than none."""
    with (tmp_path / "log").open("w") as stream, (tmp_path / "log").open() as only_read:
        writer = LineWriter(stream, turns=only_read.fileno())
        writer.later("one")
        writer.close()
    assert (tmp_path / "log").read_text() == "one\n"


def test_the_watchdog_outlives_a_cut_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are cut off all the same; what was met is reported."""
    reported: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda met: reported.append(met.exc_type))
    cut = threading.Event()
    watchdog = Watchdog(0.0)
    with watchdog.over(broken):
        eventually(lambda: reported)
    with watchdog.over(cut.set):
        assert cut.wait(15)
    watchdog.end()
    assert reported == [KeyError]


def test_what_ends_a_thread_is_in_the_log() -> None:
    """With its traceback, like all that a library reports."""
    log = io.StringIO()
    with Telemetry.configure(stream=log):
        thread = threading.Thread(target=broken, name="nobody")
        thread.start()
        thread.join()
    assert '"library.message"' in log.getvalue()
    assert "in the thread nobody" in log.getvalue()
    assert "Traceback" in log.getvalue()


async def test_a_claimer_outlives_a_bug_of_its_gate(journal: object, tmp_path: Path) -> None:
    """Its destination is claimed for again a second later; the bug is reported."""
    async with running(journal, loaded(tmp_path, "one"), ok) as bench:  # type: ignore[arg-type]
        gate = bench.dispatcher._gates["one"]
        before = type(gate).next_look
        failed: list[float] = []

        def once(self: object, now: float) -> float | None:
            if not failed:
                failed.append(time.monotonic())
                broken()
            return before(gate, now)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(gate), "next_look", once)
            await bench.store(1, "one")
            bench.dispatcher.nudge("one")
            await bench.pending()
        assert failed
