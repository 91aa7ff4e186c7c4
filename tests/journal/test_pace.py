"""How fast destinations take deliveries, and what is under way."""

from __future__ import annotations

import pytest

from relay.journal import Journal, Reader
from relay.journal.reads import delivery_rates
from relay.model import DeliveryState
from tests.journal.making import StillClock, make_entry, make_settlement


async def end(journal: Journal, destination: str, state: DeliveryState = DeliveryState.DELIVERED) -> None:
    """Have one delivery end now."""
    entry = make_entry(destination, owner=journal.node)
    await journal.append(entry)
    await journal.settle(make_settlement(entry.deliveries[0], state))


async def test_a_rate_is_that_of_the_last_minute(journal: Journal, reader: Reader, clock: StillClock) -> None:
    """What was delivered before, or died, does not count; each destination has its own."""
    await end(journal, "billing")
    clock.at += 2 * delivery_rates.SPAN
    for _ in range(3):
        await end(journal, "billing")
    await end(journal, "chat", DeliveryState.DEAD)
    await end(journal, "mail")
    assert reader.delivered_per_second(clock.at) == {"billing": 3 / 60, "mail": 1 / 60}


async def test_a_rate_of_very_many_is_that_of_the_last_seconds(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """Where more ended than are counted, the time is as long as that of those that are."""
    for _ in range(20):
        await end(journal, "billing")
        clock.at += 1
    with reader._view.reading() as connection:
        assert delivery_rates.delivered_per_second(connection, clock.at, most=10) == {
            "billing": pytest.approx(1.0)
        }


async def test_what_is_under_way_is_told(journal: Journal, reader: Reader) -> None:
    """By destination, and none where nothing is."""
    await journal.append(make_entry("billing", "chat", owner=journal.node))
    await journal.append(make_entry("mail"))
    assert reader.in_flight() == {"billing": 1, "chat": 1}
