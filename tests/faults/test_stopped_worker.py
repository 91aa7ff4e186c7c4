"""One of two workers is stopped while it holds the journal's lock: its parent ends it, the other goes on."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from relay.process.lock_holder import holders
from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]
WITHIN = 90.0


def is_stopped(pid: int) -> bool:
    """Whether a process does nothing until it is told to go on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.timeout(300)
def test_a_worker_that_is_stopped_with_the_lock_is_ended_and_named(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """Its parent notices without the journal; the other worker names it when it waits for it."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, when: "false", to: out}}]
""",
        flags=("--workers", "2"),
        start=False,
    ).start(timeout=WITHIN)
    relay.wait_log("service.ready", 2, timeout=WITHIN)
    workers = {line["pid"] for line in relay.log("service.started") if "worker" in line}
    assert len(workers) == 2

    def is_taken() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return relay.post("in", timeout=1).status == 202
        return False

    def stopped_with_the_lock() -> int | None:
        lock = relay.folder / "relay.db.lock"
        for pid in holders(lock) & workers:
            os.kill(pid, signal.SIGSTOP)
            eventually(partial(is_stopped, pid))
            if pid in holders(lock):
                return pid
            os.kill(pid, signal.SIGCONT)
        return None

    # A worker has the lock, and waits for SQLite's own.
    foreign = sqlite3.connect(relay.folder / "relay.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    sending = threading.Thread(target=is_taken)
    sending.start()
    victim = eventually(stopped_with_the_lock, timeout=WITHIN)
    foreign.execute("ROLLBACK")
    foreign.close()
    sending.join()

    def named() -> bool:
        is_taken()  # the one that is stopped may have the connection, and not answer
        lines = (str(line["message"]) for line in relay.log("library.message", logger="relay.journal"))
        return any(f"by process {victim} on " in line and "which is stopped" in line for line in lines)

    eventually(named, timeout=WITHIN, describe=relay.output)
    (ended,) = relay.wait_log("library.message", logger="relay.workers", timeout=WITHIN)
    hung = f"(process {victim}) ended by a signal, since it was hung and held the journal's lock"
    assert hung in ended["message"]
    eventually(is_taken, timeout=WITHIN, describe=relay.output)
    assert "ledger balances" in relay.cli("ledger").out
