"""The control of the experiments: the same load, and nothing is done to anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support import Receiver, RelayProcess, eventually, start_together
from tests.support.experiment import Recorder
from tests.support.length import Length
from tests.support.load import Load, again, lost, out_of_order

StartRelay = Callable[..., RelayProcess]


@pytest.fixture(params=["sqlite", "postgresql"])
def journals(request: pytest.FixtureRequest) -> Iterator[list[str | None]]:
    """The journal of each node: one on its own file, or three on a database."""
    if request.param == "sqlite":
        yield [None]
        return
    with request.getfixturevalue("databases").one() as url:
        yield [url] * 3


def test_control(
    receiver: Receiver,
    start_relay: StartRelay,
    journals: list[str | None],
    length: Length,
    experiment: Recorder,
) -> None:
    """Everything comes once, in the order of its lane."""
    config = f"""
sources: {{in: {{verify: none, dedup: {{key: body.name, window: 24h}}}}}}
destinations: {{out: {{url: "{receiver.url}/", order: {{key: body.lane}}}}}}
routes: [{{source: in, to: out}}]
"""
    nodes = [start_relay(config, start=False, journal=journal, env=length.env) for journal in journals]
    start_together(nodes)
    events = length.count(5_000, short=200)
    with Load([node.url for node in nodes], pause=0.01) as load:
        eventually(lambda: len(load.taken) >= events, timeout=240)
    eventually(lambda: not lost(load.taken, receiver.requests), timeout=60)
    eventually(lambda: nodes[0].cli("ledger", "--json").json()["waiting"] == {}, timeout=30)
    ledger, requests = nodes[0].cli("ledger", "--json").json(), receiver.requests
    experiment.note(
        f"nothing, {len(nodes)} nodes",
        ledger,
        acknowledged=len(load.taken),
        lost=len(lost(load.taken, requests)),
        duplicates=again(requests),
    )
    assert ledger["balanced"]
    assert again(requests) == 0
    assert out_of_order(requests) == []
