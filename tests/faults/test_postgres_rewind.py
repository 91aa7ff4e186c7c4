"""The database is put back to an earlier copy under its nodes: they say so until that is accepted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.journal import Reader
from tests.support import Receiver, RelayProcess, eventually, start_together
from tests.support.databases import Server
from tests.support.load import Load

StartRelay = Callable[..., RelayProcess]


@pytest.fixture
def copy() -> Iterator[Path]:
    """Where a copy of the database is kept."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def taken(node: RelayProcess, more: int) -> int:
    """Have the node take more events, after whatever befell its database; how many were acknowledged."""
    with Load([node.url]) as load:
        eventually(lambda: len(load.taken) > more, timeout=40, describe=node.output)
    return len(load.taken)


@pytest.mark.timeout(240)
def test_acknowledged_events_that_are_gone_are_told_until_somebody_accepts_it(
    receiver: Receiver, start_relay: StartRelay, own_server: Server, copy: Path
) -> None:
    """A plain restart is silent; after a restore the node that lives on says how many are missing."""
    config = f"""
sources: {{in: {{verify: none}}}}
destinations: {{plain: {{url: "{receiver.url}/plain"}}, ops: {{url: "{receiver.url}/ops"}}}}
routes: [{{source: in, to: plain}}]
alerts: [{{about: journal_rewound, to: ops}}]
"""
    journal = own_server.journal()
    lives, dies = nodes = [start_relay(config, start=False, journal=journal) for _ in range(2)]
    start_together(nodes)
    for node in nodes:
        taken(node, 20)
    own_server.copy(copy)
    of_both = {node: taken(node, 0) for node in nodes}
    assert [line for node in nodes for line in node.log("journal.rewound")] == []

    of_both[dies] += taken(dies, 100)
    dies.kill9()
    of_both[lives] += taken(lives, 200)
    own_server.put_back(copy)
    taken(lives, 10)
    (line,) = lives.wait_log("journal.rewound")
    print(f"{of_both.values()} acknowledged events are gone, {line['events_lost']} of them are told of")  # noqa: T201
    assert line["level"] == "error"
    assert of_both[lives] <= line["events_lost"] <= sum(of_both.values())

    alerts = eventually(lambda: [one for one in receiver.requests if one.path == "/ops"], timeout=40)
    alert = json.loads(alerts[0].body)
    assert (alert["kind"], alert["about"]) == ("journal_rewound", line["loss"])
    with Reader.open(journal) as reader:
        assert [loss.events for loss in reader.losses()] == [line["events_lost"]]
        assert reader.ledger().balanced
        lives.cli("journal", "accept-loss", line["loss"], "--yes")
        assert reader.losses() == ()
