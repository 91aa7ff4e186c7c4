"""Rates, holds, backlogs and slots: what one destination or source may take, and that others go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

from tests.support import Fault, Receiver, RelayProcess, Reply, free_port

StartRelay = Callable[..., RelayProcess]


def test_a_rate_bounds_the_attempts_at_a_destination(receiver: Receiver, start_relay: StartRelay) -> None:
    """However fast events come, a destination with a rate gets no more than it, and gets them all."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/", limits: {{rate: 20/s}}}}}}
routes: [{{source: in, to: out}}]
"""
    )
    began = time.time()
    for number in range(50):
        assert relay.post("in", str(number)).status == 202
    came = receiver.wait(50, timeout=30)
    for count, one in enumerate(came, start=1):
        assert one.at - began >= (count - 2) / 20 - 0.05, "two at once, then one each 50 ms"
    assert {int(one.body) for one in came} == set(range(50))


def test_a_source_above_its_rate_is_told_when_to_come_again(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """Above its rate a source gets 429 with Retry-After, and nothing of it is stored; others go on.

    A reload that changes the rate gives nothing back of what was used.
    """
    relay = start_relay(
        f"""
sources:
  slow: {{verify: {{scheme: bearer, secrets: "s3cret"}}, rate: 2/m}}
  free: {{verify: none}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes:
  - {{source: slow, to: out}}
  - {{source: free, to: out}}
"""
    )
    known = (("Authorization", "Bearer s3cret"),)
    strangers = [relay.post("slow", headers=(("Authorization", "Bearer x"),)).status for _ in range(5)]
    assert strangers == [401] * 5, "who is not the source uses nothing of its rate"
    first, second = relay.post("slow", "1", headers=known), relay.post("slow", "2", headers=known)
    assert (first.status, second.status) == (202, 429)
    assert 1 <= int(second.header("retry-after") or "") <= 30
    assert [relay.post("free", "3").status for _ in range(5)] == [202] * 5
    receiver.wait(6)
    assert relay.wait_log("event.rejected", reason="rate")[0]["source"] == "slow"
    assert b"2" not in {one.body for one in receiver.requests}
    relay.config.write_text(relay.config.read_text().replace("rate: 2/m", "rate: 1/m"))
    relay.cli("reload")
    assert relay.post("slow", "4", headers=known).status == 429


def test_429_with_retry_after_holds_the_whole_destination(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """After a 429 with Retry-After nothing goes to that destination before the time is up."""
    receiver.script(Reply(status=429, headers=(("Retry-After", "3"),)))
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/", retry: {{first_wait: 100ms, jitter: 0}}}}}}
routes: [{{source: in, to: out}}]
"""
    )
    relay.post("in", "0")
    (line,) = relay.wait_log("attempt.finished")
    assert line["status"] == 429
    for number in range(1, 6):
        relay.post("in", str(number))
    first, *later = receiver.wait(7)
    assert all(one.at - first.at >= 2.95 for one in later)
    assert sorted(one.body for one in later) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_an_operator_ends_a_hold(receiver: Receiver, start_relay: StartRelay) -> None:
    """`relay resume` sends what a 429 holds back for an hour; while nothing is held it says so."""
    receiver.script(Reply(status=429, headers=(("Retry-After", "3600"),)))
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    )
    event = relay.post("in", "0").json()["id"]
    relay.wait_log("attempt.finished", status=429)
    relay.post("in", "1")
    assert "relay resume out" in relay.cli("show", event).out
    relay.cli("resume", "out")
    assert sorted(one.body for one in receiver.wait(3)) == [b"0", b"0", b"1"]
    assert relay.cli("resume", "out", check=False).code == 1


def test_a_full_backlog_harms_nobody_else(receiver: Receiver, start_relay: StartRelay) -> None:
    """Beyond max_backlog deliveries are born dead and can be retried; another destination gets its own."""
    port = free_port()
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}}}
destinations:
  dead: {{url: "http://127.0.0.1:{port}/", max_backlog: 3}}
  alive: {{url: "{receiver.url}/"}}
routes: [{{source: in, to: [dead, alive]}}]
"""
    )
    for number in range(10):
        assert relay.post("in", str(number)).status == 202
    assert len(receiver.wait(10)) == 10
    buried = relay.wait_log("delivery.dead", 7, destination="dead", reason="backlog_full")
    assert len(buried) == 7
    ledger = relay.cli("ledger", "--json").json()
    assert ledger["balanced"] is True
    (row,) = [one for one in ledger["deliveries"] if one["destination"] == "dead"]
    assert (row["planned"], row["pending"], row["dead"]) == (10, 3, 7)
    back = Receiver()
    back.port = port
    with back:
        relay.cli("retry", *(line["delivery_id"] for line in buried))
        assert {int(one.body) for one in back.wait(7)} >= {3, 4, 5, 6, 7, 8, 9}


def test_a_destination_that_hangs_delays_nobody_else(receiver: Receiver, start_relay: StartRelay) -> None:
    """While one destination holds every request for 29 s, another gets all of its events as fast as alone."""
    with Receiver() as hanging:
        hanging.answer(Reply(fault=Fault.HANG))
        relay = start_relay(
            f"""
sources: {{in: {{verify: none}}, alone: {{verify: none}}}}
destinations:
  hangs: {{url: "{hanging.url}/", timeout: 29s, limits: {{concurrency: 4}}}}
  alive: {{url: "{receiver.url}/"}}
routes: [{{source: alone, to: alive}}, {{source: in, to: [hangs, alive]}}]
""",
            env={"RELAY_GRACE": "0"},
        )
        alone = median(times_of_arrival(relay, receiver, "alone"))
        beside = median(times_of_arrival(relay, receiver, "in"))
        assert len(hanging.requests) == 4, "it has its own slots, and no more"
        assert beside < 10 * alone + 0.25, "what hangs takes 29 s"
        assert "due: 4 of 4 in flight" in relay.cli("deliveries", "--destination", "hangs").out


def times_of_arrival(relay: RelayProcess, receiver: Receiver, source: str) -> list[float]:
    """Seconds from the post of each of 100 events to its arrival."""
    receiver.clear()
    posted = []
    for number in range(100):
        posted.append(time.time())
        assert relay.post(source, json.dumps({"n": number})).status == 202
    came = {json.loads(one.body)["n"]: one.at for one in receiver.wait(100)}
    return [came[number] - at for number, at in enumerate(posted)]
