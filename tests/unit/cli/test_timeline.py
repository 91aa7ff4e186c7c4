"""The story of an event reads well at 3 a.m., whatever the sender and the downstream wrote."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from relay.cli.output.show import Journey, journey_json, lines
from relay.model import Attempt, Delivery, DeliveryState, Event, EventState, Outcome

NOW = 1_800_000_000.0

EVENT = Event(
    id="evt_1",
    source="github",
    type="pull_request.opened",
    provider_id="72d3162e",
    received_at=NOW - 600,
    method="POST",
    path="/github",
    query=b"",
    headers=((b"content-type", b"application/json"), (b"x-bad", b"\xff")),
    body=b'{"a":1}',
    remote="192.0.2.7",
)
DELIVERY = Delivery(
    id="dlv_1",
    event_id="evt_1",
    source="github",
    route="all",
    destination="billing",
    key="dlv_1",
    created_at=NOW - 600,
    age_from=NOW - 600,
    attempts=1,
    finished=1,
    due_at=NOW + 252,
)
FAILED = Attempt(
    delivery_id="dlv_1",
    number=1,
    started_at=NOW - 599,
    duration=0.012,
    outcome=Outcome.HTTP_STATUS,
    node="n",
    status=503,
    response=b"\n\x1b[31mgoing\x1b[0m down\nmore",
)


def told(event: Event, *deliveries: tuple[Delivery, tuple[Attempt, ...]]) -> str:
    """The timeline as one text."""
    return "\n".join(line.text for line in lines(Journey(event, deliveries), NOW))


def test_a_waiting_delivery_says_what_failed_and_when_it_is_tried_next() -> None:
    """The arrival, the attempt with status, time and first line of response, and the next try."""
    text = told(EVENT, (DELIVERY, (FAILED,)))
    assert "evt_1  github  pull_request.opened" in text
    assert "(10m ago) from 192.0.2.7, POST /hooks/github" in text
    assert "72d3162e" in text
    assert "7 B application/json" in text
    assert "routed by all: 1 delivery" in text
    assert "dlv_1  -> billing  pending" in text
    assert "#1  2027-01-15 07:50:01.000Z  http_status 503  12ms" in text
    assert "tried next at 2027-01-15 08:04:12Z (in 4m 12s)" in text


def test_a_dead_delivery_names_the_command_that_revives_it() -> None:
    """A dead delivery says since when, and what to type: to send it, or to have done with it."""
    dead = replace(DELIVERY, state=DeliveryState.DEAD, due_at=None, finished_at=NOW - 60)
    assert "(1m ago): `relay retry dlv_1`, or `relay cancel dlv_1`" in told(EVENT, (dead, (FAILED,)))


@pytest.mark.parametrize(
    ("delivery", "says"),
    [
        (replace(DELIVERY, due_at=NOW - 5), "waits for a free slot"),
        (replace(DELIVERY, owner="0123456789abcdef"), "attempt 1 is in flight (node 01234567)"),
        (replace(DELIVERY, due_at=None), "pending, without a due time"),
        (replace(DELIVERY, state=DeliveryState.CANCELLED, finished_at=NOW), "cancelled 2027-01-15 08:00:00Z"),
        (
            replace(DELIVERY, state=DeliveryState.DELIVERED, finished_at=NOW),
            "delivered 2027-01-15 08:00:00Z after 1 attempt",
        ),
    ],
)
def test_every_state_says_what_is_next(delivery: Delivery, says: str) -> None:
    """Due, in flight, without due time, cancelled and delivered each have their own words."""
    assert says in told(EVENT, (delivery, (FAILED,)))


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("no_route", "its source has no route"),
        ("no_match", "no route of this source matched"),
        ("conflict", "another body"),
        ("route_error", "failed on it"),
    ],
)
def test_a_filtered_event_says_why(reason: str, says: str) -> None:
    """Each reason for going nowhere is explained."""
    assert says in told(replace(EVENT, state=EventState.FILTERED, reason=reason))


def test_nothing_from_outside_can_colour_or_break_a_line() -> None:
    """Type, provider id, path, error, note and response come out printable, on one line each."""
    evil = "\x1b[2J\r\n\u202eevil"
    event = replace(EVENT, type=evil, provider_id=evil, path=evil, method=evil, remote=evil)
    attempt = replace(FAILED, error=evil, note=evil, response=evil.encode())
    journey = Journey(event, ((replace(DELIVERY, route=evil, key=evil, destination=evil), (attempt,)),))
    assert all(line.text.isprintable() for line in lines(journey, NOW))


def test_the_json_has_the_whole_story_and_survives_any_bytes() -> None:
    """Headers and body that are no UTF-8 still make one JSON document."""
    whole = journey_json(Journey(replace(EVENT, body=b"\xff"), ((DELIVERY, (FAILED,)),)))
    again = json.loads(json.dumps(whole))
    assert (again["body"], again["body_encoding"]) == ("/w==", "base64")
    assert again["headers"][1] == ["x-bad", "\ufffd"]
    assert again["deliveries"][0]["history"][0]["status"] == 503
    assert again["received_at"] == "2027-01-15T07:50:00.000Z"
    assert journey_json(Journey(EVENT, ()))["body"] == '{"a":1}'
