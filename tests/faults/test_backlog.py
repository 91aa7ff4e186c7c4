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

from relay.journal import Entry, Journal
from relay.journal.tables import schema
from relay.process.clock import Clock
from tests.journal.making import by_hand, make_delivery, make_event
from tests.support import Receiver, RelayProcess, free_port
from tests.support.databases import Databases
from tests.support.length import Length

StartRelay = Callable[..., RelayProcess]

MEMORY = 150 * 2**20
LOG = 256 * 2**20
FEW = 2_000


@contextmanager
def _journals(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The URLs of two journals with nothing in them."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'full.db'}", f"sqlite:///{folder / 'few.db'}"
        return
    databases: Databases = request.getfixturevalue("databases")
    with databases.one() as full, databases.one() as few:
        yield full, few


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


def _fill(url: str, number: int) -> None:
    """Append one event for the dead destination, and copy it past the journal: all due at one moment.

    So a backlog is at the end of a pause.
    """
    asyncio.run(_append_one(url))
    more = number - 1
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
            )
        )
        connection.execute(
            f"UPDATE ledger SET value = value + {more} WHERE counter IN ('accepted', 'planned')"
        )
        connection.execute(after)


async def _claims(urls: Sequence[str]) -> list[list[float]]:
    """Seconds that each of a hundred claims takes on each journal; what they take is given back."""
    journals = [Journal.open(url, clock=Clock(), node=uuid.uuid4().hex) for url in urls]
    seconds: list[list[float]] = [[] for _ in urls]
    try:
        for _ in range(100):
            for journal, taken in zip(journals, seconds, strict=True):
                began = time.perf_counter()
                assert len(await journal.claim("dead", 16)) == 16
                taken.append(time.perf_counter() - began)
    finally:
        for journal in journals:
            journal.close()
    return seconds


def _post_to(nodes: Sequence[RelayProcess], posts: int) -> list[list[float]]:
    """Seconds until each of these nodes acknowledges, in turns, so that all meet the same noise."""
    seconds: list[list[float]] = [[] for _ in nodes]
    for number in range(posts):
        for node, taken in zip(nodes, seconds, strict=True):
            began = time.perf_counter()
            assert node.post("well", str(number)).status == 202
            taken.append(time.perf_counter() - began)
    return seconds


def _shown(seconds: Sequence[float]) -> str:
    p99 = sorted(seconds)[int(len(seconds) * 0.99)]
    return f"p50 {statistics.median(seconds) * 1e3:.1f} p99 {p99 * 1e3:.1f} ms"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_pending_cost_little(
    kind: str,
    tmp_path: Path,
    receiver: Receiver,
    start_relay: StartRelay,
    request: pytest.FixtureRequest,
    length: Length,
) -> None:
    """Memory and log stay small, others are served, and in full length a claim and an ack take no longer."""
    pending, posts = length.count(100_000, short=20_000), length.count(150, short=20)
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
    with _journals(kind, tmp_path, request) as (full, few):
        _fill(full, pending)
        _fill(few, FEW)
        claims, claims_few = asyncio.run(_claims((full, few)))
        nodes = [start_relay(config, journal=url, true=True) for url in (full, few)]
        acks, acks_few = _post_to(nodes, posts)
        assert len(receiver.wait(2 * posts)) == 2 * posts
        node = nodes[0]
        node.wait_log("attempt.finished", 50, destination="dead", timeout=60)
        assert "relay_" in node.get("/metrics", admin=True).body.decode()
        node.cli("deliveries", "--state", "pending")
        assert node.cli("ledger", "--json").json()["balanced"] is True
        log = tmp_path / "full.db-wal"
        log_size = log.stat().st_size if log.exists() else 0
        (ready,) = node.log("service.ready")
        print(  # noqa: T201 - the figures of the experiment
            f"{kind}, {pending} pending: {node.rss / 2**20:.0f} MiB, ready in {ready['duration_ms']:.0f} ms,"
            f" ack {_shown(acks)} against {_shown(acks_few)} of {FEW}, claim {_shown(claims)} against"
            f" {_shown(claims_few)},"
            f" WAL {log_size / 2**20:.0f} MiB"
        )
        assert node.rss < MEMORY
        assert log_size < LOG
        if length.full:  # figures of this run alone, side by side
            assert statistics.median(claims) < 3 * statistics.median(claims_few)
            assert statistics.median(acks) < 3 * statistics.median(acks_few)
