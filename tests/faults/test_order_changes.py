"""An order that a reload adds, changes or removes: per key, first arrivals stay in order."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.support import Receiver, RelayProcess, eventually

StartRelay = Callable[..., RelayProcess]

KEYS = ("a", "b", "c")


def config(url: str, order: str) -> str:
    """One source, and one destination whose order is what a reload changes."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations:
  out:
    url: "{url}/"
    retry: {{first_wait: 300ms, factor: 1, jitter: 0}}
    breaker: null
    limits: {{concurrency: 8}}
{order}
routes: [{{source: in, to: out}}]
"""


NONE, BY_KEY, BY_TWIN = "", "    order: body.key", "    order: body.twin"


def post(relay: RelayProcess, numbers: range) -> None:
    """Post events of every key; `twin` is as good a key, with other values."""
    for number in numbers:
        for key in KEYS:
            body = json.dumps({"key": key, "twin": KEYS[KEYS.index(key) - 1], "n": number})
            assert relay.post("in", body).status == 202


def first_arrivals(receiver: Receiver) -> dict[str, list[int]]:
    """Each key's numbers, each where it was first delivered."""
    found: dict[str, list[int]] = defaultdict(list)
    for one in receiver.requests:
        body = json.loads(one.body)
        if body["n"] not in found[body["key"]]:
            found[body["key"]].append(body["n"])
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [(NONE, BY_KEY), (BY_KEY, BY_TWIN), (BY_KEY, NONE)],
    ids=["added", "changed", "removed"],
)
@pytest.mark.parametrize("way", ["reload", "restart"])
def test_what_comes_after_a_change_goes_behind_what_is_pending(
    receiver: Receiver, start_relay: StartRelay, before: str, after: str, way: str
) -> None:
    """With old deliveries in flight and waiting for their retry, no new one overtakes one of its key."""
    receiver.answer(503)
    relay = start_relay(config(receiver.url, before))
    post(relay, range(2))
    eventually(lambda: len(receiver.requests) >= len(KEYS))
    relay.config.write_text(config(receiver.url, after))
    if way == "reload":
        assert "out: `order` has changed" in relay.cli("reload").out
        assert relay.wait_log("order.changed")[0]["pending"] == 2 * len(KEYS)
    else:
        relay.restart()
    old = [json.loads(one.body)["n"] for one in receiver.requests]
    assert set(old) <= {0, 1}
    post(relay, range(2, 4))
    receiver.clear()
    receiver.script(*[503] * 8)
    receiver.answer(200)
    eventually(lambda: sum(map(len, first_arrivals(receiver).values())) == 4 * len(KEYS))
    for numbers in first_arrivals(receiver).values():
        assert not [pair for pair in pairwise(n // 2 for n in numbers) if pair[0] > pair[1]], numbers
