"""Limits by count: slots, tokens, bytes. Pure: no clock, no I/O; `now` is in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One node's part of every limit: it is the `rank`th, from 0, of `nodes` that live.

    taken  whether all the others go by these nodes, so that none of them takes more than its part
    """

    rank: int = 0
    nodes: int = 1
    taken: bool = True

    def divides(self, limit: int) -> bool:
        """Whether there is something of a limit for every node; else the nodes must take turns."""
        return limit >= max(2, self.nodes)

    def of(self, limit: int) -> int:
        """How many of so many slots: all parts together are the limit; all where it cannot be divided."""
        if not self.divides(limit):
            return limit
        return limit // self.nodes + (self.rank < limit % self.nodes)


@dataclass(slots=True)
class Bucket:
    """So many a second, and up to `burst` at once after a quiet time (the generic cell rate algorithm).

    It holds one number: when it would be full again. A token is free while that lies less than the
    time of `burst` tokens ahead.
    """

    rate: float
    burst: float = 1.0
    full_at: float = 0.0

    @property
    def ready_at(self) -> float:
        """When the next token is free; in the past where one is."""
        return self.full_at - (self.burst - 1.0) / self.rate

    def take(self, now: float) -> bool:
        """Take a token; False where none is free."""
        if now < self.ready_at:
            return False
        self.full_at = max(self.full_at, now) + 1.0 / self.rate
        return True

    def take_up_to(self, most: int, now: float) -> int:
        """Take as many tokens as are free, but no more than `most`; how many those are."""
        taken = 0
        while taken < most and self.take(now):
            taken += 1
        return taken

    def change(self, *, rate: float, burst: float, now: float) -> None:
        """Go on with another rate; what was taken too many before is still owed."""
        owed = max(0.0, self.full_at - now) * self.rate
        self.rate, self.burst = rate, burst
        self.full_at = now + owed / rate

    def give_back(self, tokens: int = 1) -> None:
        """Give back tokens that were not used."""
        self.full_at -= tokens / self.rate


@dataclass(slots=True)
class Budget:
    """So many bytes for all who share it."""

    size: int
    used: int = 0

    def take(self, count: int) -> bool:
        """Count bytes in; False, and none counted, where there is no room for them."""
        if self.used + count > self.size:
            return False
        self.used += count
        return True

    def give(self, count: int) -> None:
        """Count bytes out."""
        self.used -= count


@dataclass(slots=True)
class Slots:
    """The slots of one destination, and what is known of the deliveries that wait for them.

    concurrency  how many attempts at once
    waiting      deliveries that this process stored without a slot, due now
    unsure       whether others may be due: at the start, after a wait, when a claim was full
    next_due     when the next known delivery is due

    A claim takes no more slots than it needs, so that newcomers are born owned meanwhile: one that
    took them all would make every newcomer wait for the next claim, and so for ever.
    """

    concurrency: int
    in_flight: int = 0
    waiting: int = 0
    unsure: bool = True
    next_due: float | None = None
    _behind: int = 0
    _asked_all: bool = False

    @property
    def free(self) -> int:
        """Slots that nobody holds; less than none when there are fewer than there were."""
        return self.concurrency - self.in_flight

    @property
    def wanted(self) -> int:
        """How many a claim should take: all that are free, or as many as are known to be wanted."""
        free = max(0, self.free)
        return free if self.unsure else min(free, self.waiting)

    def is_due(self, now: float) -> bool:
        """Whether something waits that is due, so that newcomers must go behind it."""
        if self.next_due is not None and self.next_due <= now:
            self.unsure, self.next_due = True, None
        return self.unsure or self.waiting > 0

    def reserve(self, now: float) -> bool:
        """Take a slot for a newcomer; False where there is none or others must go first."""
        if self.free <= 0 or self.is_due(now):
            return False
        self.in_flight += 1
        return True

    def release(self) -> None:
        """Give one slot back."""
        self.in_flight -= 1

    def note_due(self, due_at: float) -> None:
        """Learn that something is due then."""
        if self.next_due is None or due_at < self.next_due:
            self.next_due = due_at

    def note_oldest(self, due_at: float, now: float, *, patience: float) -> None:
        """Learn from the journal when the longest waiting delivery is, or was, due.

        Where some are known to wait, it is most likely one of these: only one that waited longer
        than `patience` seconds makes the next claim ask for all.
        """
        if due_at > now:
            self.note_due(due_at)
        elif not self.waiting or due_at <= now - patience:
            self.unsure = True

    def begin_claim(self, asked: int) -> None:
        """Take so many slots for a claim; while it lasts, those that it leaves behind still wait."""
        self.waiting = 0 if self.unsure else self.waiting - asked
        self._asked_all, self.unsure = self.unsure, False
        self._behind = self.waiting
        self.in_flight += asked

    def end_claim(self, *, asked: int, got: int) -> bool:
        """Give back the slots that the claim did not fill; True where later due times may be unknown.

        One that was not filled shows that nothing else is due. (What waits in an order lane was
        counted as waiting when it was stored, and is not due before its turn.)
        """
        self.in_flight -= asked - got
        if got < asked:
            self.waiting -= self._behind
            return self._asked_all
        self.unsure = self.unsure or self._asked_all
        return False
