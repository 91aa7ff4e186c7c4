"""What was noticed and not yet told: the first at once, the rest of a kind together."""

from __future__ import annotations

from dataclasses import dataclass

from uuid_utils import uuid7

from relay.telemetry import Kind, Notice

WINDOW = 300.0
"""Seconds in which one kind about one thing is told once, by all nodes together."""

MOST = 1_000
"""Alerts kept in memory while the journal takes none; what comes on top is told by the log alone."""


@dataclass(slots=True)
class Tally:
    """What was noticed of one kind about one thing and not yet told; times in Unix seconds.

    id       of the event that will tell it, the same however often it is tried
    seconds  of the notice that has most of them
    due_at   when it may be told; without a count, when the next one is a first one again
    """

    notice: Notice
    due_at: float
    id: str = ""
    count: int = 0
    since: float = 0.0
    last: float = 0.0
    seconds: float | None = None

    def add(self, notice: Notice, now: float) -> None:
        """Count one more; the latest text is the one that is told."""
        if not self.count:
            self.id, self.since, self.seconds = f"evt_{uuid7().hex}", now, None
        self.notice = notice
        self.count += 1
        self.last = now
        if notice.seconds is not None:
            self.seconds = max(notice.seconds, self.seconds or 0.0)


Key = tuple[Kind, str]


class Tallies:
    """The coalescing, without a clock: one tally for each kind and thing, at most `most`."""

    def __init__(self, *, window: float = WINDOW, most: int = MOST) -> None:
        self._window = window
        self._most = most
        self._tallies: dict[Key, Tally] = {}

    def add(self, notice: Notice, now: float) -> bool:
        """Count a notice; False where there is no more room."""
        key = (notice.kind, notice.about)
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= self._most:
                self._forget(now)
            if len(self._tallies) >= self._most:
                return False
            tally = self._tallies[key] = Tally(notice, due_at=now)
        tally.add(notice, now)
        return True

    def due(self, now: float) -> list[Tally]:
        """What may be told now, the longest noticed first."""
        ready = [one for one in self._tallies.values() if one.count and one.due_at <= now]
        return sorted(ready, key=lambda one: one.since)

    @property
    def next_due(self) -> float | None:
        """When the next one may be told."""
        return min((one.due_at for one in self._tallies.values() if one.count), default=None)

    def told(self, tally: Tally, counted: int, now: float) -> None:
        """So many of a tally were told; what was noticed meanwhile waits for the end of the window."""
        tally.count -= counted
        tally.due_at = now + self._window
        if tally.count:
            tally.id, tally.since = f"evt_{uuid7().hex}", now
        self._forget(now)

    def put_off(self, tally: Tally, now: float) -> None:
        """Another node has told of the same within the window: this one's count waits for its end."""
        tally.due_at = now + self._window

    def _forget(self, now: float) -> None:
        for key in [key for key, one in self._tallies.items() if not one.count and one.due_at <= now]:
            del self._tallies[key]
