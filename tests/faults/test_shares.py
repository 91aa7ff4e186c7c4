"""Limits of a destination over three nodes, of which one is frozen, one killed, and one comes anew."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable

import pytest

from tests.support import Receiver, RelayProcess, Reply, eventually, start_together
from tests.support.databases import Databases
from tests.support.experiment import Recorder
from tests.support.length import Length
from tests.support.load import Load, again, lost

StartRelay = Callable[..., RelayProcess]

ATTEMPT = 0.1
RATE = 4
SHARES_CHANGE = 30.0
"""Seconds until the others have divided the limits without a node that is gone."""


def _config(receiver: Receiver) -> str:
    return f"""
sources: {{in: {{verify: none, dedup: {{key: body.name, window: 24h}}}}}}
destinations:
  alone: {{url: "{receiver.url}/alone", limits: {{concurrency: 1}}, retry: {{first_wait: 1s}}}}
  slow: {{url: "{receiver.url}/slow", limits: {{rate: {RATE}/s}}, retry: {{first_wait: 1s}}}}
routes: [{{source: in, to: [alone, slow]}}]
"""


def _arrivals(receiver: Receiver, path: str) -> list[float]:
    return [one.at for one in receiver.requests if one.path == path]


def _is_all_there(receiver: Receiver, load: Load) -> bool:
    requests = receiver.requests
    return not any(
        lost(load.taken, [one for one in requests if one.path == path]) for path in ("/alone", "/slow")
    )


def _most_within(seconds: float, arrivals: list[float]) -> int:
    """How many came within any span of so many seconds."""
    most = first = 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.timeout(240)
def test_limits_hold_while_nodes_freeze_die_and_come(
    receiver: Receiver, start_relay: StartRelay, databases: Databases, length: Length, experiment: Recorder
) -> None:
    """One request at a time where the concurrency is 1; a rate is passed by no more than one node's share."""
    receiver.answer(Reply(delay=ATTEMPT))
    config = _config(receiver)
    with databases.one() as url:
        nodes = start_together(
            [start_relay(config, start=False, journal=url, env=length.env) for _ in range(3)]
        )
        _, frozen, killed = nodes
        with Load([node.url for node in nodes], lanes=2, pause=0.45, timeout=3.0) as load:
            time.sleep(length.seconds(12))
            frozen.signal(signal.SIGSTOP)
            time.sleep(length.seconds(4))
            killed.kill9()
            time.sleep(length.seconds(SHARES_CHANGE) + 2)
            frozen.signal(signal.SIGCONT)
            killed.start()
            time.sleep(length.seconds(5) + 1)
        eventually(lambda: _is_all_there(receiver, load), timeout=90)
        alone, slow = _arrivals(receiver, "/alone"), _arrivals(receiver, "/slow")
        gaps = [after - before for before, after in itertools.pairwise(alone)]
        experiment.note(
            f"one of 3 nodes frozen, one killed; smallest gap {min(gaps):.3f} s, at most"
            f" {_most_within(5, slow)} in 5 s",
            nodes[0].cli("ledger", "--json").json(),
            acknowledged=len(load.taken),
            lost=0,
            duplicates=again(receiver.requests),
        )
        assert min(gaps) >= ATTEMPT, "each began after the one before it had its answer"
        # Each node has a burst of one after a quiet time, and a newcomer its part before others gave it up.
        assert _most_within(5, slow) <= 5 * (RATE + RATE / 2) + len(nodes)
