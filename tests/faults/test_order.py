"""Order: deliveries of one key arrive one after another, whatever fails in between."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.support import Received, Receiver, RelayProcess, eventually
from tests.support.experiment import Recorder
from tests.support.length import Length

StartRelay = Callable[..., RelayProcess]

KEYS = 100
SENDERS = 25
"""So many wait for one commit together: fewer senders only wait longer."""


def config(url: str, *, order: str = "{key: body.key}", retry: str = "{first_wait: 20ms, factor: 1}") -> str:
    """One source and one ordered destination."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations:
  out: {{url: "{url}/", order: {order}, retry: {retry}, breaker: null, limits: {{concurrency: 32}}}}
routes: [{{source: in, to: out}}]
"""


def send(relay: RelayProcess, keys: Iterable[int], each: int) -> None:
    """Post `each` numbered events of every key, on one connection, one after another."""
    connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=30)
    for number in range(each):
        for key in keys:
            body = json.dumps({"key": f"customer-{key}", "n": number})
            connection.request("POST", "/hooks/in", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 202
    connection.close()


def send_together(relay: RelayProcess, keys: int, each: int) -> None:
    """Post as many of every key, each key's by one of several senders."""
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(lambda first: send(relay, range(first, keys, SENDERS), each), range(SENDERS)))


def numbers_by_key(requests: Iterable[Received]) -> dict[str, list[int]]:
    """The numbers of each key's events, in the order in which they came."""
    numbers = defaultdict(list)
    for one in requests:
        body = json.loads(one.body)
        numbers[body["key"]].append(body["n"])
    return numbers


@pytest.mark.timeout(400)
def test_many_events_keep_the_order_of_their_keys(
    receiver: Receiver, start_relay: StartRelay, length: Length, experiment: Recorder
) -> None:
    """With a tenth of the attempts failing at random, each of 100 keys' events are delivered in order."""
    chance = random.Random(5)
    events = length.count(10_000, short=1_000)
    answers = [503 if chance.random() < 0.1 else 200 for _ in range(2 * events)]
    receiver.script(*answers)
    relay = start_relay(config(receiver.url))
    send_together(relay, KEYS, events // KEYS)

    def delivered() -> list[Received]:
        came = receiver.requests
        return [one for one, answer in zip(came, answers, strict=False) if answer == 200]

    eventually(lambda: len(delivered()) >= events, timeout=240, describe=relay.output)
    numbers = numbers_by_key(delivered())
    assert len(numbers) == KEYS
    assert all(one == list(range(events // KEYS)) for one in numbers.values())
    tried = numbers_by_key(receiver.requests)
    assert all(a <= b for one in tried.values() for a, b in pairwise(one)), "nothing overtakes a failure"
    assert len(receiver.requests) > events
    relay.wait_log("attempt.finished", events, outcome="delivered")
    ledger = relay.cli("ledger", "--json").json()
    experiment.note("a tenth of the attempts fails", ledger, acknowledged=events, lost=0, duplicates=0)
    assert ledger["balanced"] is True


@pytest.mark.timeout(180)
def test_order_holds_across_crashes(receiver: Receiver, start_relay: StartRelay) -> None:
    """After kill -9 with lanes half done, what was under way comes again and nothing overtakes it."""
    chance = random.Random(6)
    answers = [503 if chance.random() < 0.1 else 200 for _ in range(5_000)]
    receiver.script(*answers)
    relay = start_relay(config(receiver.url))
    send_together(relay, 20, 25)
    relay.kill9()
    relay.start()
    eventually(lambda: len(receiver.requests) > 300, timeout=60)
    relay.kill9()
    relay.start()
    send(relay, range(20), 1)

    def all_there() -> bool:
        came = [one for one, answer in zip(receiver.requests, answers, strict=False) if answer == 200]
        return all(set(one) == set(range(25)) and one.count(0) >= 2 for one in numbers_by_key(came).values())

    eventually(all_there, timeout=90, describe=relay.output)
    for numbers in numbers_by_key(receiver.requests).values():
        last = len(numbers) - 1 - numbers[::-1].index(24)
        assert all(a <= b for a, b in pairwise(numbers[: last + 1]))
        assert set(numbers[last + 1 :]) == {0}, "what was sent after the crash comes after all the rest"
    assert relay.cli("ledger", "--json").json()["balanced"] is True


def post(relay: RelayProcess, key: str, number: int) -> None:
    """Post one event of a key."""
    assert relay.post("in", json.dumps({"key": key, "n": number})).status == 202


def test_a_dead_head_holds_its_lane_until_it_is_retried(receiver: Receiver, start_relay: StartRelay) -> None:
    """With `on_dead: hold` those behind wait, other keys go on, and a retry sends all in their order."""
    receiver.script(400)
    relay = start_relay(
        config(receiver.url, order="{key: body.key, on_dead: hold}", retry="{give_up_on: [400]}")
    )
    post(relay, "a", 0)
    (dead,) = relay.wait_log("delivery.dead")
    for number in (1, 2, 3):
        post(relay, "a", number)
    post(relay, "b", 0)
    receiver.wait(2)
    time.sleep(1.5)
    assert numbers_by_key(receiver.requests) == {"a": [0], "b": [0]}
    relay.cli("retry", dead["delivery_id"])
    receiver.wait(6)
    assert numbers_by_key(receiver.requests)["a"] == [0, 0, 1, 2, 3]


def test_a_dead_head_lets_its_lane_go_when_it_is_cancelled(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """With `on_dead: hold` a cancelled head is no longer waited for."""
    receiver.script(400)
    relay = start_relay(
        config(receiver.url, order="{key: body.key, on_dead: hold}", retry="{give_up_on: [400]}")
    )
    post(relay, "a", 0)
    (dead,) = relay.wait_log("delivery.dead")
    post(relay, "a", 1)
    relay.cli("cancel", dead["delivery_id"])
    receiver.wait(2)
    assert numbers_by_key(receiver.requests)["a"] == [0, 1]


def test_a_dead_head_is_skipped(receiver: Receiver, start_relay: StartRelay) -> None:
    """By default those behind a dead delivery go on, in their order."""
    receiver.script(400)
    relay = start_relay(config(receiver.url, order="body.key", retry="{give_up_on: [400]}"))
    for number in range(4):
        post(relay, "a", number)
    receiver.wait(4)
    assert numbers_by_key(receiver.requests)["a"] == [0, 1, 2, 3]
    assert len(relay.wait_log("delivery.dead")) == 1


def test_an_event_without_a_key_goes_unordered(receiver: Receiver, start_relay: StartRelay) -> None:
    """Where the key is missing or null the event is delivered all the same, and the log says so."""
    relay = start_relay(config(receiver.url))
    relay.post("in", "{}")
    relay.post("in", '{"key": null}')
    receiver.wait(2)
    errors = relay.wait_log("route.error", 2)
    assert all("order key" in line["error"] for line in errors)
