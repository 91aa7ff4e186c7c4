"""What a bad downstream may answer, and that it harms nobody: the real service against a real receiver."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from tests.support import Fault, Receiver, RelayProcess, Reply, free_port

StartRelay = Callable[..., RelayProcess]

MAX_WAIT = 60.0


def config(url: str, *, destination: str = "") -> str:
    """One source, one destination, one route."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations:
  out: {{url: "{url}"{destination}}}
routes: [{{source: in, to: out}}]
"""


def wait_asked(line: dict[str, str]) -> float:
    """Seconds from an attempt's log line to the next attempt that it names."""
    next_at = datetime.fromisoformat(line["next_attempt_at"])
    return (next_at - datetime.fromisoformat(line["timestamp"])).total_seconds()


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("30", 29.5, 30.5),
        (f"{format_datetime(datetime.fromtimestamp(4_102_444_800, UTC), usegmt=True)}", 59.5, MAX_WAIT),
        ("soon", 4.5, 5.5),
        ("1e9", 59.5, MAX_WAIT),
        ("-5", 4.5, 5.5),
        ("1", 4.5, 5.5),
    ],
    ids=["seconds", "a date in 2100", "garbage", "1e9", "negative", "less than the wait"],
)
def test_retry_after_lengthens_a_wait_within_bounds(
    receiver: Receiver, start_relay: StartRelay, asked: str, least: float, most: float
) -> None:
    """A Retry-After is never answered early and never waited for longer than `max_wait`."""
    receiver.answer(Reply(status=429, headers=(("Retry-After", asked),)))
    retry = f", retry: {{first_wait: 5s, jitter: 0, max_wait: {MAX_WAIT:.0f}s}}"
    relay = start_relay(config(f"{receiver.url}/", destination=retry))
    relay.post("in")
    (line,) = relay.wait_log("attempt.finished")
    assert (line["outcome"], line["status"], line["decision"]) == ("http_status", 429, "retry")
    assert least <= wait_asked(line) <= most


@pytest.mark.parametrize("headers", [(), (("Content-Encoding", "gzip"),)], ids=["plain", "gzip"])
def test_an_endless_response_is_cut(
    receiver: Receiver, start_relay: StartRelay, headers: tuple[tuple[str, str], ...]
) -> None:
    """Of a response without end 64 KiB are read; the status decides, and memory hardly grows."""
    receiver.answer(Reply(headers=headers, fault=Fault.ENDLESS))
    relay = start_relay(config(f"{receiver.url}/"))
    before = relay.rss
    for _ in range(20):
        relay.post("in")
    lines = relay.wait_log("attempt.finished", 20)
    assert {line["outcome"] for line in lines} == {"delivered"}
    assert all("64 KiB" in line["note"] for line in lines)
    assert relay.rss - before < 20 * 1024 * 1024


def test_a_redirect_is_not_followed(receiver: Receiver, start_relay: StartRelay) -> None:
    """A redirect is a failure after one request, and nobody calls where it points."""
    with Receiver() as elsewhere:
        receiver.answer(Reply(status=307, headers=(("Location", f"{elsewhere.url}/stolen"),)))
        relay = start_relay(config(f"{receiver.url}/", destination=", retry: {max_attempts: 1}"))
        relay.post("in")
        (dead,) = relay.wait_log("delivery.dead")
        assert (dead["outcome"], dead["status"]) == ("http_status", 307)
        assert len(receiver.requests) == 1
        assert elsewhere.connections == 0


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.RESET_HEAD, Fault.HANG], ids=lambda fault: fault.name)
def test_bad_attempts_leak_no_slot(receiver: Receiver, start_relay: StartRelay, fault: Fault) -> None:
    """With one slot, whatever goes wrong in an attempt gives the slot back: all is delivered in the end."""
    receiver.script(*[Reply(fault=fault)] * 5)
    options = ", timeout: 500ms, limits: {concurrency: 1}, retry: {first_wait: 100ms, factor: 1}"
    relay = start_relay(config(f"{receiver.url}/", destination=options))
    for number in range(10):
        relay.post("in", str(number))
    relay.wait_log("attempt.finished", 10, decision="delivered", timeout=30)
    expected = "timeout" if fault is Fault.HANG else "read_error"
    assert len(relay.log("attempt.finished", outcome=expected)) == 5


def test_a_delivery_that_waited_too_long_is_dead(start_relay: StartRelay) -> None:
    """At `max_age` a delivery is dead in time, with a reason, and nothing more is sent."""
    options = ", retry: {first_wait: 300ms, factor: 1, jitter: 0, max_age: 1s}"
    relay = start_relay(config(f"http://127.0.0.1:{free_port()}/", destination=options))
    relay.post("in")
    (dead,) = relay.wait_log("delivery.dead")
    assert dead["reason"] == "expired"
    assert relay.cli("ledger").code == 0
