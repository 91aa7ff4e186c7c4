"""A hundred thousand deliveries wait for a destination that is down: what that costs, on either engine."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.clock import Clock
from relay.journal import Entry, Journal, schema
from tests.journal.making import by_hand, make_delivery, make_event
from tests.support import Receiver, RelayProcess, free_port
from tests.support.databases import Databases

StartRelay = Callable[..., RelayProcess]

PENDING = 100_000
MEMORY = 150 * 2**20
LOG = 256 * 2**20
CLAIM = 0.020
"""Seconds; the middle of many, which a slow machine does not reach either."""

POSTS = 150


@contextmanager
def _journals(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The URLs of two journals with nothing in them."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'full.db'}", f"sqlite:///{folder / 'empty.db'}"
        return
    databases: Databases = request.getfixturevalue("databases")
    with databases.one() as full, databases.one() as empty:
        yield full, empty


async def _append_one(url: str) -> None:
    clock = Clock()
    journal = Journal.open(url, clock=clock)
    now = clock.now()
    event = make_event("in", received_at=now, body=b'{"n": "' + b"x" * 1000 + b'"}')
    try:
        await journal.append(Entry(event=event, deliveries=(make_delivery(event, "dead", due_at=now),)))
    finally:
        journal.close()


def _copy(table: str, columns: Sequence[str], numbers: str, **changed: str) -> str:
    values = ", ".join(changed.get(name, name) for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, {numbers}"


def _fill(url: str) -> None:
    """Append one event for the dead destination, and copy it past the journal; due over ten seconds."""
    asyncio.run(_append_one(url))
    more = PENDING - 1
    if url.startswith("sqlite"):
        count = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {more})"
        numbers, after = f"({count} SELECT i FROM n)", "PRAGMA wal_checkpoint(TRUNCATE)"
    else:
        numbers, after = f"generate_series(1, {more}) AS n(i)", "ANALYZE"
    events = [column.name for column in schema.event.columns if column.name != "seq"]
    deliveries = [column.name for column in schema.delivery.columns if column.name != "seq"]
    event_id, delivery_id = "'evt_' || (1000000000 + i)", "'dlv_' || (1000000000 + i)"
    with by_hand(url) as connection:
        connection.execute(_copy("event", events, numbers, id=event_id))
        connection.execute(
            _copy(
                "delivery",
                deliveries,
                numbers,
                id=delivery_id,
                key=delivery_id,
                event_id=event_id,
                due_at="due_at + (i % 100) / 10.0",
            )
        )
        connection.execute(
            f"UPDATE ledger SET value = value + {more} WHERE counter IN ('accepted', 'planned')"
        )
        connection.execute(after)


async def _claims(url: str) -> list[float]:
    """How many seconds each of a hundred claims takes; what they take is given back."""
    journal = Journal.open(url, clock=Clock(), node=uuid.uuid4().hex)
    seconds = []
    try:
        for _ in range(100):
            began = time.perf_counter()
            assert len(await journal.claim("dead", 16)) == 16
            seconds.append(time.perf_counter() - began)
    finally:
        journal.close()
    return seconds


def _post_to(nodes: Sequence[RelayProcess]) -> list[list[float]]:
    """Seconds until each of these nodes acknowledges, in turns, so that all meet the same noise."""
    seconds: list[list[float]] = [[] for _ in nodes]
    for number in range(POSTS):
        for node, taken in zip(nodes, seconds, strict=True):
            began = time.perf_counter()
            assert node.post("well", str(number)).status == 202
            taken.append(time.perf_counter() - began)
    return seconds


def _shown(seconds: Sequence[float]) -> str:
    p99 = sorted(seconds)[int(len(seconds) * 0.99)]
    return f"p50 {statistics.median(seconds) * 1e3:.1f} p99 {p99 * 1e3:.1f} ms"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_hundred_thousand_pending_cost_little(
    kind: str, tmp_path: Path, receiver: Receiver, start_relay: StartRelay, request: pytest.FixtureRequest
) -> None:
    """Memory stays under 150 MiB, the start, a claim and an ack take no longer, and others are served."""
    config = f"""
sources: {{in: {{verify: none}}, well: {{verify: none}}}}
destinations:
  dead:
    url: "http://127.0.0.1:{free_port()}/"
    retry: {{first_wait: 1s, factor: 1}}
    breaker: null
    limits: {{rate: 30/s}}
  alive: {{url: "{receiver.url}/"}}
routes:
  - {{source: in, to: dead}}
  - {{source: well, to: alive}}
"""
    with _journals(kind, tmp_path, request) as (full, empty):
        _fill(full)
        claims = asyncio.run(_claims(full))
        nodes = [start_relay(config, journal=url) for url in (full, empty)]
        acks, acks_empty = _post_to(nodes)
        assert len(receiver.wait(2 * POSTS)) == 2 * POSTS
        node = nodes[0]
        node.wait_log("attempt.finished", 200, destination="dead", timeout=60)
        assert "relay_" in node.get("/metrics", admin=True).body.decode()
        node.cli("deliveries", "--state", "pending")
        assert node.cli("ledger", "--json").json()["balanced"] is True
        log = tmp_path / "full.db-wal"
        log_size = log.stat().st_size if log.exists() else 0
        (ready,) = node.log("service.ready")
        print(  # noqa: T201 - the figures of the experiment
            f"{kind}, {PENDING} pending: {node.rss / 2**20:.0f} MiB, ready in {ready['duration_ms']:.0f} ms,"
            f" ack {_shown(acks)} against {_shown(acks_empty)} empty, claim {_shown(claims)},"
            f" WAL {log_size / 2**20:.0f} MiB"
        )
        assert node.rss < MEMORY
        assert ready["duration_ms"] < 5_000
        assert statistics.median(claims) < CLAIM
        assert statistics.median(acks) < 2 * statistics.median(acks_empty)
        assert log_size < LOG
