"""The database goes away under load, and comes back: nobody waits for ever, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from tests.support import Receiver, RelayProcess, Reply, eventually, start_together
from tests.support.databases import Databases, Server
from tests.support.experiment import Recorder
from tests.support.length import Length
from tests.support.links import Link, linked
from tests.support.load import Answer, Load, again, lost, name_of, out_of_order

StartRelay = Callable[..., RelayProcess]

LEASE = 30.0
BACK_LATER = 15.0
NOTICED = 8.0
"""Seconds after which a node takes a database that says nothing for away."""


def _config(receiver: Receiver) -> str:
    return f"""
sources: {{in: {{verify: none, dedup: {{key: body.name, window: 24h}}}}}}
destinations:
  laned: {{url: "{receiver.url}/laned", order: {{key: body.lane}}, retry: {{first_wait: 500ms, factor: 1}}}}
  plain: {{url: "{receiver.url}/plain", retry: {{first_wait: 500ms, factor: 1}}}}
routes: [{{source: in, to: [laned, plain]}}]
"""


def _check(load: Load, receiver: Receiver, node: RelayProcess, experiment: Recorder, done: str) -> None:
    """All that was acknowledged comes, each lane in its order, and the books balance with nothing left."""
    for path in ("/laned", "/plain"):

        def came(path: str = path) -> bool:
            return not lost(load.taken, [one for one in receiver.requests if one.path == path])

        eventually(came, timeout=60)
    eventually(lambda: node.cli("ledger", "--json").json()["waiting"] == {}, timeout=40)
    ledger = node.cli("ledger", "--json").json()
    experiment.note(done, ledger, acknowledged=len(load.taken), lost=0, duplicates=again(receiver.requests))
    assert ledger["balanced"]
    laned = [one for one in receiver.requests if one.path == "/laned"]
    assert out_of_order(laned) == []
    assert len({name_of(one) for one in laned}) == len(laned) - again(laned), "an event is there once"


def _refusals(answers: Sequence[Answer]) -> list[Answer]:
    return [one for one in answers if one.status != 202]


def test_a_server_that_is_restarted_takes_events_again_at_once(
    receiver: Receiver, start_relay: StartRelay, own_server: Server, experiment: Recorder
) -> None:
    """After a crash of the server and its recovery events are taken in less than 10 s, and all that were."""
    node = start_relay(_config(receiver), journal=own_server.journal())
    with Load([node.url]) as load:
        eventually(lambda: len(load.taken) > 100)
        own_server.restart()
        back_at = time.time()
        taken = eventually(
            lambda: [one for one in load.answers if one.status == 202 and one.at > back_at], timeout=30
        )
        resumed_after = taken[0].at + taken[0].seconds - back_at
        at_least = len(load.taken) + 100
        eventually(lambda: len(load.taken) > at_least)
    assert node.wait_log("journal.unavailable")
    assert {one.status for one in load.answers} <= {202, 503}
    done = f"the server killed; events taken again {resumed_after:.1f} s after it was back"
    _check(load, receiver, node, experiment, done)


def _lose_an_answer_to_a_commit(link: Link) -> None:
    """Begin the outage in the middle of one: the server has committed, and nobody hears it."""
    before = link.lost
    link.lose_ends = True
    eventually(lambda: link.lost > before)


@pytest.mark.timeout(240)
def test_a_database_that_is_away_for_all_nodes_at_once_is_no_mass_rescue(
    receiver: Receiver, start_relay: StartRelay, databases: Databases, length: Length, experiment: Recorder
) -> None:
    """Senders hear 503 meanwhile; who is back first does not take the other for dead."""
    receiver.answer(Reply(delay=0.05))
    with databases.one() as url, linked(url) as (link, by_link), linked(url) as (later, by_later):
        nodes = [
            start_relay(_config(receiver), start=False, journal=at, env=length.env)
            for at in (by_link, by_later)
        ]
        start_together(nodes)
        with Load([node.url for node in nodes], lanes=8, pause=0.2, timeout=20) as load:
            eventually(lambda: len(load.taken) > 50)
            receiver.answer(Reply(delay=2.0))
            time.sleep(1.0)
            _lose_an_answer_to_a_commit(link)
            link.silent = later.silent = True
            in_flight = len(receiver.requests) - sum(len(node.log("attempt.finished")) for node in nodes)
            receiver.answer(Reply())
            # Longer shows the same: what a node believes of the others after a lease has passed.
            time.sleep(length.seconds(LEASE) + NOTICED)
            link.silent = link.lose_ends = False
            time.sleep(length.seconds(BACK_LATER))  # the first one looks for the dead meanwhile
            later.silent = False
            taken = len(load.taken)
            eventually(lambda: len(load.taken) > taken + 50, timeout=60)
        answers = load.answers
        assert {one.status for one in answers} == {202, 503}
        slowest = max(one.seconds for one in _refusals(answers))
        refused = f"{len(_refusals(answers))} refused in {slowest:.1f} s at most"
        done = f"away for all nodes; {refused}, {in_flight} in flight"
        _check(load, receiver, nodes[0], experiment, done)
        rescued = [line for node in nodes for line in node.log("delivery.rescued")]
        assert [line for line in rescued if line["owners_lost"]] == []
        assert again(receiver.requests) <= in_flight
        assert all(node.running for node in nodes)
