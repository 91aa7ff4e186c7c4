"""One of two workers is stopped while it holds the journal's lock: its parent ends it, the other goes on."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from relay.lock_holder import holders
from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]
WITHIN = 60.0


@contextlib.contextmanager
def load(relay: RelayProcess) -> Iterator[None]:
    """Four senders of events whose commits take a while."""
    stop = threading.Event()
    body = b'"' + b"x" * 20_000 + b'"'

    def send() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                relay.post("in", body, timeout=5)

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    try:
        yield
    finally:
        stop.set()
        for sender in senders:
            sender.join()


@pytest.mark.timeout(240)
def test_a_worker_that_is_stopped_with_the_lock_is_ended_and_named(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """Its parent notices without the journal; the other worker names it as long as it waits."""
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
    victim = relay.log("service.started", worker=1)[0]["pid"]
    lock = relay.folder / "relay.db.lock"

    def stopped_with_the_lock() -> bool:
        os.kill(victim, signal.SIGSTOP)
        if victim in holders(lock):
            return True
        os.kill(victim, signal.SIGCONT)
        return False

    def is_taken() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return relay.post("in", timeout=1).status == 202
        return False

    def told() -> list[dict[str, object]]:
        is_taken()  # the one that is stopped may have the connection, and not answer
        return relay.log("journal.unavailable")

    with load(relay):
        eventually(stopped_with_the_lock, timeout=WITHIN)
    (reason,) = eventually(told, timeout=WITHIN)
    assert f"held for over 2 s by process {victim} on " in str(reason["error"])
    assert "(relay worker), which is stopped" in str(reason["error"])
    (ended,) = relay.wait_log("library.message", logger="relay.workers", timeout=WITHIN)
    hung = f"(process {victim}) ended by a signal, since it was hung and held the journal's lock"
    assert hung in ended["message"]
    eventually(is_taken, timeout=WITHIN)
    assert len(relay.log("journal.recovered")) == 1
    assert "ledger balances" in relay.cli("ledger").out
