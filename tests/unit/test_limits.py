"""The slots of a destination: newcomers, claims, and what waits."""

from __future__ import annotations

from relay.limits import Slots


def settled(concurrency: int = 4) -> Slots:
    """Slots of a destination of which nothing is known to wait."""
    return Slots(concurrency, unsure=False)


def test_nobody_passes_before_the_journal_was_asked() -> None:
    """At the start something may wait in the journal, so newcomers go behind it."""
    slots = Slots(4)
    assert not slots.reserve(0)
    assert slots.begin_claim() == 4
    slots.end_claim(asked=4, got=0)
    assert slots.reserve(0)


def test_there_are_no_more_slots_than_the_concurrency() -> None:
    """A slot more than there are is refused, and one that is given back can be had."""
    slots = settled(2)
    assert [slots.reserve(0) for _ in range(3)] == [True, True, False]
    slots.release()
    assert slots.reserve(0)


def test_a_newcomer_goes_behind_what_is_due() -> None:
    """What waits and is due goes first; what is due later does not stand in the way."""
    slots = settled()
    slots.note_due(10.0)
    slots.note_due(20.0)
    assert slots.reserve(9.9)
    assert not slots.reserve(10.0)


def test_a_claim_takes_no_more_than_is_known_to_wait() -> None:
    """While a claim for two is under way, newcomers find the other slots free."""
    slots = settled()
    slots.waiting = 2
    assert slots.begin_claim() == 2
    assert slots.reserve(0)
    slots.end_claim(asked=2, got=2)
    assert (slots.in_flight, slots.free) == (3, 1)


def test_more_waiting_than_slots_stays_waiting() -> None:
    """A claim is bounded by the free slots; the rest still goes before newcomers."""
    slots = settled(2)
    slots.waiting = 5
    assert slots.begin_claim() == 2
    slots.end_claim(asked=2, got=2)
    slots.release()
    assert slots.waiting == 3
    assert not slots.reserve(0)


def test_an_unsure_claim_covers_all_that_was_known() -> None:
    """A claim of all that is due makes the count of those known to wait void."""
    slots = Slots(4, waiting=1)
    assert slots.begin_claim() == 4
    slots.end_claim(asked=4, got=1)
    assert slots.waiting == 0
    assert slots.reserve(0)


def test_what_the_journal_shows_is_mostly_what_is_known_to_wait() -> None:
    """A due delivery in the journal makes newcomers wait only if it is not one that is known already."""
    slots = settled()
    slots.waiting = 1
    slots.note_oldest(9.5, 10.0, patience=1.0)
    assert slots.begin_claim() == 1
    assert slots.reserve(10.0)
    slots.note_oldest(8.9, 10.0, patience=1.0)
    assert not slots.reserve(10.0)


def test_what_the_journal_shows_of_others_goes_first() -> None:
    """A due delivery that somebody else made due is claimed before newcomers; a later one is awaited."""
    slots = settled()
    slots.note_oldest(20.0, 10.0, patience=1.0)
    assert slots.reserve(10.0)
    slots.note_oldest(10.0, 10.0, patience=1.0)
    assert not slots.reserve(10.0)
