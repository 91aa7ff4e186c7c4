"""What follows from an attempt: decided by tenacity's strategies, carried out by the journal.

A strategy is asked once, over a state made for the question, and nothing sleeps in it: a wait is a due
time, which outlives the process. The numbers are the delivery's own (attempts that count, the time its
age began), so the same question has the same answer after a restart or on another node.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from tenacity import (
    Future,
    RetryCallState,
    Retrying,
    retry_if_not_result,
    stop_after_attempt,
    stop_never,
    wait_chain,
    wait_exponential,
    wait_fixed,
)
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from relay.model import Decision, Outcome

_FINAL = frozenset({Outcome.TRANSFORM_ERROR, Outcome.EXPIRED})
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE]\+?[0-9]{1,3})?")
_HEADER_LIMIT = 64  # an HTTP date has 29 characters; the date parser is not made for a hostile kilobyte
_YEAR = 365 * 86_400.0
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a destination wants to be tried again; waits and ages in seconds.

    first_wait    before the second attempt; each further wait is `factor` times longer
    max_wait      no wait is longer, whatever a `Retry-After` asks; with a schedule, it bounds that alone
    jitter        the share of a wait that chance may take off (off, so that `max_wait` holds)
    max_age       counted from the delivery's `age_from`; at its end the delivery is dead
    max_attempts  of those that count; None is no limit
    give_up_on    statuses that another attempt would not change
    pause_on      statuses that pause the destination; the attempt then does not count
    schedule      the waits one by one, the last one again and again, in place of the first four
    """

    first_wait: float = 5.0
    factor: float = 2.0
    max_wait: float = 3600.0
    jitter: float = 0.2
    max_age: float = 259_200.0
    max_attempts: int | None = None
    give_up_on: frozenset[int] = frozenset()
    pause_on: frozenset[int] = frozenset({410})
    schedule: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do now: `due_at` goes with a retry, `reason` with a death.

    pauses      the destination is to be paused; the attempt does not count, and is due when that ends
    holds_until until when the destination asks to be left alone altogether
    """

    decision: Decision
    due_at: float | None = None
    reason: str | None = None
    pauses: bool = False
    holds_until: float | None = None


_DELIVERED = Verdict(decision=Decision.DELIVERED)


def decide(
    policy: Policy,
    *,
    outcome: Outcome,
    status: int | None,
    finished: int,
    age_from: float,
    now: float,
    retry_after: float | None,
    random: Callable[[], float],
) -> Verdict:
    """Judge a delivery after an attempt; `finished` counts this one if it counts, `random` is in [0, 1).

    `age_from` is by the same clock as `now`, whatever pauses there were. The due time never lies
    beyond the end of `max_age`: what is claimed then is expired.
    """
    if outcome is Outcome.DELIVERED:
        return _DELIVERED
    if status in policy.pause_on:
        return Verdict(decision=Decision.RETRY, due_at=now, pauses=True)
    holds_until = None
    if status == _TOO_MANY_REQUESTS and retry_after:
        holds_until = now + min(retry_after, policy.max_wait)
    # An attempt that does not count may leave the number at zero; the first wait is still the first.
    state = _state(outcome=outcome, status=status, number=max(1, finished), age_from=age_from, now=now)
    reason = _reason_to_end(policy, state)
    if reason is not None:
        return Verdict(decision=Decision.DEAD, reason=reason, holds_until=holds_until)
    due_at = min(
        now + _wait(policy, retry_after=retry_after, random=random)(state), age_from + policy.max_age
    )
    return Verdict(decision=Decision.RETRY, due_at=due_at, holds_until=holds_until)


def parse_retry_after(value: str, *, now: float) -> float | None:
    """Seconds to wait, at most a year, from a `Retry-After` (seconds or HTTP date, RFC 9110 10.2.3).

    What is neither is None. `now` is the wall clock, since a date is by the wall clock.
    """
    text = value.strip()
    if not text or len(text) > _HEADER_LIMIT:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), _YEAR)
    try:
        date = parsedate_to_datetime(text)
        moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return min(max(0.0, moment - now), _YEAR)


def _reason_to_end(policy: Policy, state: RetryCallState) -> str | None:
    """Name the first reason for which no further attempt is made, or None."""
    final = retry_if_not_result(lambda result: result[0] in _FINAL)
    given_up = retry_if_not_result(lambda result: result[1] in policy.give_up_on)
    if not (final & given_up)(state):
        outcome = state.outcome.result()[0] if state.outcome else None
        return outcome.value if outcome in _FINAL else "give_up_on"
    too_old = _StopAtAge(policy.max_age)
    too_many = stop_never if policy.max_attempts is None else stop_after_attempt(policy.max_attempts)
    if not (too_old | too_many)(state):
        return None
    return "expired" if too_old(state) else "max_attempts"


def _wait(policy: Policy, *, retry_after: float | None, random: Callable[[], float]) -> wait_base:
    """Compose the policy's wait: less its jitter, and at least what the destination asked for."""
    grown: wait_base
    if policy.schedule:
        grown = wait_chain(*(wait_fixed(wait) for wait in policy.schedule))
    else:
        grown = wait_exponential(multiplier=policy.first_wait, exp_base=policy.factor, max=policy.max_wait)
    jittered = grown + _WaitJitter(grown, share=policy.jitter, random=random)
    return _WaitAtLeast(jittered, seconds=retry_after or 0.0, most=policy.max_wait)


def _state(
    *, outcome: Outcome, status: int | None, number: int, age_from: float, now: float
) -> RetryCallState:
    """Make the state that a strategy is asked over, with the delivery's own numbers and times."""
    state = RetryCallState(Retrying(), None, (), {})
    state.start_time = age_from
    state.attempt_number = number
    state.outcome = Future.construct(number, (outcome, status), has_exception=False)
    state.outcome_timestamp = now
    return state


class _StopAtAge(stop_base):
    """Stop at the very moment to which a due time is cut.

    `stop_after_delay` subtracts where the due time adds; rounding would make one attempt too many.
    """

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age

    def __call__(self, retry_state: RetryCallState) -> bool:
        now = retry_state.outcome_timestamp
        return now is not None and now >= retry_state.start_time + self._max_age


class _WaitJitter(wait_base):
    """A random share of another wait, negative: added to it, it spreads what failed together."""

    def __init__(self, wait: wait_base, *, share: float, random: Callable[[], float]) -> None:
        self._wait = wait
        self._share = share
        self._random = random

    def __call__(self, retry_state: RetryCallState) -> float:
        return -self._share * self._random() * self._wait(retry_state)


class _WaitAtLeast(wait_base):
    """Another wait, lengthened to `seconds`, but by these never past `most`."""

    def __init__(self, wait: wait_base, *, seconds: float, most: float) -> None:
        self._wait = wait
        self._least = min(seconds, most) if math.isfinite(seconds) else most

    def __call__(self, retry_state: RetryCallState) -> float:
        return max(self._wait(retry_state), self._least)
