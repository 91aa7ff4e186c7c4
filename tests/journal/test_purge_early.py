"""An operator may have finished events removed before their time: those that were named, and counted."""

from __future__ import annotations

import pytest

from relay.journal import Early, Entry, Journal, Kind, Reader
from relay.model import DeliveryState, EventState
from tests.journal.making import NOW, StillClock, make_delivery, make_entry, make_event, make_settlement

EVERYTHING: tuple[Kind, ...] = ("delivered", "filtered", "dead")


async def fill(journal: Journal) -> dict[str, str]:
    """One event of each kind; their ids."""
    ids = {}
    for name, states in {
        "delivered": (DeliveryState.DELIVERED,),
        "dead": (DeliveryState.DEAD,),
        "mixed": (DeliveryState.DELIVERED, DeliveryState.DEAD),
        "pending": (DeliveryState.DELIVERED, None),
    }.items():
        entry = make_entry(*(f"{name}{number}" for number in range(len(states))))
        await journal.append(entry)
        ids[name] = entry.event.id
        for delivery, state in zip(entry.deliveries, states, strict=True):
            if state is not None:
                (claim,) = await journal.claim(delivery.destination, 1)
                await journal.settle(make_settlement(claim.delivery, state))
    for reason in ("no_match", "route_error"):
        event = make_event(state=EventState.FILTERED, reason=reason)
        await journal.append(Entry(event=event))
        ids[reason] = event.id
    return ids


@pytest.mark.parametrize(
    ("kinds", "going"),
    [
        (("delivered",), {"delivered"}),
        (("filtered",), {"no_match"}),
        (("dead",), {"dead", "mixed", "route_error"}),
        (("delivered", "filtered"), {"delivered", "no_match"}),
        (EVERYTHING, {"delivered", "no_match", "dead", "mixed", "route_error"}),
    ],
)
async def test_what_is_named_goes_and_all_else_stays(
    journal: Journal, reader: Reader, clock: StillClock, kinds: tuple[Kind, ...], going: set[str]
) -> None:
    """As many as were announced; the ledger balances; what is pending stays whatever is named."""
    ids = await fill(journal)
    clock.at = NOW + 60
    early = Early(before=NOW + 1, kinds=frozenset(kinds))
    announced = reader.count_early(early)
    purged = await journal.purge_early(early)
    left = {event.id for event in reader.events()}
    assert {name for name, identity in ids.items() if identity not in left} == going
    assert announced == purged.events == len(going)
    assert reader.count_early(early) == 0
    assert reader.ledger().balanced


async def test_what_ended_later_stays(journal: Journal, reader: Reader) -> None:
    """The time that was given is the end, not the beginning, of what goes."""
    await fill(journal)
    early = Early(before=NOW - 1, kinds=frozenset(EVERYTHING))
    assert reader.count_early(early) == 0
    assert (await journal.purge_early(early)).events == 0


async def test_an_event_without_a_way_out_in_a_held_lane_stays(journal: Journal, reader: Reader) -> None:
    """A dead one that holds its lane is still to be decided on."""
    event = make_event()
    await journal.append(Entry(event=event, deliveries=(make_delivery(event, lane="c", hold=True),)))
    (claim,) = await journal.claim("billing", 1)
    await journal.settle(make_settlement(claim.delivery, DeliveryState.DEAD))
    early = Early(before=NOW + 9, kinds=frozenset(EVERYTHING))
    assert reader.count_early(early) == 0
    assert (await journal.purge_early(early)).events == 0
