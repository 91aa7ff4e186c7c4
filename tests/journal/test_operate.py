"""Retry, replay and purge, and what the ledger says of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from relay.journal import Entry, Journal, Purged, Reader
from relay.model import DeliveryState, EventState
from tests.journal.making import (
    NOW,
    StillClock,
    make_delivery,
    make_entry,
    make_event,
    make_settlement,
    replayed,
)

DAY = 86_400.0


@dataclass(frozen=True)
class Keep:
    """The default retention."""

    delivered: float = 7 * DAY
    filtered: float = 7 * DAY
    dead: float = 30 * DAY
    max_size: int | None = None


async def end(journal: Journal, *states: DeliveryState) -> Entry:
    """An event with one delivery for each state, in that state."""
    entry = make_entry(*(f"to-{index}" for index in range(len(states))), owner=journal.node)
    await journal.append(entry)
    for delivery, state in zip(entry.deliveries, states, strict=True):
        if state is not DeliveryState.PENDING:
            await journal.settle(make_settlement(delivery, state))
    return entry


async def test_retry_makes_the_dead_and_the_waiting_due_now(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """Counted and aged anew, numbered on; what was delivered or is in flight is left alone."""
    dead = await end(journal, DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING)
    waiting = make_entry("to-0", owner=journal.node)
    await journal.append(waiting)
    later = make_settlement(waiting.deliveries[0], DeliveryState.PENDING, due_at=NOW + 99)
    await journal.settle(later)
    clock.at += 10
    assert await journal.retry([one.id for one in dead.deliveries + waiting.deliveries]) == 2
    assert journal.backlogs() == {"to-0": 2, "to-1": 0, "to-2": 1}
    claims = await journal.claim("to-0", 9)
    assert [claim.delivery.attempts for claim in claims] == [2, 2]
    assert [claim.delivery.finished for claim in claims] == [0, 0]
    assert [claim.delivery.age_from for claim in claims] == [NOW + 10] * 2
    assert reader.ledger().balanced


async def test_retry_ages_anew_what_is_due_already(journal: Journal, clock: StillClock) -> None:
    """One that is due keeps its place in the line, and its age begins again."""
    entry = make_entry("to-0")
    await journal.append(entry)
    clock.at += 10
    assert await journal.retry([entry.deliveries[0].id]) == 1
    (claim,) = await journal.claim("to-0", 9)
    assert (claim.delivery.age_from, claim.delivery.due_at) == (NOW + 10, entry.deliveries[0].due_at)


async def test_replay_adds_deliveries_under_the_same_key(journal: Journal, reader: Reader) -> None:
    """Or under a new one if asked; they count as replayed."""
    entry = await end(journal, DeliveryState.DELIVERED)
    original = entry.deliveries[0]
    plans = [replayed(original, now=NOW), replayed(original, now=NOW, new_key=True)]
    gone = replace(replayed(original, now=NOW), event_id="evt_gone")
    assert await journal.replay([*plans, gone]) == 2
    keys = [one.key for one in reader.deliveries_of(entry.event.id)]
    assert keys == [original.key, original.key, plans[1].id]
    (line,) = reader.ledger().deliveries
    assert (line.planned, line.replayed, line.ok) == (1, 2, True)
    assert len(await journal.claim("to-0", 9)) == 2


async def test_a_replay_ages_by_its_destinations_own_time(journal: Journal, clock: StillClock) -> None:
    """Which is behind by all its pauses, whatever the plan says."""
    entry = await end(journal, DeliveryState.DELIVERED)
    await journal.pause("to-0", reason="operator")
    clock.at += 60
    await journal.resume("to-0")
    assert await journal.replay([replayed(entry.deliveries[0], now=clock.at)]) == 1
    (claim,) = await journal.claim("to-0", 1)
    assert (claim.delivery.age_from, claim.delivery.created_at) == (NOW, NOW + 60)


async def test_a_filtered_event_that_is_replayed_moves_to_routed(journal: Journal, reader: Reader) -> None:
    """So the ledger goes on to balance."""
    event = make_event(state=EventState.FILTERED, reason="no_match")
    await journal.append(Entry(event=event))
    assert await journal.replay([make_delivery(event)]) == 1
    (line,) = reader.ledger().events
    assert (line.accepted, line.routed, line.filtered) == (1, 1, 0)


async def test_a_dead_delivery_that_is_cancelled_is_dead_no_more(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """It counts as cancelled, keeps why it was dead, is kept like one, and no redelivery revives it."""
    entry = make_entry("to-0", owner=journal.node, key="same")
    await journal.append(entry)
    await journal.settle(make_settlement(entry.deliveries[0], DeliveryState.DEAD))
    clock.at += 10
    assert await journal.cancel([entry.deliveries[0].id]) == 1
    assert await journal.cancel([entry.deliveries[0].id]) == 0
    (line,) = reader.ledger().deliveries
    assert (line.planned, line.dead, line.cancelled, line.ok) == (1, 0, 1, True)
    assert reader.status().destinations[0].dead == 0
    assert journal.backlogs() == {"to-0": 0}
    (found,) = reader.deliveries_of(entry.event.id)
    assert (found.reason, found.status, found.finished_at) == ("max_attempts", 500, NOW + 10)
    receipt = await journal.append(make_entry("to-0", key="same"))
    assert (receipt.kind, receipt.revived) == ("duplicate", ())
    assert (await journal.purge(Keep(), clock.at + 7 * DAY)).events == 0
    assert (await journal.purge(Keep(), clock.at + 7 * DAY + 1)).events == 1
    assert reader.ledger().balanced


async def test_purge_takes_what_all_rules_allow_and_counts_it(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """Delivered after 7 days, dead after 30; an event with something pending stays whole."""
    delivered = await end(journal, DeliveryState.DELIVERED)
    mixed = await end(journal, DeliveryState.DELIVERED, DeliveryState.DEAD)
    pending = await end(journal, DeliveryState.DELIVERED, DeliveryState.PENDING)
    filtered = make_event(state=EventState.FILTERED, reason="no_match")
    failed = make_event(state=EventState.FILTERED, reason="route_error")
    for event in (filtered, failed):
        await journal.append(Entry(event=event))
    await journal.append(make_entry(key="one"))
    assert await journal.purge(Keep(), clock.at + 7 * DAY) == Purged()
    clock.at += 7 * DAY + 1
    purged = await journal.purge(Keep())
    assert (purged.events, purged.deliveries, purged.dedup) == (2, 1, 1)
    assert reader.event(delivered.event.id) is reader.event(filtered.id) is None
    assert reader.attempts_of(delivered.deliveries[0].id) == []
    purged = await journal.purge(Keep(), clock.at + 23 * DAY)
    assert (purged.events, purged.deliveries) == (2, 2)
    assert reader.event(mixed.event.id) is reader.event(failed.id) is None
    assert len(reader.deliveries_of(pending.event.id)) == 2
    assert reader.ledger().balanced
    assert reader.ledger().events[0].accepted == 6


async def test_purge_goes_on_past_a_batch_that_must_stay(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """More than a batch of events that are not finished do not hide those behind them."""
    for _ in range(51):
        event = make_event()
        owned = [make_delivery(event, "one", owner=journal.node) for _ in range(10)]
        await journal.append(Entry(event=event, deliveries=(*owned, make_delivery(event, "two"))))
        for delivery in owned:
            await journal.settle(make_settlement(delivery))
    last = await end(journal, DeliveryState.DELIVERED)
    clock.at += 8 * DAY
    purged = await journal.purge(Keep())
    assert (purged.events, purged.deliveries) == (1, 1)
    assert reader.event(last.event.id) is None


async def test_a_journal_over_its_size_lets_go_early(journal: Journal, reader: Reader) -> None:
    """What was delivered or filtered goes, the oldest first; pending and dead stay."""
    await end(journal, DeliveryState.DELIVERED)
    kept = [await end(journal, state) for state in (DeliveryState.PENDING, DeliveryState.DEAD)]
    assert (await journal.purge(Keep(max_size=10**9), NOW + 1)).events == 0
    assert (await journal.purge(Keep(max_size=1), NOW + 1)).events == 1
    assert len(reader.events()) == len(kept)
    assert reader.ledger().balanced


async def test_a_purged_event_is_still_a_duplicate_in_its_window(journal: Journal, clock: StillClock) -> None:
    """The key outlives the row; nothing is revived."""
    entry = make_entry("billing", owner=journal.node, key="long")
    assert entry.dedup is not None
    entry = replace(entry, dedup=replace(entry.dedup, expires_at=NOW + 90 * DAY))
    await journal.append(entry)
    await journal.settle(make_settlement(entry.deliveries[0]))
    clock.at += 8 * DAY
    assert (await journal.purge(Keep())).events == 1
    receipt = await journal.append(make_entry("billing", key="long"))
    assert (receipt.kind, receipt.event_id, receipt.revived) == ("duplicate", entry.event.id, ())
