"""Storing events: all or nothing, once by a key, and never owned by nobody's memory."""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import replace

import pytest

from relay.errors import JournalUnavailable, RowRefused
from relay.journal import Entry, Journal, Reader, Settled
from relay.journal.writer.jobs import Job
from relay.model import Dedup, DeliveryState, EventState, Rendered, indexed
from tests.journal.making import (
    NOW,
    StillClock,
    Told,
    locked,
    make_delivery,
    make_entry,
    make_event,
    make_settlement,
    opened,
)

NASTY = "\ud800 \x00 \u2028 é"


async def test_an_event_comes_back_as_it_was_stored(journal: Journal, reader: Reader) -> None:
    """Bytes, repeated and empty headers, NUL and lone surrogates survive."""
    event = make_event(
        type=NASTY,
        provider_id=NASTY,
        path=f"/hooks/{NASTY}",
        query=b"a=\xff&a",
        headers=((b"x", b"\r\n\x00"), (b"x", b""), (b"", b"\xff")),
        body=bytes(range(256)),
    )
    delivery = make_delivery(event, error=NASTY, rendered=Rendered(headers=((b"a", b"b"),), body=b"\x00"))
    await journal.append(Entry(event=event, deliveries=(delivery,)))
    found = reader.event(event.id)
    assert found is not None
    assert replace(found, seq=None) == event
    assert reader.deliveries_of(event.id) == [delivery]
    assert reader.find_event(NASTY) == reader.find_event(delivery.id) == [event.id]


async def test_events_get_their_order_from_the_journal(journal: Journal, reader: Reader) -> None:
    """`seq` grows from one append to the next."""
    entries = [make_entry("billing") for _ in range(3)]
    for entry in entries:
        await journal.append(entry)
    numbers = [event.seq for entry in entries if (event := reader.event(entry.event.id))]
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    assert len(set(numbers)) == 3


async def test_a_hundred_senders_of_one_key_make_one_event(journal: Journal, reader: Reader) -> None:
    """Also inside one batch, the first wins and all others hear its id."""
    entries = [make_entry("billing", key="same") for _ in range(100)]
    receipts = await asyncio.gather(*(journal.append(entry) for entry in entries))
    assert len({receipt.event_id for receipt in receipts}) == 1
    assert sorted(receipt.kind for receipt in receipts) == ["duplicate"] * 99 + ["stored"]
    assert len(reader.events()) == len(reader.deliveries()) == 1


async def test_a_key_is_free_again_after_its_window(journal: Journal, clock: StillClock) -> None:
    """An expired key is taken over by the next event."""
    await journal.append(make_entry("billing", key="same"))
    clock.at += 3600
    assert (await journal.append(make_entry("billing", key="same"))).kind == "stored"


async def test_the_same_key_with_another_body_is_a_conflict(journal: Journal, reader: Reader) -> None:
    """The second is kept, filtered, and goes nowhere."""
    first = await journal.append(make_entry("billing", key="same"))
    receipt = await journal.append(make_entry("billing", key="same", body_hash=b"other"))
    assert (receipt.kind, receipt.first_event_id) == ("conflict", first.event_id)
    kept = reader.event(receipt.event_id)
    assert kept is not None
    assert (kept.state, kept.reason) == (EventState.FILTERED, "conflict")
    assert reader.deliveries_of(kept.id) == []
    assert reader.ledger().balanced


async def test_a_redelivery_revives_the_dead_alone(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """Of three deliveries the one that died starts anew; its attempts are numbered on."""
    entry = make_entry("one", "two", "three", owner=journal.node, key="same")
    await journal.append(entry)
    for delivery, state in zip(
        entry.deliveries, (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.DELIVERED), strict=True
    ):
        await journal.settle(make_settlement(delivery, state))
    clock.at += 60
    receipt = await journal.append(make_entry("one", "two", "three", owner=journal.node, key="same"))
    assert (receipt.kind, receipt.event_id, receipt.revived) == ("duplicate", entry.event.id, ("two",))
    states = [delivery.state.value for delivery in reader.deliveries_of(entry.event.id)]
    assert states == ["delivered", "pending", "delivered"]
    (claim,) = await journal.claim("two", 10)
    assert (claim.delivery.attempts, claim.delivery.finished, claim.delivery.age_from) == (2, 0, NOW + 60)
    assert reader.ledger().balanced


@pytest.mark.parametrize("length", [1_200, 10_000])
async def test_a_key_of_any_length_is_taken(journal: Journal, length: int) -> None:
    """The longest that stands as it is fits an index, beside the longest name of a source."""
    key = indexed(os.urandom(length).hex())
    event = make_event("s" * 200)
    dedup = Dedup(key=key, body_hash=b"one", expires_at=NOW + 3600)
    ends = [await journal.append(Entry(event=event, dedup=dedup)) for _ in range(2)]
    assert [end.kind for end in ends] == ["stored", "duplicate"]


async def test_a_redelivery_of_a_filtered_event_goes_by_todays_plan(journal: Journal, reader: Reader) -> None:
    """The first event moves to routed, with the new plan's deliveries, which nobody owns."""
    filtered = make_entry(key="same")
    first = replace(filtered, event=replace(filtered.event, state=EventState.FILTERED, reason="no_match"))
    await journal.append(first)
    receipt = await journal.append(make_entry("billing", owner=journal.node, key="same"))
    assert (receipt.event_id, receipt.revived) == (first.event.id, ("billing",))
    moved = reader.event(first.event.id)
    assert moved is not None
    assert (moved.state, moved.reason) == (EventState.ROUTED, None)
    (delivery,) = reader.deliveries_of(first.event.id)
    assert (delivery.owner, delivery.attempts) == (None, 0)
    assert reader.ledger().balanced
    again = await journal.append(make_entry("billing", key="same"))
    assert (again.kind, again.revived) == ("duplicate", ())


async def test_one_hostile_row_among_many_fails_alone(journal: Journal, reader: Reader) -> None:
    """What the engine refuses is refused to its sender; the other 31 are stored."""
    entries = [make_entry("billing") for _ in range(32)]
    entries[7] = Entry(event=make_event(source="\ud800"))
    entries[9] = Entry(event=make_event(headers=((b"x", b"a" * 5_000_000),)))
    ends = await asyncio.gather(*(journal.append(entry) for entry in entries), return_exceptions=True)
    assert [index for index, end in enumerate(ends) if isinstance(end, BaseException)] == [7]
    assert isinstance(ends[7], RowRefused)
    assert len(reader.events()) == 31
    assert reader.ledger().balanced


async def test_a_hostile_end_among_many_is_written_without_what_is_refused(
    journal: Journal, reader: Reader, hooks: Told
) -> None:
    """What a downstream answers cannot have an event sent again that it took; the bug is reported."""
    entry = make_entry("one", "two", "three", owner=journal.node)
    await journal.append(entry)
    settlements = [make_settlement(delivery) for delivery in entry.deliveries]
    hostile = make_settlement(entry.deliveries[1], status=2**70)
    ends = await asyncio.gather(
        *(journal.settle(one) for one in (settlements[0], hostile, settlements[2])), return_exceptions=True
    )
    assert ends == [Settled(done=True, promoted=False)] * 3
    found = reader.deliveries_of(entry.event.id)
    assert [(one.state.value, one.finished) for one in found] == [("delivered", 1)] * 3
    assert len(hooks.bugs) == 1
    assert reader.ledger().balanced


async def test_what_waits_is_committed_together(journal: Journal, hooks: Told) -> None:
    """A hundred appends at once need a few commits."""
    await asyncio.gather(*(journal.append(make_entry("billing")) for _ in range(100)))
    assert sum(hooks.batches) == 100
    assert len(hooks.batches) < 20


async def test_an_append_that_outlives_its_time_is_withdrawn(engine: str) -> None:
    """Its sender hears that nothing was stored, and nothing is, also when the lock is free again."""
    with opened(engine, append_timeout=0.2) as journal:
        late = make_entry("billing", key="late")
        with locked(engine):
            blocker = asyncio.create_task(journal.append(make_entry("billing")))
            await asyncio.sleep(0.05)
            with pytest.raises(JournalUnavailable, match="nothing was stored"):
                await journal.append(late)
            # Nor is its body kept until the lock is free: senders come again with the same one.
            assert not [one for one in gc.get_referrers(late) if isinstance(one, Job)]
        await asyncio.gather(blocker, return_exceptions=True)
        await journal.append(make_entry("billing", key="late"))
        with Reader.open(engine) as reader:
            assert reader.event(late.event.id) is None


async def test_what_is_stored_for_a_caller_who_is_gone_is_not_owned(
    journal: Journal, reader: Reader, engine: str
) -> None:
    """A cancelled handler leaves its delivery to whoever claims it, with its number."""
    with locked(engine):
        entry = make_entry("billing", owner=journal.node)
        handler = asyncio.create_task(journal.append(entry))
        await asyncio.sleep(0.1)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
    # Each goes through the writer: the first ends after the commit, the second after the release.
    await journal.due(["billing"])
    await journal.due(["billing"])
    assert reader.event(entry.event.id) is not None
    (claim,) = await journal.claim("billing", 1)
    assert claim.delivery.attempts == 1
