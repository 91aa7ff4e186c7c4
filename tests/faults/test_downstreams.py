"""What a bad downstream may answer, and that it harms nobody: the real service against a real receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from relay.egress import Egress, Result
from relay.model import Outcome
from tests.support import Fault, Receiver, RelayProcess, Reply, eventually, free_port
from tests.support.length import Length
from tests.unit.egress_helpers import OK, answering, attempt, listening, rules, saying

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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_metadata_service_leads_nowhere(
    receiver: Receiver, start_relay: StartRelay, status: int
) -> None:
    """Every kind of redirect is one request and a failure, wherever it points."""
    receiver.answer(Reply(status=status, headers=(("Location", "http://169.254.169.254/latest/"),)))
    relay = start_relay(config(f"{receiver.url}/", destination=", retry: {max_attempts: 1}"))
    relay.post("in")
    (dead,) = relay.wait_log("delivery.dead")
    assert (dead["outcome"], dead["status"]) == ("http_status", status)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(Fault.DRIP_HEAD, "timeout"), (Fault.DRIP_BODY, "delivered")],
    ids=["headers", "body"],
)
def test_an_answer_that_drips_ends_at_the_deadline(
    receiver: Receiver, start_relay: StartRelay, fault: Fault, outcome: str
) -> None:
    """Of two minutes of dripping the attempt hears as much as its deadline allows, and then decides."""
    receiver.answer(Reply(fault=fault))
    options = ", timeout: 2s, retry: {max_attempts: 1}"
    relay = start_relay(config(f"{receiver.url}/", destination=options))
    relay.post("in")
    (line,) = relay.wait_log("attempt.finished", timeout=60)
    assert line["outcome"] == outcome
    assert 1_900 <= line["duration_ms"] < 30_000
    if outcome == "delivered":
        assert line["note"] == "response body: not finished within 2 s"


def open_files(relay: RelayProcess) -> int:
    """How many file descriptors the service has open."""
    return len(list(Path(f"/proc/{relay.pid}/fd").iterdir()))


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.RESET, "read_error"),
        (Fault.RESET_HEAD, "read_error"),
        (Fault.RESET_BODY, "delivered"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_connections_that_are_reset_leak_no_file(
    receiver: Receiver, start_relay: StartRelay, fault: Fault, outcome: str
) -> None:
    """After hundreds of resets the service has no more files open than after a few."""
    receiver.answer(Reply(fault=fault))
    options = ", breaker: none, retry: {max_attempts: 1}"
    relay = start_relay(config(f"{receiver.url}/", destination=options))
    for number in range(20):
        relay.post("in", str(number))
    relay.wait_log("attempt.finished", 20)
    before = open_files(relay)
    for number in range(200):
        relay.post("in", str(number))
    lines = relay.wait_log("attempt.finished", 220, timeout=60)
    assert {line["outcome"] for line in lines} == {outcome}
    # A connection that is just being closed, and one of the sender's, may be seen.
    eventually(lambda: open_files(relay) <= before + 5)


INJECTION = """
sources: {in: {verify: none}}
destinations:
  out: {url: "%s/"}
routes:
  - source: in
    to: out
    transform: {headers: {X-Name: "{{ body.name }}"}}
"""


def test_a_header_cannot_be_injected(receiver: Receiver, start_relay: StartRelay) -> None:
    """A value that would end its line kills the delivery with the reason, and nothing is sent."""
    relay = start_relay(INJECTION % receiver.url)
    names = ("a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b")
    for name in names:
        relay.post("in", json.dumps({"name": name}))
    for dead in relay.wait_log("delivery.dead", len(names)):
        assert (dead["outcome"], dead["reason"]) == ("transform_error", "transform_error")
        assert dead["error"] == "header X-Name: the value has a line break or another control character"
    assert receiver.requests == []


def test_what_is_meant_for_relay_goes_no_further(receiver: Receiver, start_relay: StartRelay) -> None:
    """Hop-by-hop headers, those that Connection names, cookies and credentials stop here."""
    relay = start_relay(config(f"{receiver.url}/"))
    stopped = {
        "Connection": "x-secret, keep-alive",
        "X-Secret": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic eDp5",
        "TE": "trailers",
        "Trailer": "x-t",
        "Upgrade": "h2c",
        "Cookie": "a=b",
        "Authorization": "Bearer t",
        "Relay-Event-Id": "evt_forged",
        "Idempotency-Key": "forged",
    }
    relay.post("in", headers=[*stopped.items(), ("X-Passes", "1")])
    (received,) = receiver.wait()
    for name in stopped:
        if name not in {"Relay-Event-Id", "Idempotency-Key"}:
            assert received.values(name) == [], name
    assert received.values("x-passes") == [b"1"]
    assert b"forged" not in b"".join(value for _, value in received.headers)


async def test_thousands_of_cancelled_attempts_leave_nothing_behind(length: Length) -> None:
    """Whatever attempts are cancelled in, be it dialling, sending or reading, the next ones succeed."""
    async with (
        listening(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", OK, pause=0.02)) as stuck,
        listening(answering(OK)) as healthy,
        Egress(rules()) as egress,
    ):
        for number in range(length.count(50, short=12)):
            tasks = [asyncio.create_task(attempt(egress, stuck.url)) for _ in range(200)]
            await asyncio.sleep(0.01 * (number % 6))
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError | Result) for end in ends)
        results = await asyncio.gather(*(attempt(egress, healthy.url) for _ in range(100)))
    assert {result.outcome for result in results} == {Outcome.DELIVERED}
    assert stuck.connections > 0


def test_a_delivery_that_waited_too_long_is_dead(start_relay: StartRelay) -> None:
    """At `max_age` a delivery is dead in time, with a reason, and nothing more is sent."""
    options = ", retry: {first_wait: 300ms, factor: 1, jitter: 0, max_age: 1s}"
    relay = start_relay(config(f"http://127.0.0.1:{free_port()}/", destination=options))
    relay.post("in")
    (dead,) = relay.wait_log("delivery.dead")
    assert dead["reason"] == "expired"
    assert relay.cli("ledger").code == 0
