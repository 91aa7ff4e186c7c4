"""What the writer is asked to write: jobs, and the futures that wait for their results."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from relay.errors import JournalUnavailable
from relay.journal.values import Claim, Entry, Probe, Receipt, Settlement
from relay.journal.writes.tx import Tx
from relay.model import Delivery

Work = Entry | Settlement | Callable[[Tx], Any]


@dataclass(slots=True, eq=False)
class Job:
    """One thing to write, and the future that waits for it.

    keep      it is tried until it succeeds
    retry_at  not before then, by the monotonic clock: it failed alone
    reason    why it did
    """

    work: Work
    future: asyncio.Future[Any] | None
    keep: bool
    taken: bool = False
    withdrawn: bool = False
    retry_at: float = 0.0
    reason: str | None = None

    def withdraw(self) -> None:
        """Have nothing written. It may stay in the queue for long, where nobody counts its body."""
        self.withdrawn = True
        self.work = _nothing


def _nothing(_: Tx) -> None:
    """What is written for a job that was withdrawn."""


Ends = list[tuple[Job, Any]]
"""Jobs with their results; an exception is raised where the job is awaited."""

Forgotten = Callable[[Job, Any], None]
"""Called with the result of a job for which nobody waits any more."""


def deliveries_of(jobs: Sequence[Job]) -> Iterator[Delivery]:
    """The deliveries that jobs store or settle."""
    for job in jobs:
        if isinstance(job.work, Entry):
            yield from job.work.deliveries
        elif isinstance(job.work, Settlement):
            yield job.work.delivery


def owned_by(work: Work, result: Any) -> list[Delivery]:
    """The deliveries that a caller owns by the result of its job."""
    if isinstance(result, Receipt) and isinstance(work, Entry) and result.kind == "stored":
        return [delivery for delivery in work.deliveries if delivery.owner is not None]
    claims = result.claims if isinstance(result, Probe) else result if isinstance(result, list) else ()
    return [one.delivery for one in claims if isinstance(one, Claim)]


def rank(job: Job) -> tuple[int, str, str]:
    """First what is stored, in the order of the keys that it locks; then what is settled; then the rest."""
    if isinstance(job.work, Entry):
        return (0, job.work.event.source, "" if job.work.dedup is None else job.work.dedup.key)
    return (1, "", "") if isinstance(job.work, Settlement) else (2, "", "")


def size_of(work: Work) -> int:
    """About how many bytes it writes."""
    if isinstance(work, Entry):
        return len(work.event.body) + 2048
    if isinstance(work, Settlement):
        return len(work.attempt.response) + 1024
    return 4096


def hand_out(ends: Ends, forgotten: Forgotten) -> None:
    """Resolve futures, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, Ends] = {}
    for job, result in ends:
        if job.future is not None:
            by_loop.setdefault(job.future.get_loop(), []).append((job, result))
    for loop, ours in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(resolve, ours, forgotten)


def resolve(ends: Ends, forgotten: Forgotten) -> None:
    """Resolve futures of this event loop."""
    for job, result in ends:
        future = job.future
        if future is None:
            continue
        if future.done():
            forgotten(job, result)
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def give_up(future: asyncio.Future[Any]) -> None:
    """Wait no longer for what is being written."""
    if not future.done():
        future.set_exception(
            JournalUnavailable("the journal hangs while writing; it may or may not be stored")
        )
