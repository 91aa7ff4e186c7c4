"""One batch in one transaction: all jobs at once, or each in a savepoint of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from relay.errors import InternalFault, JournalUnavailable, RelayError, RowRefused
from relay.journal.engine import error_text
from relay.journal.faults import Fault, FaultOf
from relay.journal.values import Entry, Settlement
from relay.journal.writer.jobs import Ends, Job, Work, deliveries_of, rank
from relay.journal.writes import lanes
from relay.journal.writes.append import append_many, append_one
from relay.journal.writes.settle import settle_many, settle_one, settle_plainly
from relay.journal.writes.tx import Tx
from relay.model import Attempt, Dedup, Delivery, DeliveryState, Event, Outcome

MOST_JOBS = 256
"""Jobs that one transaction commits at most."""

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of bodies after which no more jobs join a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What kept a job from being done, or from being done whole."""

    fault: Fault
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """How a job ended that was tried by itself; `failure` with `done`: only what matters was written."""

    job: Job
    done: bool
    result: Any = None
    failure: Failure | None = None


def all_at_once(tx: Tx, jobs: Sequence[Job]) -> Ends:
    """Do all jobs with a few statements; raises where one of them needs more, or fails."""
    lanes.reserve(tx, deliveries_of(jobs))
    ends: Ends = []
    appends = [(job, job.work) for job in jobs if isinstance(job.work, Entry)]
    settles = [(job, job.work) for job in jobs if isinstance(job.work, Settlement)]
    if appends:
        receipts = append_many(tx, [entry for _, entry in appends])
        ends += [(job, receipt) for (job, _), receipt in zip(appends, receipts, strict=True)]
    if settles:
        settled = settle_many(tx, [settlement for _, settlement in settles])
        ends += [(job, done) for (job, _), done in zip(settles, settled, strict=True)]
    for job in jobs:
        if not isinstance(job.work, Entry | Settlement):
            ends.append((job, job.work(tx)))
    return ends


def one_by_one(tx: Tx, jobs: Sequence[Job], fault_of: FaultOf) -> list[Alone]:
    """Try each job by itself; raises where none can be done now.

    A statement that the journal refuses, or a bug, may concern one row or all. A rehearsal with made-up
    rows shows which: where it fails too, this raises, and else the one job fails alone.
    """
    lanes.reserve(tx, deliveries_of(jobs))
    ends = [_alone(tx, job, fault_of) for job in sorted(jobs, key=rank)]
    if any(end.failure is not None and not end.done and end.failure.fault is not Fault.ROW for end in ends):
        rehearse(tx, fault_of)
    return ends


def rehearse(tx: Tx, fault_of: FaultOf) -> None:
    """Store, count and settle made-up rows, and take it all back; raises where that cannot be done."""
    part = tx.part()
    with tx.connection.begin_nested() as savepoint:
        for work in _made_up(tx.now):
            end = _alone(part, Job(work, None, keep=False), fault_of)
            if end.failure is not None and not end.done:
                raise end.failure.error
        part.count()
        savepoint.rollback()


def refusal(work: Work, failure: Failure, *, bare: bool) -> Exception:
    """What the caller of a job hears that was not done; `bare`: a bug as it is, since nobody reports it."""
    error = failure.error
    if isinstance(error, RelayError):  # an answer of the work's own
        return error
    match failure.fault:
        case Fault.ROW if isinstance(work, Entry):
            return RowRefused(f"the engine refuses this row: {error_text(error)}")
        case Fault.ROW if not isinstance(work, Settlement):
            return error
        case Fault.STATEMENT | Fault.OUTAGE | Fault.BUSY:
            return JournalUnavailable(f"the journal cannot write this: {error_text(error)}")
        case Fault.ROW | Fault.OURS:
            return error if bare else _fault(error)


def _fault(error: Exception) -> InternalFault:
    fault = InternalFault(f"internal error: {type(error).__name__}")
    fault.__cause__ = error
    return fault


def _alone(tx: Tx, job: Job, fault_of: FaultOf) -> Alone:
    failure: Failure | None = None
    for way in _ways(job.work):
        part = tx.part()
        try:
            with tx.connection.begin_nested():
                result = way(part)
        except Exception as error:
            failure = failure or Failure(fault=fault_of(error), error=error)
            if fault_of(error).concerns_all:
                raise
            if failure.fault is Fault.STATEMENT:  # nothing is left out that can be written later
                break
        else:
            tx.sums.add(part.sums)
            return Alone(job=job, done=True, result=result, failure=failure)
    return Alone(job=job, done=False, failure=failure)


def _ways(work: Work) -> tuple[Callable[[Tx], Any], ...]:
    """How to do it, best first; the end of an attempt must be written whatever of it is refused."""
    if isinstance(work, Entry):
        return (partial(append_one, entry=work),)
    if isinstance(work, Settlement):
        return (partial(settle_one, settlement=work), partial(settle_plainly, settlement=work))
    return (work,)


def _made_up(now: float) -> tuple[Entry, Settlement]:
    """An event with a delivery that is settled; it is never committed."""
    name = uuid.uuid4().hex
    event = Event(
        id=f"evt_{name}",
        source="",
        type=None,
        provider_id=None,
        received_at=now,
        method="POST",
        path="/",
        query=b"",
        headers=(),
        body=b"",
        remote=None,
    )
    delivery = Delivery(
        id=f"dlv_{name}",
        event_id=event.id,
        source="",
        route="",
        destination="",
        key=name,
        created_at=now,
        age_from=now,
        due_at=now,
        owner=name,
        fence=1,
        attempts=1,
    )
    attempt = Attempt(
        delivery_id=delivery.id,
        number=1,
        started_at=now,
        duration=0.0,
        outcome=Outcome.DELIVERED,
        node=name,
    )
    dedup = Dedup(key=name, body_hash=b"", expires_at=now)
    return (
        Entry(event=event, deliveries=(delivery,), dedup=dedup),
        Settlement(
            delivery=delivery, attempt=attempt, state=DeliveryState.DELIVERED, due_at=None, finished=1
        ),
    )
