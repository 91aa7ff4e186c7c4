"""What must be written and cannot be yet: it is tried again until it is; each reason is reported once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from relay.journal.faults import tell
from relay.journal.hooks import Hooks
from relay.journal.writer.jobs import Job

TRY_EVERY = 1.0
"""Seconds between two tries of a job that the journal refuses though it takes others."""


class Kept:
    """The jobs that wait; for the writer's thread.

    Some wait for a journal that takes nothing, which is reported by the writer. The others failed alone, each
    for its reason: a reason is reported when it is new, and once more when no job waits for any.
    """

    def __init__(self, hooks: Hooks | None) -> None:
        self._hooks = hooks
        self._jobs: list[Job] = []
        self._reported: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """Keep jobs until the journal takes writes again."""
        self._jobs += jobs

    def hold_back(self, job: Job, reason: str) -> None:
        """Keep a job that failed alone, for a second."""
        job.retry_at, job.reason = time.monotonic() + TRY_EVERY, reason
        self._jobs.append(job)

    def take(self, *, everything: bool) -> list[Job]:
        """Take those that are to be tried now, or all of them."""
        now, kept = time.monotonic(), self._jobs
        self._jobs = [] if everything else [job for job in kept if job.retry_at > now]
        return kept if everything else [job for job in kept if job.retry_at <= now]

    def report(self) -> None:
        """Report what has changed since the last time; between two batches, when each job is in its place."""
        if self._hooks is None or not (self._jobs or self._reported):
            return
        waiting = Counter(job.reason for job in self._jobs if job.reason is not None)
        for reason in sorted(waiting.keys() - self._reported):
            tell(self._hooks.kept_back, reason, waiting[reason])
        if self._reported and not waiting:
            tell(self._hooks.caught_up)
        self._reported = frozenset(waiting)
