"""Four nodes on one PostgreSQL under load: one is killed, one frozen, one cut off, one goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from tests.support import Received, Receiver, RelayProcess, Reply, eventually, start_together
from tests.support.databases import Databases
from tests.support.experiment import Recorder
from tests.support.length import Length
from tests.support.links import Link, linked
from tests.support.load import Load, again, lost, out_of_order

StartRelay = Callable[..., RelayProcess]

RESCUED_WITHIN = 60.0
TWO_LEASES = 60.0
ATTEMPT = Reply(delay=0.1)
LAST = '{"name": "last", "lane": 99, "n": 0}'
LONG_ATTEMPT = Reply(delay=3.0)


def _config(receiver: Receiver) -> str:
    """Two deliveries an event: one in the sender's lane, one that is born owned.

    A sender that hears nothing from a node sends again, by another: the dedup key tells that it is the same.
    """
    return f"""
sources: {{in: {{verify: none, dedup: {{key: body.name, window: 24h}}}}}}
destinations:
  laned: {{url: "{receiver.url}/laned", order: {{key: body.lane}}, retry: {{first_wait: 500ms, factor: 1}}}}
  plain: {{url: "{receiver.url}/plain", retry: {{first_wait: 500ms, factor: 1}}}}
routes: [{{source: in, to: [laned, plain]}}]
"""


def _id(node: RelayProcess) -> str:
    return str(node.wait_log("service.ready")[-1]["node"])


def _owned(url: str, nodes: list[str]) -> dict[str, int]:
    """How many deliveries each of these nodes owns, less those that own none."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT owner, count(*) FROM delivery WHERE owner = ANY(%s) GROUP BY owner", [nodes]
        )
        return dict(rows.fetchall())


def _strike(receiver: Receiver, killed: RelayProcess, frozen: RelayProcess, link: Link) -> float:
    """Do it in the middle of long attempts; when that was, by the monotonic clock."""
    receiver.answer(LONG_ATTEMPT)
    time.sleep(1.5)
    killed.kill9()
    frozen.signal(signal.SIGSTOP)
    link.silent = True
    struck_at = time.monotonic()
    receiver.answer(ATTEMPT)
    return struck_at


def _at(receiver: Receiver, path: str) -> list[Received]:
    return [one for one in receiver.requests if one.path == path]


def _has_all(receiver: Receiver, load: Load, path: str) -> bool:
    return not lost(load.taken, _at(receiver, path))


def _takes(node: RelayProcess) -> bool:
    return node.post("in", LAST).status == 202


@pytest.mark.timeout(240)
def test_a_node_killed_one_frozen_and_one_cut_off_lose_nothing(
    receiver: Receiver, start_relay: StartRelay, databases: Databases, length: Length, experiment: Recorder
) -> None:
    """What they held is rescued within 60 s, lanes keep their order, and late outcomes are fenced off."""
    receiver.answer(ATTEMPT)
    config = _config(receiver)
    with databases.one() as url, linked(url) as (link, by_link):
        nodes = [
            start_relay(config, start=False, journal=at, env=length.env) for at in (url, url, url, by_link)
        ]
        stays, killed, frozen, cut_off = start_together(nodes)
        struck = [_id(node) for node in (killed, frozen, cut_off)]
        with Load([node.url for node in nodes], lanes=9, pause=0.6) as load:
            time.sleep(3)
            struck_at = _strike(receiver, killed, frozen, link)
            held = _owned(url, struck)
            assert set(held) == set(struck), "each held something, or this proves nothing"
            eventually(lambda: not _owned(url, struck), timeout=RESCUED_WITHIN)
            rescued_after = time.monotonic() - struck_at
            time.sleep(max(0.0, struck_at + length.seconds(TWO_LEASES) + 1 - time.monotonic()))
            frozen.signal(signal.SIGCONT)
            link.silent = False
            for node in (frozen, cut_off):
                node.wait_log("delivery.fenced", timeout=30)
                eventually(partial(_takes, node))
        for path in ("/laned", "/plain"):
            eventually(partial(_has_all, receiver, load, path), timeout=60)
        eventually(lambda: stays.cli("ledger", "--json").json()["waiting"] == {}, timeout=30)
        ledger = stays.cli("ledger", "--json").json()
        assert ledger["balanced"]
        requests = receiver.requests
        experiment.note(
            f"of 4 nodes one killed, one frozen, one cut off; {sum(held.values())} held, rescued after"
            f" {rescued_after:.0f} s",
            ledger,
            acknowledged=len(load.taken),
            lost=sum(len(lost(load.taken, _at(receiver, path))) for path in ("/laned", "/plain")),
            duplicates=again(requests),
        )
        assert out_of_order(_at(receiver, "/laned")) == []
        assert again(requests) <= sum(held.values())
