"""Whoever leaves early, sender or service, leaves nothing behind that is held for ever."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import struct
import time
from collections.abc import Callable

from tests.support import Receiver, RelayProcess, Reply, eventually
from tests.support.length import Length

StartRelay = Callable[..., RelayProcess]

REQUEST = b"POST /hooks/in HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\n\r\n{}"


def _config(receiver: Receiver, *, respond: str = "") -> str:
    return f"""
sources: {{in: {{verify: none{respond}}}}}
destinations: {{out: {{url: "{receiver.url}/", limits: {{concurrency: 1}}}}}}
routes: [{{source: in, to: out}}]
"""


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_sender_that_resets_behind_two_requests_takes_no_slot_along(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """With one slot and forty such senders, whatever was stored is delivered, and what comes after too."""
    relay = start_relay(_config(receiver))
    for number in range(40):
        connection = socket.create_connection(("127.0.0.1", relay.port))
        connection.sendall(REQUEST * 2)
        time.sleep(number % 10 * 0.0004)
        _reset(connection)
        time.sleep(0.02)
    assert relay.post("in", b"after").status == 202
    receiver.wait(1, where=lambda received: received.body == b"after")
    assert not relay.log("library.message")


def test_a_sender_that_reads_no_answer_does_not_keep_a_slot(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """Its first attempts follow its answers: it is cut off in time, and others are served."""
    relay = start_relay(
        _config(
            receiver, respond=f', respond: {{status: 200, content_type: text/plain, body: "{"z" * 60_000}"}}'
        )
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", relay.port))
        connection.settimeout(0)
        with contextlib.suppress(OSError):
            for _ in range(400):  # slowly, so that each finds the slot free
                connection.send(REQUEST)
                time.sleep(0.01)
        assert relay.post("in", b"after").status == 200
        receiver.wait(1, where=lambda received: received.body == b"after")
        assert relay.get("/readyz").status == 200


def test_an_outage_of_the_journal_is_told_once_and_does_not_keep_the_service_from_ending(
    receiver: Receiver, start_relay: StartRelay, length: Length
) -> None:
    """Through chores and a drain with outcomes unwritten no traceback; all is delivered after it."""
    relay = start_relay(_config(receiver), env={**length.env, "RELAY_GRACE": "1s"})
    receiver.always = Reply(delay=1.0)
    for number in range(5):
        assert relay.post("in", b"%d" % number).status == 202
    other = sqlite3.connect(relay.folder / "relay.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(length.seconds(11))  # a rescue is due in this time
        assert relay.term(timeout=30) == 0
    finally:
        other.close()
    assert len(relay.log("journal.unavailable")) == 1
    assert not relay.log("library.message")
    assert not (relay.folder / "serve-1.err").read_text()
    receiver.always = Reply()
    relay.start()
    eventually(lambda: len({received.body for received in receiver.requests}) == 5)
    eventually(lambda: relay.cli("ledger", "--json").code == 0)
