"""What senders meet beyond the plain 202: proxies, signed URLs, handshakes, a journal that is away."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import sqlite3
import time
from collections.abc import Callable
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]


def config(receiver: Receiver, source: str) -> str:
    """One source, one destination, one route."""
    return f"""
sources: {{in: {source}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""


def test_a_trusted_proxy_names_the_sender(receiver: Receiver, start_relay: StartRelay) -> None:
    """Behind a trusted proxy the nearest foreign address counts for `allow_ips`; a forged one does not."""
    relay = start_relay(
        config(receiver, "{verify: none, allow_ips: 10.0.0.0/8}"),
        env={"RELAY_TRUSTED_PROXIES": "127.0.0.1/32"},
    )
    assert relay.post("in", headers=[("X-Forwarded-For", "10.1.2.3")]).status == 202
    assert relay.post("in", headers=[("X-Forwarded-For", "::ffff:10.1.2.3")]).status == 202
    assert relay.post("in", headers=[("X-Forwarded-For", "8.8.8.8")]).status == 403
    assert relay.post("in", headers=[("X-Forwarded-For", "10.1.2.3, 8.8.8.8")]).status == 403
    assert relay.post("in", headers=[("X-Forwarded-For", "nonsense")]).status == 403
    assert relay.post("in").status == 403


def test_twilio_signs_the_public_url(receiver: Receiver, start_relay: StartRelay) -> None:
    """A signature over the URL verifies against PUBLIC_URL, query included, as Twilio's library signs it."""
    relay = start_relay(
        config(receiver, '{verify: {scheme: twilio, secrets: "${TOKEN}"}}'),
        env={"TOKEN": "12345", "RELAY_PUBLIC_URL": "https://hooks.example.com"},
    )
    form = {"MessageSid": "SM1", "MessageStatus": "delivered", "Body": "ünï"}
    signature = RequestValidator("12345").compute_signature(
        "https://hooks.example.com/hooks/in?a=b%20c", form
    )
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Twilio-Signature", signature)]
    assert relay.post("in?a=b%20c", urlencode(form), headers=headers).status == 202
    assert relay.post("in?a=b%20d", urlencode(form), headers=headers).status == 401
    assert len(receiver.wait(1)) == 1


def test_slacks_challenge_is_answered_and_not_stored(receiver: Receiver, start_relay: StartRelay) -> None:
    """A signed url_verification gets its challenge back; nothing is stored; an unsigned one is refused."""
    relay = start_relay(
        config(receiver, '{verify: {scheme: slack, secrets: "${SECRET}"}}'), env={"SECRET": "s3cret"}
    )
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aB"})
    stamp = str(int(time.time()))
    digest = hmac.new(b"s3cret", f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    signed = [("X-Slack-Request-Timestamp", stamp), ("X-Slack-Signature", f"v0={digest}")]
    answer = relay.post("in", body, headers=signed)
    assert answer.status == 200
    assert b"3eZbrw1aB" in answer.body
    assert relay.post("in", body, headers=[]).status == 401
    relay.wait_log("handshake.answered")
    assert relay.cli("events", "--json").json()["events"] == []


def test_a_locked_journal_is_a_503_and_heals(receiver: Receiver, start_relay: StartRelay) -> None:
    """While another process holds the write lock senders get 503 with Retry-After; then all is well again."""
    relay = start_relay(config(receiver, "{verify: none}"))
    path = relay.journal.removeprefix("sqlite:///")
    thief = sqlite3.connect(path, isolation_level=None)
    try:
        thief.execute("BEGIN IMMEDIATE")
        answer = relay.post("in")
        assert (answer.status, answer.header("retry-after")) == (503, "5")
        relay.wait_log("journal.unavailable")
        assert relay.get("/readyz").status == 503
        assert relay.get("/livez").status == 200
    finally:
        thief.close()
    eventually(lambda: relay.get("/readyz").status == 200)
    relay.wait_log("journal.recovered")
    assert relay.post("in", '{"after": 1}').status == 202
    assert receiver.wait(1)[0].body == b'{"after": 1}'
    assert relay.cli("ledger").code == 0


def test_a_chunked_body_is_taken_and_bounded(receiver: Receiver, start_relay: StartRelay) -> None:
    """A body without a declared length is taken up to `max_body`, and refused with 413 beyond it."""
    relay = start_relay(config(receiver, "{verify: none, max_body: 1KiB}"))

    def chunked(size: int) -> bytes:
        with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as peer:
            peer.sendall(b"POST /hooks/in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 256):
                part = b"x" * min(256, size - start)
                peer.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            peer.sendall(b"0\r\n\r\n")
            return peer.recv(4096)

    assert chunked(1024).startswith(b"HTTP/1.1 202")
    assert chunked(1025).startswith(b"HTTP/1.1 413")
    assert receiver.wait(1)[0].body == b"x" * 1024
