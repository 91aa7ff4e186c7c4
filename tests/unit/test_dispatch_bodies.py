"""Which bodies may be in memory on their way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.dispatch.bodies import STALE, Bodies, Load
from relay.process.body_memory import MEDIUM, SMALL, BodyMemory
from tests.unit.test_dispatch_dispatcher import event_of

LARGE = MEDIUM + 1


class Time:
    """A clock that goes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The moment that was set."""
        return self.now


@pytest.fixture
def time() -> Time:
    """The time by which turns are lost."""
    return Time()


@pytest.fixture
def bodies(time: Time) -> Bodies:
    """Room for ten bodies of each size."""
    memory = BodyMemory(
        small_in_flight=10 * SMALL, medium_in_flight=10 * MEDIUM, large_in_flight=10 * LARGE, shared=0
    )
    return Bodies(memory, clock=time)


def taken(load: Load, number: int, size: int, rendered: int = 0) -> bool:
    """Ask for a delivery of an event of its own."""
    return load.take(f"dlv_{number}", f"evt_{number}", body=size, rendered=rendered)


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
def test_each_size_has_its_own_room(bodies: Bodies, size: int) -> None:
    """What fills the room of one size takes none from the others."""
    load = bodies.load("one")
    assert [taken(load, number, size) for number in range(11)] == [True] * 10 + [False]
    assert load.is_short
    assert bodies.used == 10 * size
    for number, other in enumerate({SMALL, MEDIUM, LARGE} - {size}, start=20):
        assert taken(bodies.load("two"), number, other)
    bodies.leave("dlv_3")
    assert taken(bodies.load("one"), 11, size)


def test_what_is_larger_than_all_the_room_goes_alone(bodies: Bodies) -> None:
    """It waits until nothing else is there, and nothing overtakes it meanwhile."""
    huge = 30 * LARGE
    assert taken(bodies.load("one"), 1, LARGE)
    assert not taken(bodies.load("two"), 2, huge)
    assert not taken(bodies.load("one"), 3, LARGE)
    bodies.leave("dlv_1")
    assert not taken(bodies.load("one"), 3, LARGE)
    assert taken(bodies.load("two"), 2, huge)
    assert not taken(bodies.load("one"), 3, LARGE)
    bodies.leave("dlv_2")
    assert taken(bodies.load("one"), 3, LARGE)


def test_destinations_that_wait_take_turns(bodies: Bodies) -> None:
    """Whoever has waited longest is next, and goes to the end when it waits again."""
    load = bodies.load("busy")
    for number in range(10):
        assert taken(load, number, LARGE)
    assert not taken(bodies.load("one"), 20, LARGE)
    assert not taken(bodies.load("two"), 30, LARGE)
    bodies.leave("dlv_0")
    assert not taken(bodies.load("two"), 30, LARGE)
    one = bodies.load("one")
    assert taken(one, 20, LARGE)
    assert not taken(one, 21, LARGE)
    bodies.leave("dlv_1")
    assert not taken(bodies.load("one"), 21, LARGE)
    assert taken(bodies.load("two"), 30, LARGE)


def test_who_does_not_ask_again_loses_its_turn(bodies: Bodies, time: Time) -> None:
    """A destination that was paused, say, while it waited for room, holds up nobody."""
    load = bodies.load("busy")
    for number in range(10):
        assert taken(load, number, LARGE)
    assert not taken(bodies.load("gone"), 20, LARGE)
    bodies.leave("dlv_0")
    time.now += STALE
    assert not taken(bodies.load("one"), 30, LARGE)
    time.now += 0.1
    assert taken(bodies.load("one"), 30, LARGE)


def test_a_newcomer_never_waits_and_never_overtakes(bodies: Bodies) -> None:
    """A new event is left to a claim where there is no room, or somebody waits for it."""
    large = replace(event_of(1), body=bytes(LARGE))
    assert bodies.enter("dlv_a", large)
    load = bodies.load("busy")
    for number in range(9):
        assert taken(load, number, LARGE)
    assert not bodies.enter("dlv_b", replace(event_of(2), body=bytes(LARGE)))
    assert not taken(bodies.load("one"), 20, 2 * LARGE)
    bodies.leave("dlv_0")
    assert not bodies.enter("dlv_b", replace(event_of(2), body=bytes(LARGE)))
    bodies.leave("dlv_1")
    assert taken(bodies.load("one"), 20, 2 * LARGE)


def test_a_body_is_counted_once_for_all_deliveries_of_its_event(bodies: Bodies) -> None:
    """It is shared while one of them is in flight, and read anew after that."""
    event = replace(event_of(1), body=bytes(LARGE))
    assert bodies.enter("dlv_a", event)
    assert bodies.enter("dlv_b", event)
    claimed = bodies.load("two")
    assert claimed.take("dlv_c", event.id, body=LARGE, rendered=0)
    assert bodies.used == LARGE
    assert claimed.find(event.id) is event.body
    for delivery_id in ("dlv_a", "dlv_b"):
        bodies.leave(delivery_id)
        bodies.leave(delivery_id)  # twice does no harm
    assert (bodies.used, claimed.find(event.id)) == (LARGE, event.body)
    bodies.leave("dlv_c")
    assert (bodies.used, claimed.find(event.id)) == (0, None)
    assert claimed.take("dlv_c", event.id, body=LARGE, rendered=0)
    claimed.keep(event.id, b"read")
    assert bodies.load("one").find(event.id) == b"read"


def test_what_was_rendered_is_counted_for_each(bodies: Bodies) -> None:
    """A transformed body is a delivery's own."""
    load = bodies.load("one")
    for number in range(2):
        assert load.take(f"dlv_{number}", "evt_1", body=LARGE, rendered=MEDIUM)
    assert bodies.used == LARGE + 2 * MEDIUM
    bodies.leave("dlv_0")
    assert bodies.used == LARGE + MEDIUM
    bodies.leave("dlv_1")
    assert bodies.used == 0


def test_copies_that_an_attempt_makes_are_counted(bodies: Bodies) -> None:
    """A mail or a task is written whole, in several steps."""
    event = replace(event_of(1), body=bytes(LARGE))
    assert bodies.enter("dlv_a", event, copies=3)
    assert bodies.used == 4 * LARGE
    load = bodies.load("mail", copies=3)
    assert load.take("dlv_b", "evt_b", body=SMALL, rendered=0)
    assert bodies.used == 4 * LARGE + 4 * SMALL
    bodies.leave("dlv_a")
    bodies.leave("dlv_b")
    assert bodies.used == 0


def test_a_claim_that_fails_gives_back_what_it_took(bodies: Bodies) -> None:
    """Also one whose transaction is made anew, before it asks again."""
    load = bodies.load("one")
    for _ in range(3):
        load.begin()
        assert [taken(load, number, LARGE) for number in range(11)] == [True] * 10 + [False]
        assert bodies.used == 10 * LARGE
    load.give_back()
    assert bodies.used == 0


def test_a_delivery_that_was_forgotten_and_taken_again_counts_once(bodies: Bodies) -> None:
    """What this process holds twice, as after a rescue from itself, it counts once."""
    load = bodies.load("one")
    for _ in range(3):
        assert taken(load, 1, LARGE)
    assert bodies.used == LARGE
    bodies.leave("dlv_1")
    assert bodies.used == 0
