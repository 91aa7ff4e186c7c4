"""Lanes: one after another, whatever becomes of the one whose turn it is."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest

from relay.journal import Claim, Entry, Journal, LaneView, Reader, Settled
from relay.model import DeliveryState, Outcome
from tests.journal.making import (
    NOW,
    StillClock,
    make_delivery,
    make_entry,
    make_laned,
    make_settlement,
    replayed,
)
from tests.journal.test_operate import DAY, Keep
from tests.journal.test_rescue import lose_owner

DEAD = DeliveryState.DEAD


async def lane_of(journal: Journal, size: int, *, hold: bool = False) -> list[str]:
    """The ids of so many deliveries in one lane, in their order."""
    ids = []
    for _ in range(size):
        entry = make_laned(hold=hold)
        await journal.append(entry)
        ids.append(entry.deliveries[0].id)
    return ids


async def head_of(journal: Journal) -> Claim | None:
    """The one delivery that can be claimed, if there is one."""
    claims = await journal.claim("billing", 9)
    assert len(claims) <= 1
    return claims[0] if claims else None


async def end_head(journal: Journal, state: DeliveryState = DeliveryState.DELIVERED) -> tuple[str, Settled]:
    """End the head's attempt so; which it was, and what came of it."""
    head = await head_of(journal)
    assert head is not None
    return head.delivery.id, await journal.settle(make_settlement(head.delivery, state))


async def test_only_the_head_of_a_lane_goes_out(journal: Journal, reader: Reader) -> None:
    """Its end, and nothing before, makes the next due; the last one leaves no lane behind."""
    ids = await lane_of(journal, 3)
    places = [one.place for identity in ids if (one := reader.delivery(identity))]
    assert places == [1, 2, 3]
    ends = [await end_head(journal) for _ in ids]
    assert ends == [(identity, Settled(done=True, promoted=identity != ids[-1])) for identity in ids]
    (again,) = await lane_of(journal, 1)
    assert (await end_head(journal))[0] == again


async def test_the_longest_name_of_a_lane_is_taken(journal: Journal) -> None:
    """Each of its characters four bytes, beside the longest name of a destination: it fits every index."""
    names = [chr(0x10000 + secrets.randbelow(0xFFFFF)) for _ in range(200)]
    entry = make_laned("".join(names), "d" * 200)
    await journal.append(entry)
    (claim,) = await journal.claim("d" * 200, 9)
    assert claim.delivery.id == entry.deliveries[0].id


async def test_lanes_do_not_wait_for_each_other(journal: Journal) -> None:
    """Another key, another destination, and what has no key go out at once."""
    for entry in (
        make_laned("a"),
        make_laned("a"),
        make_laned("b"),
        make_laned("a", "other"),
        make_entry("billing"),
    ):
        await journal.append(entry)
    assert [claim.delivery.lane for claim in await journal.claim("billing", 9)] == ["a", "b", None]
    assert len(await journal.claim("other", 9)) == 1


async def test_a_batch_keeps_the_order_of_its_appends(journal: Journal) -> None:
    """Also where many are committed as one, and keys of any text stay apart."""
    entries = [make_laned(key) for _ in range(4) for key in ("x", "\ud800", "")]
    await asyncio.gather(*(journal.append(entry) for entry in entries))
    went: list[str] = []
    while claims := await journal.claim("billing", 9):
        assert len(claims) == 3
        for claim in claims:
            went.append(claim.delivery.id)
            await journal.settle(make_settlement(claim.delivery))
    assert went == [entry.deliveries[0].id for entry in entries]


async def test_a_laned_delivery_is_never_born_owned(journal: Journal, reader: Reader) -> None:
    """Whatever its planner wished: it might not be its turn."""
    event = make_laned().event
    delivery = make_delivery(event, lane="a", owner=journal.node)
    await journal.append(Entry(event=event, deliveries=(delivery,)))
    (stored,) = reader.deliveries_of(event.id)
    assert (stored.owner, stored.attempts, stored.due_at) == (None, 0, NOW)


async def test_a_retry_of_the_head_keeps_the_lane_waiting(journal: Journal, clock: StillClock) -> None:
    """Until it is due again, nothing of the lane is."""
    ids = await lane_of(journal, 2)
    head = await head_of(journal)
    assert head is not None
    later = make_settlement(head.delivery, DeliveryState.PENDING, due_at=NOW + 60)
    assert await journal.settle(later) == Settled(done=True, promoted=False)
    assert await head_of(journal) is None
    clock.at += 60
    assert [(await end_head(journal))[0] for _ in ids] == ids


async def test_a_dead_head_that_skips_lets_the_next_pass(journal: Journal) -> None:
    """Its retry goes to the end of the lane."""
    ids = await lane_of(journal, 3)
    assert await end_head(journal, DEAD) == (ids[0], Settled(done=True, promoted=True))
    assert await journal.retry([ids[0]]) == 1
    assert [(await end_head(journal))[0] for _ in ids] == [ids[1], ids[2], ids[0]]


async def test_a_dead_head_that_holds_stops_its_lane_until_it_is_retried(
    journal: Journal, reader: Reader
) -> None:
    """It is then the head again, before those that came later."""
    ids = await lane_of(journal, 2, hold=True)
    assert await end_head(journal, DEAD) == (ids[0], Settled(done=True, promoted=False))
    late = await lane_of(journal, 1, hold=True)
    assert await head_of(journal) is None
    assert await journal.retry(ids[1:]) == 0
    assert reader.status().destinations[0].held_lanes == 1
    assert reader.ledger(now=NOW).waiting == {"lane_held": 2}
    assert await journal.retry(ids) == 1
    assert reader.ledger(now=NOW).waiting == {"lane": 2, "due_now": 1}
    assert [(await end_head(journal))[0] for _ in range(3)] == ids + late
    assert reader.ledger().balanced


async def test_a_dead_head_that_holds_stops_its_lane_until_it_is_cancelled(
    journal: Journal, reader: Reader
) -> None:
    """The next one passes then."""
    ids = await lane_of(journal, 2, hold=True)
    await end_head(journal, DEAD)
    assert await journal.cancel([ids[0]]) == 1
    assert await journal.cancel([ids[0]]) == 0
    dead = reader.delivery(ids[0])
    assert dead is not None
    assert (dead.state, dead.outcome) == (DeliveryState.CANCELLED, Outcome.HTTP_STATUS)
    assert (await end_head(journal))[0] == ids[1]
    assert reader.ledger().balanced


async def test_a_dead_one_that_was_skipped_is_cancelled_beside_its_lane(
    journal: Journal, reader: Reader
) -> None:
    """Another has its place by now: in flight it stays so, and dead it goes on to hold the lane."""
    first = await lane_of(journal, 1)
    await end_head(journal, DEAD)
    await lane_of(journal, 1, hold=True)
    head = await head_of(journal)
    assert head is not None
    assert await journal.cancel(first) == 1
    assert await head_of(journal) is None
    await journal.settle(make_settlement(head.delivery))
    first = await lane_of(journal, 1)
    await end_head(journal, DEAD)
    second = await lane_of(journal, 2, hold=True)
    assert await end_head(journal, DEAD) == (second[0], Settled(done=True, promoted=False))
    assert await journal.cancel(first) == 1
    assert await head_of(journal) is None
    assert reader.status().destinations[0].held_lanes == 1
    assert await journal.cancel(second[:1]) == 1
    assert (await end_head(journal))[0] == second[1]
    assert reader.ledger().balanced


async def test_a_lane_goes_on_where_all_that_is_dead_is_cancelled_at_once(journal: Journal) -> None:
    """With one that was skipped, at the same place, and the one that holds the lane."""
    (skipped,) = await lane_of(journal, 1)
    await end_head(journal, DEAD)
    ids = await lane_of(journal, 3, hold=True)
    await end_head(journal, DEAD)
    assert await journal.cancel([ids[0], skipped, ids[1]]) == 3
    assert (await end_head(journal))[0] == ids[2]


async def test_a_lane_that_is_held_and_otherwise_empty_stays_held(journal: Journal) -> None:
    """What comes later does not overtake the dead one."""
    ids = await lane_of(journal, 1, hold=True)
    await end_head(journal, DEAD)
    ids += await lane_of(journal, 1, hold=True)
    assert await head_of(journal) is None
    await journal.retry(ids)
    assert [(await end_head(journal))[0] for _ in ids] == ids


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_what_is_cancelled_leaves_its_lane(journal: Journal, index: int) -> None:
    """The head promotes the next, one behind it is left out."""
    ids = await lane_of(journal, 3)
    assert await journal.cancel([ids.pop(index)]) == 1
    assert [(await end_head(journal))[0] for _ in ids] == ids
    assert await head_of(journal) is None


async def test_what_is_in_flight_is_not_cancelled(journal: Journal, reader: Reader) -> None:
    """Its outcome is on its way; unordered ones that wait are cancelled and counted."""
    ids = await lane_of(journal, 2)
    head = await head_of(journal)
    loose = make_entry("billing", owner=journal.node)
    free = make_entry("billing")
    for entry in (loose, free):
        await journal.append(entry)
    all_ids = [*ids, loose.deliveries[0].id, free.deliveries[0].id]
    assert await journal.cancel(all_ids) == 2
    assert head is not None
    assert await journal.settle(make_settlement(head.delivery)) == Settled(done=True, promoted=False)
    assert journal.backlogs() == {"billing": 1}
    (line,) = reader.ledger().deliveries
    assert (line.cancelled, line.ok) == (2, True)


async def test_a_replay_enters_at_the_end_of_its_lane(journal: Journal, reader: Reader) -> None:
    """Also where the lane is empty: it is the head then."""
    ids = await lane_of(journal, 2)
    await end_head(journal)
    sent = reader.delivery(ids[0])
    assert sent is not None
    plans = [replace(replayed(sent, now=NOW), lane=sent.lane) for _ in range(2)]
    assert await journal.replay(plans) == 2
    assert [(await end_head(journal))[0] for _ in range(3)] == [ids[1], *(plan.id for plan in plans)]
    plan = replace(replayed(sent, now=NOW), lane=sent.lane)
    assert await journal.replay([plan]) == 1
    assert (await end_head(journal))[0] == plan.id


async def test_poison_obeys_its_lane(journal: Journal) -> None:
    """Skipped or holding, like any other that died."""
    ids = await lane_of(journal, 2)
    await lose_owner(journal, 5)
    assert (await end_head(journal))[0] == ids[1]
    ids = await lane_of(journal, 2, hold=True)
    await lose_owner(journal, 5)
    assert await head_of(journal) is None
    assert await journal.cancel(ids[:1]) == 1
    assert (await end_head(journal))[0] == ids[1]


async def test_a_head_that_lacks_its_route_is_woken(journal: Journal, reader: Reader) -> None:
    """It keeps its turn meanwhile, and those behind it are not woken in its place."""
    ids = await lane_of(journal, 2)
    for again in (journal.wake, lambda: journal.retry(ids)):
        head = await head_of(journal)
        assert head is not None
        await journal.release((head.delivery,), interrupted=False, due_at=None)
        assert await head_of(journal) is None
        assert reader.ledger(now=NOW).waiting == {"route_gone": 1, "lane": 1}
        assert await again() == 1
    assert [(await end_head(journal))[0] for _ in ids] == ids


async def test_a_redelivery_revives_into_the_lane(journal: Journal) -> None:
    """What was skipped and is set going by its provider goes to the end."""
    first = make_entry(key="same")
    first = replace(first, deliveries=(make_delivery(first.event, lane="customer"),))
    await journal.append(first)
    ids = await lane_of(journal, 1)
    await end_head(journal, DEAD)
    receipt = await journal.append(replace(make_laned(), dedup=first.dedup))
    assert receipt.revived == ("billing",)
    assert [(await end_head(journal))[0] for _ in range(2)] == [*ids, first.deliveries[0].id]


async def test_an_event_whose_dead_delivery_holds_a_lane_is_not_purged(
    journal: Journal, clock: StillClock, reader: Reader
) -> None:
    """Else nothing could let the lane go on."""
    ids = await lane_of(journal, 2, hold=True)
    await end_head(journal, DEAD)
    clock.at += 90 * DAY
    assert (await journal.purge(Keep())).events == 0
    await journal.cancel(ids[:1])
    clock.at += 90 * DAY
    assert (await journal.purge(Keep())).events == 1
    assert reader.ledger().balanced


async def test_a_delivery_that_is_born_dead_stands_in_no_lane(journal: Journal, reader: Reader) -> None:
    """It is counted as planned, says why, and holds nobody up; its retry enters at the end."""
    event = make_laned().event
    dead = make_delivery(
        event,
        lane="customer",
        hold=True,
        state=DEAD,
        outcome=Outcome.BACKLOG_FULL,
        reason="backlog_full",
        error="too many wait",
    )
    await journal.append(Entry(event=event, deliveries=(dead,)))
    ids = await lane_of(journal, 1)
    (stored,) = reader.deliveries_of(event.id)
    assert (stored.outcome, stored.reason, stored.place) == (Outcome.BACKLOG_FULL, "backlog_full", None)
    assert (stored.finished_at, stored.due_at) == (NOW, None)
    assert journal.backlogs() == {"billing": 1}
    (line,) = reader.ledger().deliveries
    assert (line.planned, line.dead, line.pending, line.ok) == (2, 1, 1, True)
    assert await journal.retry([dead.id]) == 1
    assert [(await end_head(journal))[0] for _ in range(2)] == [*ids, dead.id]


async def test_a_lane_is_shown_from_where_a_delivery_stands(journal: Journal, reader: Reader) -> None:
    """Whose turn it is, how far it is to it, and who holds it up."""
    ids = await lane_of(journal, 3, hold=True)
    loose = make_entry("billing")

    def view(identity: str) -> LaneView | None:
        one = reader.delivery(identity)
        assert one is not None
        return reader.lane_of(one)

    assert view(ids[0]) == LaneView(head_id=ids[0], position=1, held_by=None)
    assert view(ids[2]) == LaneView(head_id=ids[0], position=3, held_by=None)
    await end_head(journal)
    assert view(ids[0]) is None
    await end_head(journal, DEAD)
    assert view(ids[1]) == LaneView(head_id=None, position=1, held_by=ids[1])
    assert view(ids[2]) == LaneView(head_id=None, position=2, held_by=ids[1])
    await journal.append(loose)
    assert view(loose.deliveries[0].id) is None
