"""Removing what was kept long enough, or what an operator names, in batches of their own transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Protocol

from relay.journal.values import Purged, Retention
from relay.journal.writes import retention as steps
from relay.journal.writes.retention import START, Cursor, Cutoffs, Early, Step
from relay.journal.writes.tx import Tx


class Do(Protocol):
    """Has work done in a transaction of the writer's."""

    def __call__(self, work: Callable[[Tx], Any], /) -> Awaitable[Any]:
        """Return what the work returns."""


async def purge(do: Do, size: Callable[[Tx], int], *, retention: Retention, now: float) -> Purged:
    """Remove what was kept long enough; more where the journal is over `max_size`, by its `size` in bytes."""
    cutoffs = Cutoffs.of(retention, now)
    kept_long = (steps.purge_delivered, steps.purge_dead, steps.purge_filtered, steps.purge_keys)
    total = await _all(do, kept_long, cutoffs)
    if retention.max_size is not None:
        is_enough = partial(_is_within, retention.max_size, size)
        for step in (steps.purge_filtered, steps.purge_delivered):
            total += await _one(do, step, cutoffs.early(now), is_enough=is_enough)
    return total


async def purge_early(do: Do, early: Early) -> Purged:
    """Remove what an operator names before its time."""
    return await _all(do, early.steps, early.cutoffs)


def _is_within(most: int, size: Callable[[Tx], int], tx: Tx) -> bool:
    return size(tx) <= most


async def _all(do: Do, several: Iterable[Step], cutoffs: Cutoffs) -> Purged:
    total = Purged()
    for step in several:
        total += await _one(do, step, cutoffs)
    return total


async def _one(
    do: Do, step: Step, cutoffs: Cutoffs, *, is_enough: Callable[[Tx], bool] | None = None
) -> Purged:
    total = Purged()
    cursor: Cursor | None = START
    while cursor is not None and (is_enough is None or not await do(is_enough)):
        removed, cursor = await do(partial(step, cutoffs=cutoffs, cursor=cursor))
        total += removed
    return total
