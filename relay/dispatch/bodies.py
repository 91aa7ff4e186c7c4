"""How many bytes of bodies are on their way out, and which more may come into memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from relay.config.model import Celery, Destination, Email, Http
from relay.model import Event
from relay.process.body_memory import MEDIUM, SMALL, BodyMemory, Part

COPIES_IN_MAIL = 9
COPIES_IN_TASK = 6
"""Their libraries write mails and tasks whole, in steps that each make a copy: 10 and 6.7 times a body."""

STALE = 5.0
"""Seconds after which a destination that waits for room, and does not ask again, has lost its turn.

Who is refused asks again after a second; one that does not is paused, open, or has no slot.
"""


@dataclass(slots=True)
class _Room:
    """The bytes for bodies of one size; `waiting` has who waits, in order, and when each asked last."""

    part: Part
    waiting: dict[str, float] = field(default_factory=dict)

    def take(self, count: int, destination: str | None, clock: Callable[[], float]) -> bool:
        """Count bytes in, if it is this destination's turn and they fit; else it waits for its turn.

        Without a destination whoever waits goes first, and nobody is made to wait. More than the whole
        room fits where there is nothing else.
        """
        if not self.waiting and self.part.take(count):
            return True
        now = clock()
        for name, asked in tuple(self.waiting.items()):
            if now - asked > STALE:
                del self.waiting[name]
        is_first = next(iter(self.waiting), destination) == destination
        if is_first and self.part.take(count, own=0):
            if destination is not None:
                self.waiting.pop(destination, None)
            return True
        if destination is not None:
            self.waiting[destination] = now
        return False


@dataclass(slots=True)
class _Shared:
    """The body of an event that is in memory once for all its deliveries."""

    room: _Room
    size: int
    body: bytes | None
    users: int = 1


class _Taken(NamedTuple):
    """What one delivery counts for: bytes of its own, and its event's where that is shared."""

    room: _Room
    own: int
    event_id: str | None


class Bodies:
    """What the deliveries in flight hold in memory; one per process, for any thread.

    A body above `SMALL` is in memory and counted once for all deliveries of its event.
    """

    def __init__(self, memory: BodyMemory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rooms = (
            _Room(memory.small_in_flight),
            _Room(memory.medium_in_flight),
            _Room(memory.large_in_flight),
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: dict[str, _Taken] = {}
        self._shared: dict[str, _Shared] = {}

    @property
    def used(self) -> int:
        """Bytes that are counted now."""
        return sum(room.part.used for room in self._rooms)

    def enter(self, delivery_id: str, event: Event, *, copies: int = 0) -> bool:
        """Count the body of a new event for a delivery; False where there is no room, or others wait for it.

        `copies`: how many more of it the attempt makes.
        """
        size = len(event.body)
        if not self.take(delivery_id, event.id, size=size, own=size * copies, destination=None):
            return False
        if size > SMALL:
            self.keep(event.id, event.body)
        return True

    def leave(self, delivery_id: str) -> None:
        """Forget a delivery that is no longer in flight."""
        with self._lock:
            self._give_back(delivery_id)

    def load(self, destination: str, *, copies: int = 0) -> Load:
        """What decides for one claim."""
        return Load(self, destination, copies)

    def take(self, delivery_id: str, event_id: str, *, size: int, own: int, destination: str | None) -> bool:
        """Count a delivery in: `own` bytes, and `size` where the body of its event is not counted yet.

        False where there is no room; the destination waits for it then.
        """
        with self._lock:
            if delivery_id in self._taken:  # this process forgot it, and takes it again
                self._give_back(delivery_id)
            shared = self._shared.get(event_id)
            count = own if shared is not None else size + own
            room = self._room(count)
            if count and not room.take(count, destination, self._clock):
                return False
            if size <= SMALL:
                self._taken[delivery_id] = _Taken(room, count, None)
                return True
            if shared is not None:
                shared.users += 1
            else:
                self._shared[event_id] = _Shared(room, size, None)
            self._taken[delivery_id] = _Taken(room, own, event_id)
            return True

    def find(self, event_id: str) -> bytes | None:
        """The body of an event, where it is in memory and shared."""
        shared = self._shared.get(event_id)
        return None if shared is None else shared.body

    def keep(self, event_id: str, body: bytes) -> None:
        """Share the body of an event that is counted with its other deliveries."""
        shared = self._shared.get(event_id)
        if shared is not None:
            shared.body = body

    def _give_back(self, delivery_id: str) -> None:
        taken = self._taken.pop(delivery_id, None)
        if taken is None:
            return
        taken.room.part.give(taken.own)
        if taken.event_id is None:
            return
        shared = self._shared[taken.event_id]
        shared.users -= 1
        if not shared.users:
            shared.room.part.give(shared.size)
            del self._shared[taken.event_id]

    def _room(self, count: int) -> _Room:
        small, medium, large = self._rooms
        return small if count <= SMALL else medium if count <= MEDIUM else large


def copies_of(destination: Destination) -> int:
    """How many more copies of a body an attempt makes beside the one in memory, at its worst."""
    match destination.target:
        case Http():
            return 0
        case Email():
            return COPIES_IN_MAIL
        case Celery():
            return COPIES_IN_TASK
        case _:
            assert_never(destination.target)


class Load:
    """Which of the deliveries that a claim has found may come into memory; see the journal's `Load`."""

    __slots__ = ("_bodies", "_copies", "_destination", "_taken", "is_short")

    def __init__(self, bodies: Bodies, destination: str, copies: int) -> None:
        self._bodies = bodies
        self._destination = destination
        self._copies = copies
        self._taken: list[str] = []
        self.is_short = False

    def begin(self) -> None:
        """Forget what an earlier run of the same claim took, whose transaction failed."""
        self.give_back()
        self.is_short = False

    def take(self, delivery_id: str, event_id: str, *, body: int, rendered: int) -> bool:
        """Count a delivery in by the sizes of its bodies; False where it must wait in the journal."""
        own = (rendered or body) * self._copies + rendered
        if not self._bodies.take(delivery_id, event_id, size=body, own=own, destination=self._destination):
            self.is_short = True
            return False
        self._taken.append(delivery_id)
        return True

    def find(self, event_id: str) -> bytes | None:
        """The body of an event, where it is in memory."""
        return self._bodies.find(event_id)

    def keep(self, event_id: str, body: bytes) -> None:
        """Let the other deliveries of an event have the body that was read for one."""
        self._bodies.keep(event_id, body)

    def give_back(self) -> None:
        """Forget all that was taken: the claim has failed."""
        for delivery_id in self._taken:
            self._bodies.leave(delivery_id)
        self._taken.clear()
