"""Breakers and pauses: a destination that is gone costs no attempts, and nothing of it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from tests.support import Receiver, RelayProcess, eventually, free_port

StartRelay = Callable[..., RelayProcess]

SETTLED = 1.5
"""Seconds after which Relay would have sent what it may send."""


def config(url: str, *, destination: str = "", other: str = "http://127.0.0.1:9/") -> str:
    """One source, the destination under test, and one that works beside it."""
    return f"""
sources: {{in: {{verify: none}}, well: {{verify: none}}}}
destinations:
  out: {{url: "{url}/"{destination}}}
  alive: {{url: "{other}/alive"}}
routes:
  - {{source: in, to: out}}
  - {{source: well, to: alive}}
"""


def test_an_open_breaker_costs_one_probe_each_cooldown(receiver: Receiver, start_relay: StartRelay) -> None:
    """After failures in a row only probes go out; one that succeeds lets all that waits out at once."""
    receiver.answer(503)
    settings = ", retry: {first_wait: 1h}, limits: {concurrency: 1}, breaker: {failures: 3, cooldown: 1s}"
    relay = start_relay(config(receiver.url, destination=settings))
    for number in range(20):
        assert relay.post("in", str(number)).status == 202
    (opened,) = relay.wait_log("breaker.opened")
    assert (opened["destination"], opened["failures"], opened["error"]) == ("out", 3, "HTTP 503")
    since = datetime.fromisoformat(opened["timestamp"]).timestamp()
    receiver.wait(6)
    probes = len(receiver.requests) - 3
    assert probes <= (time.time() - since) / 1.0 + 1, "one in each second since it opened"
    assert not relay.log("breaker.closed")
    receiver.answer(200)
    relay.wait_log("breaker.closed")
    relay.wait_log("attempt.finished", 20, decision="delivered")
    assert {int(one.body) for one in receiver.requests} == set(range(20))
    ledger = relay.cli("ledger", "--json").json()
    assert ledger["balanced"] is True


def test_success_in_between_keeps_the_breaker_closed(receiver: Receiver, start_relay: StartRelay) -> None:
    """Failures that do not follow one another, and answers such as 404, open nothing."""
    receiver.script(503, 503, 200, 503, 404, 503, 503, 404)
    settings = ", retry: {max_attempts: 1}, limits: {concurrency: 1}, breaker: {failures: 3}"
    relay = start_relay(config(receiver.url, destination=settings))
    for number in range(9):
        relay.post("in", str(number))
        receiver.wait(number + 1)
        relay.wait_log("attempt.finished", number + 1)
    assert not relay.log("breaker.opened")


def test_a_restart_keeps_the_breaker_open(receiver: Receiver, start_relay: StartRelay) -> None:
    """A crash does not close a breaker: after the restart nothing is sent before the next probe."""
    receiver.answer(503)
    with Receiver() as alive:
        settings = ", breaker: {failures: 2, cooldown: 1h}, limits: {concurrency: 1}"
        relay = start_relay(config(receiver.url, destination=settings, other=alive.url))
        for number in range(5):
            relay.post("in", str(number))
        relay.wait_log("breaker.opened")
        relay.wait_log("attempt.finished", 2)
        relay.kill9()
        relay.start()
        assert relay.post("in", "6").status == 202
        relay.post("well")
        alive.wait(1)
        time.sleep(SETTLED)
        assert len(receiver.requests) == 2
        ledger = relay.cli("ledger", "--json").json()
        assert ledger["balanced"] is True


def test_what_waits_behind_an_open_breaker_expires(start_relay: StartRelay) -> None:
    """A destination that never comes back: at max_age the waiting deliveries are dead, untried or not."""
    settings = ", retry: {max_age: 2s, first_wait: 1h, max_wait: 1h}, breaker: {failures: 2, cooldown: 1h}"
    relay = start_relay(config(f"http://127.0.0.1:{free_port()}", destination=settings))
    for number in range(10):
        assert relay.post("in", str(number)).status == 202
    dead = relay.wait_log("delivery.dead", 10, timeout=40, destination="out", reason="expired")
    assert len({line["delivery_id"] for line in dead}) == 10
    assert relay.log("breaker.opened")
    ledger = relay.cli("ledger", "--json").json()
    assert ledger["balanced"] is True
    (row,) = [one for one in ledger["deliveries"] if one["destination"] == "out"]
    assert (row["pending"], row["dead"]) == (0, 10)


def test_410_pauses_and_loses_nothing(receiver: Receiver, start_relay: StartRelay) -> None:
    """A 410 pauses the destination: events are kept over a restart, and go out once it is resumed."""
    receiver.answer(410)
    with Receiver() as alive:
        settings = ", retry: {max_attempts: 2, first_wait: 100ms}, limits: {concurrency: 1}"
        relay = start_relay(config(receiver.url, destination=settings, other=alive.url))
        relay.post("in", "0")
        (paused,) = relay.wait_log("destination.paused")
        assert (paused["destination"], paused["reason"]) == ("out", "HTTP 410")
        relay.restart()
        for number in range(1, 6):
            assert relay.post("in", str(number)).status == 202
        relay.post("well")
        alive.wait(1)
        time.sleep(SETTLED)
        assert len(receiver.requests) == 1, "while it is paused nothing is sent"
        receiver.script(503)
        receiver.answer(200)
        relay.cli("resume", "out")
        relay.wait_log("destination.resumed")
        relay.wait_log("attempt.finished", 6, destination="out", decision="delivered")
    assert not relay.log("delivery.dead"), "of the two attempts, that which met the pause does not count"
    assert {int(one.body) for one in receiver.requests} == set(range(6))


def test_a_pause_from_the_command_line_is_kept(receiver: Receiver, start_relay: StartRelay) -> None:
    """A pause by an operator stops the running service within seconds, and is told once."""
    relay = start_relay(config(receiver.url))
    relay.cli("pause", "out")
    relay.wait_log("destination.paused", destination="out")
    for number in range(3):
        assert relay.post("in", str(number)).status == 202
    time.sleep(SETTLED)
    assert not receiver.requests
    relay.cli("resume", "out")
    receiver.wait(3)
    eventually(lambda: len(relay.log("attempt.finished", decision="delivered")) == 3)
    assert len(relay.log("destination.paused")) == len(relay.log("destination.resumed")) == 1
