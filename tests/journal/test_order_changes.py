"""What is planned after a change of an order waits for what was pending then and goes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from relay.journal import Entry, Journal, OrderChange, Orders, Reader
from relay.journal.writes.tx import BATCH
from relay.model import DeliveryState, route_id
from tests.journal.making import NOW, StillClock, make_entry, make_laned, make_settlement, only, replayed
from tests.journal.test_lanes import end_head
from tests.journal.test_plans import watched
from tests.journal.test_rescue import lose_owner

ROUTE = route_id("github", make_entry("billing").deliveries[0].route)
ORDERS: Orders = {"billing": {ROUTE: "body.customer"}}
CHANGED = {"billing": {ROUTE}}


async def change(journal: Journal, *, since: float = NOW) -> Sequence[str]:
    """Change the order of `billing`; the destinations whose new deliveries wait."""
    return (await journal.change_orders(ORDERS, [OrderChange(since, CHANGED)])).begun


def behind(entry: Entry, *, at: float = NOW) -> Entry:
    """The same, planned after a change."""
    planned = tuple(replace(one, behind=True, created_at=at) for one in entry.deliveries)
    return replace(entry, deliveries=planned)


async def append(journal: Journal, *entries: Entry) -> list[str]:
    """Store them; the ids of their deliveries."""
    for entry in entries:
        await journal.append(entry)
    return [one.id for entry in entries for one in entry.deliveries]


async def claimed(journal: Journal) -> list[str]:
    """What can be claimed, delivered at once."""
    claims = await journal.claim("billing", 99)
    for claim in claims:
        await journal.settle(make_settlement(claim.delivery))
    return [claim.delivery.id for claim in claims]


async def test_what_comes_after_a_change_waits_for_what_was_pending(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """In flight or waiting for its retry; then the heads of the lanes go, and the lanes in their order."""
    flying, waiting = make_entry("billing", owner=journal.node), make_entry("billing", owner=journal.node)
    await append(journal, flying, waiting)
    await journal.settle(make_settlement(waiting.deliveries[0], DeliveryState.PENDING, due_at=NOW + 60))
    assert await change(journal) == ("billing",)
    new = await append(journal, *(behind(make_laned(lane)) for lane in "aab"), behind(make_entry("billing")))
    other = await append(journal, make_laned("a", "other"))
    assert reader.ledger(now=NOW).waiting == {
        "owner": 1,
        "due_time": 1,
        "due_now": 1,
        "order_changed": 3,
        "lane": 1,
    }
    assert [claim.delivery.id for claim in await journal.claim("other", 9)] == other
    assert await claimed(journal) == []
    await journal.settle(make_settlement(flying.deliveries[0]))
    found = await journal.follow_orders()
    assert (found.waiting, found.released) == ({"billing": frozenset({ROUTE})}, frozenset())
    clock.at += 60
    assert await claimed(journal) == [waiting.deliveries[0].id]
    found = await journal.follow_orders()
    assert not found.waiting
    assert found.released == {"billing"}
    assert await claimed(journal) == [new[0], new[2], new[3]]
    assert await claimed(journal) == [new[1]]
    assert reader.ledger().balanced
    assert reader.orders() == await journal.orders() == ORDERS


async def test_a_change_with_nothing_pending_keeps_nobody_waiting(journal: Journal, reader: Reader) -> None:
    """What was planned before that was known goes on with the next look."""
    new = await append(journal, behind(make_laned()))
    assert await change(journal) == ()
    assert reader.order_changes() == {}
    assert (await journal.follow_orders()).released == {"billing"}
    assert await claimed(journal) == new


async def test_what_is_tried_alone_is_waited_for(journal: Journal) -> None:
    """One that lost its owner twice goes by itself, if alone."""
    (old,) = await append(journal, make_laned())
    await lose_owner(journal, 2)
    assert await change(journal) == ("billing",)
    await append(journal, behind(make_laned("other")))
    assert (await journal.follow_orders()).released == frozenset()
    await journal.cancel([old])
    assert (await journal.follow_orders()).released == {"billing"}


@pytest.mark.parametrize("kind", ["parked", "held"])
async def test_what_cannot_go_by_itself_is_not_waited_for(journal: Journal, kind: str) -> None:
    """What lacks its route, what a dead one holds: it may stay for ever; what else is pending goes first."""
    (stuck,) = await append(journal, make_laned(hold=True))
    if kind == "parked":
        (claim,) = await journal.claim("billing", 1)
        await journal.release((claim.delivery,), interrupted=False, due_at=None)
    else:
        await end_head(journal, DeliveryState.DEAD)
    await append(journal, make_laned(hold=True))
    assert await change(journal) == ()
    loose = make_entry("billing", owner=journal.node)
    await append(journal, loose)
    assert await change(journal) == ("billing",)
    new = await append(journal, behind(make_laned("other")), behind(make_laned(hold=True)))
    assert (await journal.follow_orders()).released == frozenset()
    await journal.settle(make_settlement(loose.deliveries[0]))
    assert (await journal.follow_orders()).released == {"billing"}
    assert await claimed(journal) == new[:1]
    if kind == "held":
        assert await journal.retry([stuck]) == 1
    else:
        assert await journal.wake() == 1
    assert await claimed(journal) == [stuck]


async def test_what_was_planned_between_two_changes_goes_in_between(journal: Journal) -> None:
    """A second change, while the first still lasts, waits for it and for what it made wait."""
    old = make_entry("billing", owner=journal.node)
    await append(journal, old)
    await change(journal, since=NOW + 1)
    first = await append(journal, behind(make_laned("a"), at=NOW + 1), behind(make_laned("a"), at=NOW + 2))
    # Planned by the second change, and stored before that is written.
    early = await append(journal, behind(make_entry("billing"), at=NOW + 3))
    assert await change(journal, since=NOW + 3) == ("billing",)
    late = await append(journal, behind(make_laned("b"), at=NOW + 4))
    assert (await journal.follow_orders()).released == frozenset()
    await journal.settle(make_settlement(old.deliveries[0]))
    for expected in (first[:1], first[1:]):
        await journal.follow_orders()
        assert await claimed(journal) == expected
    assert await claimed(journal) == []
    await journal.follow_orders()
    assert sorted(await claimed(journal)) == sorted(early + late)
    assert not (await journal.follow_orders()).waiting


async def test_changes_that_are_written_at_once_go_in_their_order(journal: Journal) -> None:
    """Two reloads while the journal was away are two changes."""
    old = make_entry("billing", owner=journal.node)
    await append(journal, old)
    second = await append(journal, behind(make_laned("b"), at=NOW + 2))
    first = await append(journal, behind(make_laned("a"), at=NOW + 1))
    changes = [OrderChange(NOW + number, CHANGED) for number in (1, 2)]
    assert (await journal.change_orders(ORDERS, changes)).begun == ("billing",)
    await journal.settle(make_settlement(old.deliveries[0]))
    await journal.follow_orders()
    assert await claimed(journal) == first
    await journal.follow_orders()
    assert await claimed(journal) == second


async def test_the_next_of_a_lane_waits_too(journal: Journal) -> None:
    """A new one behind an old one of its lane has its turn when all that was pending has ended."""
    (old,) = await append(journal, make_laned())
    loose = make_entry("billing", owner=journal.node)
    await append(journal, loose)
    await change(journal)
    new = await append(journal, behind(make_laned()), behind(make_laned()))
    assert await claimed(journal) == [old]
    assert await claimed(journal) == []
    assert await journal.wake() == 0, "it lacks nothing of the file"
    await journal.settle(make_settlement(loose.deliveries[0]))
    await journal.follow_orders()
    assert await claimed(journal) == new[:1]
    assert await claimed(journal) == new[1:]


async def test_an_operator_lets_one_go_before_its_turn(journal: Journal, reader: Reader) -> None:
    """`retry` sends what waits; what is dead or cancelled meanwhile waits for nothing."""
    await append(journal, make_entry("billing", owner=journal.node))
    await change(journal)
    new = await append(journal, *(behind(make_entry("billing")) for _ in range(3)))
    assert await journal.retry(new[:1]) == 1
    assert await claimed(journal) == new[:1]
    assert await journal.cancel(new[1:2]) == 1
    (dead,) = await journal.expire("billing", before=NOW + 1, limit=1)
    assert dead.id == new[2]
    assert not any(one.behind for identity in new if (one := reader.delivery(identity)))
    assert await journal.retry([dead.id]) == 1
    assert await claimed(journal) == [dead.id]


async def test_an_old_one_that_is_set_going_behind_a_new_one_ends_no_deadlock(journal: Journal) -> None:
    """It goes to the end of its lane, whose head waits for all others alone."""
    (old,) = await append(journal, make_laned())
    await end_head(journal, DeliveryState.DEAD)
    loose = make_entry("billing", owner=journal.node)
    await append(journal, loose)
    await change(journal)
    (new,) = await append(journal, behind(make_laned()))
    assert await journal.retry([old]) == 1
    await journal.settle(make_settlement(loose.deliveries[0]))
    await journal.follow_orders()
    assert await claimed(journal) == [new]
    assert await claimed(journal) == [old]


async def test_a_replay_goes_behind_what_is_pending(journal: Journal, reader: Reader) -> None:
    """As a new event of its route would."""
    (old,) = await append(journal, make_entry("billing"))
    assert await claimed(journal) == [old]
    loose = make_entry("billing", owner=journal.node)
    await append(journal, loose)
    await change(journal)
    sent = reader.delivery(old)
    assert sent is not None
    plan = replace(replayed(sent, now=NOW), lane="customer")
    assert await journal.replay([plan]) == 1
    assert await claimed(journal) == []
    await journal.settle(make_settlement(loose.deliveries[0]))
    await journal.follow_orders()
    assert await claimed(journal) == [plan.id]


async def test_many_go_on_in_many_short_transactions(journal: Journal) -> None:
    """A batch each, all of them at last."""
    await append(journal, *(behind(make_entry("billing")) for _ in range(BATCH + 1)))
    assert (await journal.follow_orders()).released == {"billing"}
    assert len(await journal.claim("billing", 9_999)) == BATCH + 1


@only("sqlite", "the plan of a small table tells nothing on PostgreSQL")
async def test_looking_for_what_was_pending_reads_no_backlog(journal: Journal, engine: str) -> None:
    """Each look is into an index, as is the search for what may go on."""
    await append(journal, behind(make_entry("billing")))
    with watched(journal) as seen:
        await change(journal)
        await journal.follow_orders()
    plans = seen.plans(engine)
    assert not [plan for plan in plans if plan.startswith(("SCAN delivery", "SCAN lane"))]
    assert not [plan for plan in plans if "B-TREE" in plan]
