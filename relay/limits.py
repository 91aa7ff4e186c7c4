"""The slots of a destination: who may take one, and how many a claim takes. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self.concurrency - self.in_flight

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

    def begin_claim(self) -> int:
        """Take slots for a claim: all that are free, or as many as are known to be wanted."""
        asked = self.free if self.unsure else min(self.free, self.waiting)
        self.waiting = 0 if self.unsure else self.waiting - asked
        self.unsure = False
        self.in_flight += asked
        return asked

    def end_claim(self, *, asked: int, got: int) -> None:
        """Give back the slots that the claim did not fill."""
        self.in_flight -= asked - got
