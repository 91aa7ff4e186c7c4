"""Downstreams behind TLS, good and bad: the real service, and certificates of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Receiver, RelayProcess
from tests.support.certificates import Authority

StartRelay = Callable[..., RelayProcess]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the service is told to trust."""
    return Authority(tmp_path / "authority")


def config(receiver: Receiver, tls: str) -> str:
    """One destination behind TLS, tried once."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations:
  out: {{url: "https://localhost:{receiver.port}/", retry: {{max_attempts: 1}}{tls}}}
routes: [{{source: in, to: out}}]
"""


def test_a_private_authority_is_trusted_where_the_file_says_so(
    authority: Authority, start_relay: StartRelay
) -> None:
    """With `tls.ca` a downstream whose certificate it signed gets the event."""
    with Receiver(tls=authority.issue("localhost").server()) as receiver:
        relay = start_relay(config(receiver, f", tls: {{ca: {authority.cert}}}"))
        relay.post("in", "hello")
        (received,) = receiver.wait()
        assert received.body == b"hello"
        relay.wait_log("attempt.finished", outcome="delivered")


def test_a_client_certificate_is_shown(authority: Authority, start_relay: StartRelay) -> None:
    """With `tls.cert` and `tls.key` a downstream that wants to know who calls gets the event."""
    client = authority.issue("relay")
    files = f"ca: {authority.cert}, cert: {client.cert}, key: {client.key}"
    with Receiver(tls=authority.issue("localhost").server(clients=authority.cert)) as receiver:
        relay = start_relay(config(receiver, f", tls: {{{files}}}"))
        relay.post("in")
        receiver.wait()
        relay.wait_log("attempt.finished", outcome="delivered")


def failure(receiver: Receiver, start_relay: StartRelay, tls: str) -> dict[str, Any]:
    """The log line of the death after one attempt; nothing of the event arrived."""
    relay = start_relay(config(receiver, tls))
    relay.post("in")
    (dead,) = relay.wait_log("delivery.dead")
    assert receiver.requests == []
    return dead


def test_a_downstream_that_wants_a_certificate_gets_nothing_without(
    authority: Authority, start_relay: StartRelay
) -> None:
    """The downstream hangs up in the handshake or just after it, and the attempt fails."""
    context = authority.issue("localhost").server(clients=authority.cert)
    with Receiver(tls=context) as receiver:
        dead = failure(receiver, start_relay, f", tls: {{ca: {authority.cert}}}")
    assert dead["outcome"] in {"tls_error", "connect_error", "read_error"}


@pytest.mark.parametrize(
    ("host", "days", "signed", "reason"),
    [
        ("localhost", -10, True, "certificate has expired"),
        ("other.example", 50, True, "Hostname mismatch"),
        ("localhost", 50, False, "self-signed certificate"),
    ],
    ids=["expired", "wrong host", "self-signed"],
)
def test_a_bad_certificate_gets_nothing(
    authority: Authority, start_relay: StartRelay, host: str, days: int, *, signed: bool, reason: str
) -> None:
    """Expired, made out to another, or signed by itself: an error with the reason."""
    context = authority.issue(host, days=days, signed=signed).server()
    with Receiver(tls=context) as receiver:
        dead = failure(receiver, start_relay, f", tls: {{ca: {authority.cert}}}")
    assert dead["outcome"] == "tls_error"
    assert f"certificate not accepted: {reason}" in dead["error"]


def test_an_authority_that_nobody_named_is_not_trusted(authority: Authority, start_relay: StartRelay) -> None:
    """Without `tls` the machine's own certificates decide."""
    with Receiver(tls=authority.issue("localhost").server()) as receiver:
        dead = failure(receiver, start_relay, "")
    assert dead["outcome"] == "tls_error"
    assert "certificate not accepted: " in dead["error"]
