"""What follows from an attempt: the decision, and the due time in place of a sleep."""

from __future__ import annotations

import math
from email.utils import formatdate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import Decision, Outcome
from relay.retry import Policy, Verdict, decide, parse_retry_after

NOW = 1_760_000_000.25
STEADY = Policy(jitter=0.0)


def judge(
    policy: Policy = STEADY,
    *,
    outcome: Outcome = Outcome.HTTP_STATUS,
    status: int | None = 503,
    finished: int = 1,
    age: float = 0.0,
    retry_after: float | None = None,
    chance: float = 0.0,
) -> Verdict:
    """Decide at NOW about a delivery of this age."""
    return decide(
        policy,
        outcome=outcome,
        status=status,
        finished=finished,
        age_from=NOW - age,
        now=NOW,
        retry_after=retry_after,
        random=lambda: chance,
    )


def wait_of(verdict: Verdict) -> float:
    """Return the wait that a retry stands for."""
    assert verdict.decision is Decision.RETRY
    assert verdict.due_at is not None
    return verdict.due_at - NOW


def test_delivered_is_the_end() -> None:
    """A delivered attempt ends the delivery, however old it is."""
    verdict = judge(outcome=Outcome.DELIVERED, status=200, age=1e9, finished=10**6)
    assert verdict == Verdict(decision=Decision.DELIVERED)


def test_waits_grow_by_the_factor_up_to_the_longest() -> None:
    """The waits are first_wait, times the factor each, and never more than max_wait."""
    waits = [wait_of(judge(finished=number)) for number in range(1, 13)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.CONNECT_ERROR, Outcome.DNS_ERROR])
def test_transport_faults_are_retried(outcome: Outcome) -> None:
    """A fault of the transport has no status and is tried again."""
    assert wait_of(judge(outcome=outcome, status=None)) == 5


@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503])
def test_every_failing_status_is_retried(status: int) -> None:
    """A status is no reason to give up unless the file says so."""
    assert wait_of(judge(status=status)) == 5


def test_a_status_of_give_up_on_is_dead() -> None:
    """A status in give_up_on kills the delivery at its first attempt, others do not."""
    policy = Policy(give_up_on=frozenset({400, 409}))
    assert judge(policy, status=409) == Verdict(decision=Decision.DEAD, reason="give_up_on")
    assert judge(policy, status=411).decision is Decision.RETRY


def test_a_status_of_pause_on_pauses_and_is_due_when_that_ends() -> None:
    """A status in pause_on, by default 410, kills nothing, even past max_age: it is due now, and pauses."""
    expected = Verdict(decision=Decision.RETRY, due_at=NOW, pauses=True)
    assert judge(status=410) == expected
    assert judge(status=410, age=1e9, finished=10**6) == expected
    assert judge(Policy(pause_on=frozenset({403})), status=403) == expected
    assert not judge(Policy(pause_on=frozenset()), status=410).pauses


@pytest.mark.parametrize(
    ("status", "asked", "held"),
    [(429, 60.0, 60.0), (429, 1e9, 3600.0), (429, None, None), (429, 0.0, None), (503, 60.0, None)],
)
def test_only_429_with_retry_after_holds_the_destination(
    status: int, asked: float | None, held: float | None
) -> None:
    """The destination is left alone as long as it asks, up to max_wait; by 503 only the delivery waits."""
    verdict = judge(status=status, retry_after=asked)
    assert verdict.holds_until == (None if held is None else NOW + held)


def test_a_429_holds_though_the_delivery_is_dead() -> None:
    """What the destination asks for is heard when this was the delivery's last attempt."""
    verdict = judge(Policy(max_attempts=1), status=429, retry_after=9.0)
    assert (verdict.decision, verdict.holds_until) == (Decision.DEAD, NOW + 9)


def test_a_schedule_names_the_waits_one_by_one() -> None:
    """The waits are those of the schedule, the last one again and again, whatever max_wait is."""
    policy = Policy(schedule=(5.0, 300.0, 7200.0), jitter=0.0, max_wait=3600.0)
    assert [wait_of(judge(policy, finished=number)) for number in range(6)] == [5, 5, 300, 7200, 7200, 7200]


def test_jitter_and_retry_after_apply_to_a_schedule_too() -> None:
    """Chance takes its share off a scheduled wait, and Retry-After lengthens it up to max_wait."""
    policy = Policy(schedule=(10.0,), jitter=0.2, max_wait=3600.0)
    assert wait_of(judge(policy, chance=0.5)) == pytest.approx(9.0)
    assert wait_of(judge(policy, retry_after=100.0)) == 100
    assert wait_of(judge(policy, retry_after=1e9)) == 3600


def test_a_transform_error_is_dead() -> None:
    """A transform that failed would fail again."""
    verdict = judge(outcome=Outcome.TRANSFORM_ERROR, status=None)
    assert verdict == Verdict(decision=Decision.DEAD, reason="transform_error")


def test_max_attempts_counts_the_finished_ones() -> None:
    """The attempt that reaches max_attempts is the last one."""
    policy = Policy(max_attempts=3)
    assert judge(policy, finished=2).decision is Decision.RETRY
    assert judge(policy, finished=3) == Verdict(decision=Decision.DEAD, reason="max_attempts")


def test_an_attempt_that_does_not_count_waits_like_the_first() -> None:
    """With no attempt counted the wait is still first_wait."""
    assert wait_of(judge(finished=0)) == 5


def test_the_due_time_is_cut_at_the_end_of_max_age() -> None:
    """A wait that would outlast max_age ends with it."""
    assert wait_of(judge(finished=20, age=STEADY.max_age - 60)) == 60


@pytest.mark.parametrize("past", [0.0, 0.5, 1e9])
def test_expired_at_and_after_the_end_of_max_age(past: float) -> None:
    """At the end of max_age and after it the delivery is dead, whatever the outcome was."""
    verdict = judge(outcome=Outcome.TIMEOUT, status=None, age=STEADY.max_age + past)
    assert verdict == Verdict(decision=Decision.DEAD, reason="expired")


@given(st.floats(min_value=1.5e9, max_value=2.5e9), st.floats(min_value=0.001, max_value=1e7))
def test_no_attempt_too_many_by_rounding(age_from: float, max_age: float) -> None:
    """A delivery that is tried at its cut due time has expired, however the floats round."""
    policy = Policy(max_age=max_age, first_wait=1e8, max_wait=1e8)
    due_at = age_from
    for _ in range(2):
        verdict = decide(
            policy,
            outcome=Outcome.TIMEOUT,
            status=None,
            finished=1,
            age_from=age_from,
            now=due_at,
            retry_after=None,
            random=lambda: 0.0,
        )
        due_at = verdict.due_at or due_at
    assert verdict.reason == "expired"


def test_jitter_takes_off_at_most_its_share() -> None:
    """Chance shortens a wait by up to the share and never lengthens it."""
    policy = Policy(jitter=0.2)
    assert wait_of(judge(policy, chance=0.0)) == 5
    assert wait_of(judge(policy, chance=0.5)) == pytest.approx(4.5)
    assert wait_of(judge(policy, chance=1.0, finished=99)) == pytest.approx(2880)


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(0.0, 5), (3.0, 5), (60.0, 60), (3600.0, 3600), (1e9, 3600), (math.inf, 3600)],
)
def test_retry_after_only_lengthens_up_to_max_wait(asked: float, waited: float) -> None:
    """What a destination asks for is heard where it is longer, and never past max_wait."""
    assert wait_of(judge(retry_after=asked)) == waited


def test_jitter_does_not_undercut_retry_after() -> None:
    """A wait that the destination asked for is kept in full."""
    assert wait_of(judge(Policy(jitter=0.9), chance=0.999, retry_after=7.0)) == 7


@pytest.mark.parametrize("finished", [1_000, 10**6, 10**18])
@pytest.mark.parametrize("factor", [1.0, 1.0001, 2.0, 1e300])
def test_large_numbers_of_attempts_do_not_overflow(finished: int, factor: float) -> None:
    """However often it was tried, the wait is a number up to max_wait."""
    assert 0 <= wait_of(judge(Policy(factor=factor, max_wait=1e6, max_age=1e9), finished=finished)) <= 1e6


def test_35_hours_of_retries() -> None:
    """A destination that is away for 35 hours costs 45 attempts, each within the longest wait."""
    policy = Policy(max_age=35 * 3600.0)
    chance = Random(7)
    now, waits, finished = NOW, [], 0
    while True:
        finished += 1
        verdict = decide(
            policy,
            outcome=Outcome.CONNECT_ERROR,
            status=None,
            finished=finished,
            age_from=NOW,
            now=now,
            retry_after=None,
            random=chance.random,
        )
        if verdict.due_at is None:
            break
        waits.append(verdict.due_at - now)
        now = verdict.due_at
    assert verdict.reason == "expired"
    assert now == NOW + 35 * 3600
    assert all(0 < wait <= 3600 for wait in waits)
    assert 45 <= finished <= 60


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1e9", 365 * 86400.0),
        ("9" * 60, 365 * 86400.0),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    """Seconds are read as they stand, up to a year."""
    assert parse_retry_after(value, now=NOW) == seconds


def test_retry_after_as_a_date() -> None:
    """An HTTP date is the time until then, or nothing where it has passed."""
    now = float(int(NOW))
    assert parse_retry_after(formatdate(now + 90, usegmt=True), now=now) == 90
    assert parse_retry_after(formatdate(now - 90, usegmt=True), now=now) == 0
    assert parse_retry_after("Thu, 09 Oct 2025 08:53:20 -0000", now=1_760_000_000.0) == 0


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-5", "+5", "nan", "inf", "1_0", "٣", "5 6", "Fri, 99 Foo 2020", "9" * 500, "\r\n"],
)
def test_retry_after_that_is_garbage(value: str) -> None:
    """What is neither seconds nor a date is no wish at all."""
    assert parse_retry_after(value, now=NOW) is None


@given(st.text(max_size=80))
def test_retry_after_takes_any_text(value: str) -> None:
    """No text of a destination makes the parser raise or answer with less than nothing."""
    seconds = parse_retry_after(value, now=NOW)
    assert seconds is None or 0 <= seconds <= 365 * 86400
