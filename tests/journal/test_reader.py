"""Reading: filters, pages, figures."""

from __future__ import annotations

import pytest

from relay.journal import Entry, Filter, Journal, Reader
from relay.model import DeliveryState, Event, EventState, Outcome
from tests.journal.making import NOW, make_delivery, make_event, make_settlement


@pytest.fixture
async def story(journal: Journal) -> list[Event]:
    """Four events: one delivered and one dead to billing, one waiting for chat, one filtered."""
    events = [
        make_event(provider_id="p-0", body=b"needle"),
        make_event("stripe", received_at=NOW + 1),
        make_event(received_at=NOW + 2),
        make_event(received_at=NOW + 3, state=EventState.FILTERED, reason="no_match"),
    ]
    for event, destination in zip(events, ("billing", "billing", "chat", None), strict=True):
        owner = journal.node if destination == "billing" else None
        planned = [make_delivery(event, destination, owner=owner)] if destination else []
        await journal.append(Entry(event=event, deliveries=tuple(planned)))
        if destination == "billing":
            state = DeliveryState.DELIVERED if event is events[0] else DeliveryState.DEAD
            await journal.settle(make_settlement(planned[0], state))
    return events


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [3, 2, 1, 0]),
        (Filter(source="stripe"), [1]),
        (Filter(destination="billing"), [1, 0]),
        (Filter(route="all", state=DeliveryState.PENDING), [2]),
        (Filter(state=EventState.FILTERED), [3]),
        (Filter(outcome=Outcome.HTTP_STATUS, status=500), [1]),
        (Filter(since=NOW + 1, until=NOW + 3), [2, 1]),
        (Filter(search="needle"), [0]),
        (Filter(search="p-0"), [0]),
        (Filter(search="nothing"), []),
    ],
)
async def test_a_filter_finds_events_and_their_deliveries(
    story: list[Event], reader: Reader, wanted: Filter, found: list[int]
) -> None:
    """The latest first."""
    ids = [story[index].id for index in found]
    assert [event.id for event in reader.events(wanted)] == ids
    routed = [identity for identity in ids if identity != story[3].id]
    assert [one.event_id for one in reader.deliveries(wanted)] == routed


async def test_pages_follow_each_other(story: list[Event], reader: Reader) -> None:
    """The last id of a page leads to the next."""
    first = reader.events(limit=3)
    second = reader.events(limit=3, before=first[-1].id)
    assert [event.id for event in first + second] == [event.id for event in reversed(story)]
    deliveries = reader.deliveries(limit=1)
    assert len(reader.deliveries(before=deliveries[-1].id)) == 2


async def test_an_id_is_found_whatever_it_is_of(story: list[Event], reader: Reader) -> None:
    """An event's, a delivery's, a provider's; nothing for another."""
    (delivery,) = reader.deliveries_of(story[0].id)
    for identity in (story[0].id, delivery.id, "p-0"):
        assert reader.find_event(identity) == [story[0].id]
    assert reader.find_event("evt_none") == reader.find_event("dlv_none") == []
    assert reader.event("evt_none") is None
    assert reader.delivery("dlv_none") is None


async def test_errors_are_grouped(story: list[Event], reader: Reader) -> None:
    """Destination, text, number."""
    assert reader.group_by_error() == [("billing", "max_attempts", 1)]


async def test_status_tells_what_waits_and_what_ended(
    story: list[Event], reader: Reader, journal: Journal
) -> None:
    """Per destination and per source."""
    journal.count_rejected("github")
    await journal.append(Entry(event=make_event("stripe")))
    status = reader.status()
    billing, chat = status.destinations
    assert (billing.name, billing.pending, billing.dead, billing.delivered) == ("billing", 0, 1, 1)
    assert (chat.name, chat.pending, chat.in_flight, chat.oldest_at, chat.due_at) == (
        "chat",
        1,
        0,
        NOW + 2,
        NOW + 2,
    )
    github, stripe = status.sources
    assert (github.accepted, github.rejected, stripe.accepted, stripe.rejected) == (3, 1, 2, 0)
    assert [one.id for one in status.nodes] == [journal.node]
    assert journal.backlogs() == {"billing": 0, "chat": 1}
    assert reader.ledger(destinations=()).waiting == {"destination_gone": 1}
