"""Values for tests of the journal, and a clock that stands still until it is set."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from relay.journal import Entry, Journal, Settlement
from relay.lease_times import TIMES, Times
from relay.model import Attempt, Dedup, Delivery, DeliveryState, Event, Outcome
from relay.process.clock import Clock

NOW = 1_700_000_000.0


class StillClock(Clock):
    """A clock that goes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.at = NOW

    def now(self) -> float:
        """The moment that was set."""
        return self.at


@dataclass(frozen=True)
class Fresh:
    """Gives the URL of one new journal after the other; `examples`: how many a test may well ask for."""

    one: Callable[[], AbstractContextManager[str]]
    examples: int


@dataclass
class Told:
    """Hooks that remember what they were told."""

    troubles: list[str] = field(default_factory=list)
    recoveries: int = 0
    kept: list[tuple[str, int]] = field(default_factory=list)
    caught_up_times: int = 0
    batches: list[int] = field(default_factory=list)
    bugs: list[BaseException] = field(default_factory=list)
    rewinds: list[tuple[str | None, int | None, float | None]] = field(default_factory=list)

    def unavailable(self, error: str) -> None:
        """Remember it."""
        self.troubles.append(error)

    def recovered(self) -> None:
        """Remember it."""
        self.recoveries += 1

    def kept_back(self, error: str, number: int) -> None:
        """Remember it."""
        self.kept.append((error, number))

    def caught_up(self) -> None:
        """Remember it."""
        self.caught_up_times += 1

    def committed(self, size: int, seconds: float) -> None:
        """Remember how many jobs."""
        self.batches.append(size)

    def rewound(self, *, loss: str | None, events: int | None, since: float | None) -> None:
        """Remember it."""
        self.rewinds.append((loss, events, since))

    def internal_error(self, *, where: str, error: BaseException, delivery_id: str | None) -> None:
        """Remember it."""
        self.bugs.append(error)


QUICK = replace(TIMES, tick=0.1)
"""A writer that looks ten times a second whether what was in its way is gone."""


@contextlib.contextmanager
def opened(
    url: str,
    *,
    clock: Clock | None = None,
    hooks: Told | None = None,
    create: bool = True,
    serving: bool = True,
    died: Callable[[], None] | None = None,
    append_timeout: float = 4.0,
    times: Times = TIMES,
) -> Iterator[Journal]:
    """A journal that is closed at the end."""
    journal = Journal.open(
        url,
        clock=clock or StillClock(),
        node=uuid.uuid4().hex if serving else None,
        create=create,
        hooks=hooks,
        died=died,
        append_timeout=append_timeout,
        times=times,
    )
    try:
        yield journal
    finally:
        journal.close()


def make_event(source: str = "github", **changes: object) -> Event:
    """An event as ingest makes it."""
    values: dict[str, object] = {
        "id": f"evt_{uuid.uuid4().hex}",
        "source": source,
        "type": "push",
        "provider_id": None,
        "received_at": NOW,
        "method": "POST",
        "path": f"/hooks/{source}",
        "query": b"",
        "headers": ((b"content-type", b"application/json"),),
        "body": b"{}",
        "remote": "127.0.0.1",
    }
    return Event(**(values | changes))  # type: ignore[arg-type]


def make_delivery(
    event: Event, destination: str = "billing", *, owner: str | None = None, **changes: object
) -> Delivery:
    """A delivery as ingest plans it; with an owner it is born owned."""
    identity = f"dlv_{uuid.uuid4().hex}"
    values: dict[str, object] = {
        "id": identity,
        "event_id": event.id,
        "source": event.source,
        "route": "all",
        "destination": destination,
        "key": identity,
        "created_at": event.received_at,
        "age_from": event.received_at,
        "due_at": event.received_at,
        "owner": owner,
        "fence": 0 if owner is None else 1,
        "attempts": 0 if owner is None else 1,
    }
    return Delivery(**(values | changes))  # type: ignore[arg-type]


def make_entry(
    *destinations: str, owner: str | None = None, key: str | None = None, body_hash: bytes = b"one"
) -> Entry:
    """An event with a delivery to each destination, and a dedup key where one is given."""
    event = make_event()
    dedup = None if key is None else Dedup(key=key, body_hash=body_hash, expires_at=NOW + 3600)
    deliveries = tuple(make_delivery(event, name, owner=owner) for name in destinations)
    return Entry(event=event, deliveries=deliveries, dedup=dedup)


def make_laned(lane: str = "customer", destination: str = "billing", *, hold: bool = False) -> Entry:
    """An event with one delivery that stands in a lane."""
    event = make_event()
    return Entry(event=event, deliveries=(make_delivery(event, destination, lane=lane, hold=hold),))


def make_settlement(
    delivery: Delivery,
    state: DeliveryState = DeliveryState.DELIVERED,
    *,
    due_at: float | None = None,
    **changes: object,
) -> Settlement:
    """The end of the attempt that a delivery is at."""
    delivered = state is DeliveryState.DELIVERED
    values: dict[str, object] = {
        "delivery_id": delivery.id,
        "number": delivery.attempts,
        "started_at": NOW,
        "duration": 0.1,
        "outcome": Outcome.DELIVERED if delivered else Outcome.HTTP_STATUS,
        "node": delivery.owner or "nobody",
        "status": 200 if delivered else 500,
        "response": b"said so",
    }
    return Settlement(
        delivery=delivery,
        attempt=Attempt(**(values | changes)),  # type: ignore[arg-type]
        state=state,
        due_at=due_at,
        finished=delivery.finished + 1,
        reason="max_attempts" if state is DeliveryState.DEAD else None,
    )


def only(engine: str, why: str) -> pytest.MarkDecorator:
    """A mark of tests that are about one engine alone, and why."""
    return pytest.mark.parametrize("engine", [engine], indirect=True)


def path_of(url: str) -> Path:
    """The file of an SQLite journal."""
    return Path(url.removeprefix("sqlite:///"))


@contextlib.contextmanager
def by_hand(url: str) -> Iterator[Any]:
    """A driver's connection past the journal, to do to it what must not be done; nothing is put together."""
    connection: Any
    if url.startswith("sqlite"):
        connection = sqlite3.connect(path_of(url), isolation_level=None)
    else:
        connection = psycopg.connect(url, autocommit=True)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Let somebody else hold the lock that every write needs; it can be read."""
    with by_hand(url) as other:
        if url.startswith("sqlite"):
            other.execute("BEGIN IMMEDIATE")
        else:
            other.execute("BEGIN")
            other.execute("LOCK TABLE event, delivery, ledger, meta, destination IN SHARE MODE")
        yield
        other.execute("ROLLBACK")


def replayed(original: Delivery, *, now: float, new_key: bool = False) -> Delivery:
    """A new delivery of the same event as a replay plans it, under the same key unless `new_key`."""
    identity = f"dlv_{uuid.uuid4().hex}"
    return Delivery(
        id=identity,
        event_id=original.event_id,
        source=original.source,
        route=original.route,
        destination=original.destination,
        key=identity if new_key else original.key,
        created_at=now,
        age_from=now,
        due_at=now,
        transform=original.transform,
    )
