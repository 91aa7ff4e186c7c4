"""What waits too long is dead in time, though nobody could try it."""

from __future__ import annotations

from dataclasses import replace

from relay.journal import Entry, Journal, Reader
from relay.model import DeliveryState, Outcome
from tests.journal.making import NOW, make_entry, make_laned, make_settlement


def aged(entry: Entry, age_from: float) -> Entry:
    """The same, with its ages begun then."""
    return replace(entry, deliveries=tuple(replace(one, age_from=age_from) for one in entry.deliveries))


async def test_what_is_older_is_dead_as_expired(journal: Journal, reader: Reader) -> None:
    """Of this destination, waiting and not in flight; the oldest first; without an attempt."""
    ages = (NOW - 3, NOW - 5, NOW - 4, NOW)
    entries = [aged(make_entry("billing"), age) for age in ages]
    others = [aged(make_entry("other"), NOW - 9), aged(make_entry("billing", owner=journal.node), NOW - 9)]
    for entry in entries + others:
        await journal.append(entry)
    first = await journal.expire("billing", before=NOW, limit=2)
    assert {one.event_id for one in first} == {entries[1].event.id, entries[2].event.id}
    assert [one.event_id for one in await journal.expire("billing", before=NOW)] == [entries[0].event.id]
    assert await journal.expire("billing", before=NOW) == []
    (dead,) = reader.deliveries_of(entries[0].event.id)
    assert [dead] == [one for one in reader.deliveries() if one.id == dead.id]
    assert (dead.state, dead.outcome, dead.reason, dead.finished_at) == (
        DeliveryState.DEAD,
        Outcome.EXPIRED,
        "expired",
        NOW,
    )
    assert reader.attempts_of(dead.id) == []
    assert journal.backlogs() == {"billing": 2, "other": 1}
    assert reader.ledger().balanced


async def test_what_lacks_its_route_expires_too(journal: Journal) -> None:
    """It has no due time, and an age."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    await journal.release(entry.deliveries, interrupted=False, due_at=None)
    assert len(await journal.expire("billing", before=NOW + 1)) == 1
    assert await journal.wake() == 0


async def test_an_expired_head_lets_the_next_pass(journal: Journal) -> None:
    """One behind it may expire before it, and leaves the lane; with all gone the lane is empty."""
    old = [aged(make_laned(), NOW - 1) for _ in range(2)]
    young = aged(make_laned(), NOW)
    for entry in (*old, young):
        await journal.append(entry)
    assert len(await journal.expire("billing", before=NOW)) == 2
    (claim,) = await journal.claim("billing", 9)
    assert claim.event.id == young.event.id
    await journal.release((claim.delivery,), interrupted=False)
    assert len(await journal.expire("billing", before=NOW + 1)) == 1
    await journal.append(make_laned())
    assert len(await journal.claim("billing", 9)) == 1


async def test_an_expired_head_holds_where_it_must(journal: Journal, reader: Reader) -> None:
    """Those behind it wait for their turn however old they are, until it is cancelled."""
    entries = [aged(make_laned(hold=True), NOW - 1) for _ in range(3)]
    for entry in entries:
        await journal.append(entry)
    (dead,) = await journal.expire("billing", before=NOW)
    assert dead.event_id == entries[0].event.id
    assert await journal.expire("billing", before=NOW) == []
    assert reader.ledger(now=NOW).waiting == {"lane_held": 2}
    await journal.cancel([dead.id])
    (claim,) = await journal.claim("billing", 9)
    await journal.settle(make_settlement(claim.delivery))
    assert [one.event_id for one in await journal.expire("billing", before=NOW)] == [entries[2].event.id]
