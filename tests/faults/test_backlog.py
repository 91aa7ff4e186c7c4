"""A hundred thousand deliveries wait for a destination that is down: what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.clock import Clock
from relay.journal import Entry, Journal
from relay.model import Delivery, Event
from tests.support import Receiver, RelayProcess, free_port

StartRelay = Callable[..., RelayProcess]

PENDING = 100_000
MEMORY = 150 * 1024 * 1024


def _entry(number: int, now: float) -> Entry:
    """An event of 1 KiB whose delivery was tried and is due again about now."""
    event = Event(
        id=f"evt_{number:032x}",
        source="in",
        type=None,
        provider_id=None,
        received_at=now,
        method="POST",
        path="/in",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=b'{"n": "' + b"x" * 1000 + b'"}',
        remote=None,
    )
    delivery = Delivery(
        id=f"dlv_{number:032x}",
        event_id=event.id,
        source="in",
        route="in-to-dead",
        destination="dead",
        key=f"dlv_{number:032x}",
        created_at=now,
        age_from=now,
        due_at=now + (number % 100) / 10,
    )
    return Entry(event=event, deliveries=(delivery,))


async def _fill(url: str) -> None:
    clock = Clock()
    journal = Journal.open(url, clock=clock, append_timeout=60)
    try:
        for start in range(0, PENDING, 2_000):
            now = clock.now()
            await asyncio.gather(
                *(journal.append(_entry(number, now)) for number in range(start, start + 2_000))
            )
    finally:
        journal.close()


def test_a_hundred_thousand_pending_cost_little_memory(receiver: Receiver, start_relay: StartRelay) -> None:
    """With 100,000 due for a dead destination, memory stays under 150 MB and another gets its events."""
    relay = start_relay(
        f"""
sources: {{in: {{verify: none}}, well: {{verify: none}}}}
destinations:
  dead: {{url: "http://127.0.0.1:{free_port()}/", retry: {{first_wait: 1s, factor: 1}}, breaker: null}}
  alive: {{url: "{receiver.url}/"}}
routes:
  - {{source: in, to: dead}}
  - {{source: well, to: alive}}
""",
        start=False,
    )
    asyncio.run(_fill(relay.journal))
    relay.start()
    for number in range(50):
        assert relay.post("well", str(number)).status == 202
    assert len(receiver.wait(50)) == 50
    relay.wait_log("attempt.finished", 500, destination="dead")
    assert relay.rss < MEMORY
    (ready,) = relay.log("service.ready")
    print(f"{relay.rss / 2**20:.0f} MiB resident, ready after {ready['duration_ms']} ms")  # noqa: T201
    ledger = relay.cli("ledger", "--json").json()
    assert ledger["balanced"] is True
