"""Slots, tokens and failures in a row: newcomers, claims, and what waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.breaker import Breaker, BreakerPolicy, is_failure
from relay.limits import Bucket, Share, Slots
from relay.model import Outcome

NOW = 1_760_000_000.25


def settled(concurrency: int = 4) -> Slots:
    """Slots of a destination of which nothing is known to wait."""
    return Slots(concurrency, unsure=False)


def claim(slots: Slots, *, got: int | None = None) -> int:
    """Claim as many as are wanted; how many those were. All are filled, or `got`."""
    asked = slots.wanted
    slots.begin_claim(asked)
    slots.end_claim(asked=asked, got=asked if got is None else got)
    return asked


def test_nobody_passes_before_the_journal_was_asked() -> None:
    """At the start something may wait in the journal, so newcomers go behind it."""
    slots = Slots(4)
    assert not slots.reserve(0)
    assert claim(slots, got=0) == 4
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
    slots.begin_claim(slots.wanted)
    assert slots.reserve(0)
    slots.end_claim(asked=2, got=2)
    assert (slots.in_flight, slots.free) == (3, 1)


def test_more_waiting_than_slots_stays_waiting() -> None:
    """A claim is bounded by the free slots; the rest still goes before newcomers."""
    slots = settled(2)
    slots.waiting = 5
    assert claim(slots) == 2
    slots.release()
    assert slots.waiting == 3
    assert not slots.reserve(0)


def test_an_unsure_claim_covers_all_that_was_known() -> None:
    """A claim of all that is due makes the count of those known to wait void."""
    slots = Slots(4, waiting=1)
    assert claim(slots, got=1) == 4
    assert slots.waiting == 0
    assert slots.reserve(0)


def test_what_the_journal_shows_is_mostly_what_is_known_to_wait() -> None:
    """A due delivery in the journal makes newcomers wait only if it is not one that is known already."""
    slots = settled()
    slots.waiting = 1
    slots.note_oldest(9.5, 10.0, patience=1.0)
    assert claim(slots) == 1
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


def test_newcomers_go_behind_those_that_a_claim_left_behind() -> None:
    """While a claim is under way, what it had no slot for still goes before newcomers."""
    slots = settled(2)
    slots.waiting = 5
    slots.begin_claim(1)
    assert not slots.reserve(0)


def test_a_claim_that_was_not_filled_shows_that_nothing_else_is_due() -> None:
    """What was counted as waiting and is not due, as in an order lane, costs one claim and not many."""
    slots = settled()
    slots.waiting = 5_000
    slots.begin_claim(slots.wanted)
    slots.waiting += 1
    assert not slots.end_claim(asked=4, got=1)
    assert slots.waiting == 1


def test_fewer_slots_than_are_taken_let_nobody_in() -> None:
    """Where a new configuration has fewer slots, those in flight end before anybody else begins."""
    slots = settled()
    assert all(slots.reserve(0) for _ in range(4))
    slots.concurrency = 2
    slots.release()
    slots.release()
    assert not slots.reserve(0)
    slots.release()
    assert slots.reserve(0)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """After a quiet time the burst is there at once, then one token in each interval."""
    bucket = Bucket(10.0, burst=3.0)
    assert [bucket.take(NOW) for _ in range(4)] == [True, True, True, False]
    assert bucket.ready_at == pytest.approx(NOW + 0.1)
    assert bucket.take(bucket.ready_at)
    assert not bucket.take(bucket.ready_at - 0.01)


@given(
    st.floats(min_value=0.001, max_value=10_000.0),
    st.lists(st.floats(min_value=0.0, max_value=0.5), max_size=200),
)
def test_a_bucket_never_gives_more_than_rate_and_burst(rate: float, pauses: list[float]) -> None:
    """Whenever it is asked, tokens in a span are at most its rate times the span, and the burst."""
    bucket = Bucket(rate, burst=max(1.0, rate / 10))
    now, taken = NOW, 0
    for pause in pauses:
        now += pause
        taken += bucket.take_up_to(50, now)
        assert taken <= (now - NOW) * rate * 1.001 + bucket.burst + 1e-3


@given(st.floats(min_value=0.001, max_value=10_000.0))
def test_a_token_is_there_at_the_moment_that_was_named(rate: float) -> None:
    """Who sleeps until `ready_at` finds a token, however the floats round."""
    bucket = Bucket(rate, burst=max(1.0, rate / 10))
    bucket.take_up_to(2_000, NOW)
    for _ in range(20):
        assert bucket.take(bucket.ready_at)


def test_a_token_given_back_can_be_had_again() -> None:
    """What was reserved for an event that was not stored is no loss."""
    bucket = Bucket(1.0)
    assert bucket.take(NOW)
    assert not bucket.take(NOW)
    bucket.give_back()
    assert bucket.take(NOW)


@pytest.mark.parametrize(
    ("outcome", "status", "failure"),
    [
        (Outcome.DELIVERED, 200, False),
        (Outcome.HTTP_STATUS, 500, True),
        (Outcome.HTTP_STATUS, 503, True),
        (Outcome.HTTP_STATUS, 429, True),
        (Outcome.HTTP_STATUS, 404, False),
        (Outcome.HTTP_STATUS, 410, False),
        (Outcome.TIMEOUT, None, True),
        (Outcome.CONNECT_ERROR, None, True),
        (Outcome.DNS_ERROR, None, True),
        (Outcome.TLS_ERROR, None, True),
        (Outcome.READ_ERROR, None, True),
        (Outcome.BLOCKED_ADDRESS, None, True),
        (Outcome.TRANSFORM_ERROR, None, None),
        (Outcome.EXPIRED, None, None),
        (Outcome.INTERRUPTED, None, None),
    ],
)
def test_what_counts_against_a_destination(outcome: Outcome, status: int | None, failure: object) -> None:
    """No answer, 5xx and 429 do; another answer does not; what was never sent says nothing."""
    assert is_failure(outcome, status) is failure


def test_a_breaker_opens_by_failures_in_a_row() -> None:
    """A success in between begins the count anew, and what says nothing leaves it."""
    breaker = Breaker(BreakerPolicy(failures=3))
    assert [breaker.count(one) for one in (True, True, False, True, True, None, True)] == [False] * 6 + [True]
    assert breaker.count(failed=True), "where opening failed, the next failure tries again"


def test_without_a_policy_nothing_opens() -> None:
    """`breaker: null` counts and never opens."""
    breaker = Breaker(None)
    assert not any(breaker.count(failed=True) for _ in range(100))


@given(limit=st.integers(1, 500), nodes=st.integers(1, 40))
def test_the_nodes_parts_make_the_limit(limit: int, nodes: int) -> None:
    """A limit that can be divided is used up and never passed; else each node may have all of it in turn."""
    shares = [Share(rank=rank, nodes=nodes) for rank in range(nodes)]
    parts = [share.of(limit) for share in shares]
    if shares[0].divides(limit):
        assert sum(parts) == limit
        assert max(parts) - min(parts) <= 1
    else:
        assert limit < max(2, nodes)
        assert set(parts) == {limit}


def test_a_concurrency_of_one_is_never_divided() -> None:
    """Not even for a node that is alone: it may be so no more."""
    assert not Share().divides(1)
    assert Share().divides(2)
    assert [Share(rank=rank, nodes=3).of(16) for rank in range(3)] == [6, 5, 5]


def test_another_rate_takes_over_what_is_owed() -> None:
    """Who has used up its tokens gets none for having fewer, or more, from now on."""
    bucket = Bucket(10.0, burst=1.0, full_at=100.0)
    assert bucket.take(100.0)
    bucket.change(rate=5.0, burst=1.0, now=100.0)
    assert bucket.ready_at == pytest.approx(100.2)
    bucket.change(rate=10.0, burst=1.0, now=100.1)
    assert bucket.ready_at == pytest.approx(100.15)
