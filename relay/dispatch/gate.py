"""One destination's way out: who may pass it now, and when to look again.

Everything that keeps deliveries back meets here: the slots, the rate, the breaker, a pause, a hold
that the destination asked for. A gate knows no clock and does no I/O.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from relay.breaker import Breaker, is_failure
from relay.config import Destination
from relay.limits import Bucket, Share, Slots
from relay.model import Outcome, Standing

BURST_SECONDS = 0.1
"""After a quiet time a destination gets at once what its rate allows in so many seconds."""

_REST = 0.1
"""Seconds without a claim after the journal gave nothing out though something is due."""

_LONGEST_REST = 2.0
"""The most of it, doubled each time, where the nodes take turns."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """The delivery that probes an open breaker.

    elected  the journal's answer to its election: the opening that it probes, and the time of the next probe
    """

    delivery_id: str
    elected: Standing


class Gate:
    """The state of one destination in this process; times in Unix seconds.

    standing  pause, breaker and hold, by the newest answer of the journal; there is no copy beside it
    bell      wakes the claimer
    retired   the destination has left the configuration; what is under way ends
    changing  changes of the standing that are on their way into the journal: nothing passes meanwhile
    probe     the delivery that probes an open breaker now
    unused    the time to which this process put the next probe, by one with which nothing was sent
    shut      nothing passes: paused, open, changing or retired
    permits   a claim counts what other nodes own, since the limit is not divided
    turns     there are other nodes, so that they take turns
    """

    __slots__ = (
        "_held_until",
        "_is_settled",
        "_not_before",
        "_probe",
        "_rest",
        "_share",
        "bell",
        "breaker",
        "bucket",
        "changing",
        "claimer",
        "destination",
        "permits",
        "retired",
        "shut",
        "slots",
        "standing",
        "turns",
        "unused",
    )

    def __init__(self, destination: Destination, standing: Standing, share: Share) -> None:
        self.destination = destination
        self.standing = standing
        self.slots = Slots(destination.concurrency)
        self.bucket = _bucket(destination.rate, share)
        self.breaker = Breaker(destination.breaker)
        self.bell = asyncio.Event()
        self.claimer: asyncio.Task[None] | None = None
        self.retired = False
        self.changing = 0
        self.shut = False
        self.permits = self.turns = False
        self.unused: float | None = None
        self._probe: _Probe | None = None
        self._not_before = self._rest = 0.0
        self._share = share
        self._is_settled = share.taken
        if not share.taken:
            self.give_up_share()
        self._divide()
        self._update()

    # Newcomers.

    def admit(self, now: float) -> bool:
        """Take a slot and a token for a newcomer; False where it may not be born owned."""
        if self.shut or self.turns or now < self._held_until or not self.slots.reserve(now):
            return False
        if self.bucket is not None and not self.bucket.take(now):
            self.slots.release()
            return False
        return True

    def admit_before_others(self, now: float) -> bool:
        """Take a slot and a token, whatever else is due."""
        if self.shut or now < self._held_until or self.slots.free <= 0:
            return False
        if self.bucket is not None and not self.bucket.take(now):
            return False
        self.slots.in_flight += 1
        return True

    def may_begin(self, delivery_id: str, now: float, *, born: bool) -> bool:
        """Whether an attempt that has its slot may begin: asked right before it does.

        Since it took the slot, a pause, a hold, an opening, a reload or another node may have come. One that
        was `born` owned is not counted by others, so that none may be where the nodes take turns.
        """
        at = self.standing
        if self.retired or self.changing or at.paused_at is not None or now < self._held_until:
            return False
        if self.slots.free < 0 or (born and self.turns):
            return False
        return at.opened_at is None or self.is_probe(delivery_id)

    def leave(self) -> None:
        """Give back the slot and the token of an attempt that is not made after all."""
        if self.bucket is not None:
            self.bucket.give_back()
        self._free_slot()

    def release(self) -> None:
        """Give back the slot of an attempt that was made."""
        if self.turns:
            # Who has had the turn goes on with what the others have stored meanwhile.
            self.slots.unsure = True
        self._free_slot()

    def _free_slot(self) -> None:
        slots = self.slots
        slots.release()
        if slots.waiting or slots.unsure:
            self.bell.set()

    def note_waiting(self) -> None:
        """Learn that one more delivery waits, due now; the claimer need not hear it again and again."""
        slots = self.slots
        if not slots.waiting and not slots.unsure:
            self.bell.set()
        slots.waiting += 1

    def note_due(self, due_at: float) -> None:
        """Learn that a delivery is due then."""
        self.slots.note_due(due_at)
        self.bell.set()

    def look(self) -> None:
        """Have the claimer ask the journal for whatever is due."""
        self.slots.unsure = True
        self._not_before = 0.0
        self.bell.set()

    def looked(self, due_at: float | None, now: float) -> None:
        """Learn from the journal that nothing is due before, or that something is."""
        if due_at is None or due_at > now:
            self.slots.unsure = False
        if due_at is not None:
            self.note_due(due_at)

    # Claims.

    def next_look(self, now: float) -> float | None:
        """When to claim next, `now` or later; None where only the bell can tell."""
        is_due = self.slots.is_due(now)
        at = now if is_due else self.slots.next_due
        if at is None or self.changing or self.standing.paused_at is not None or self.slots.free <= 0:
            return None
        at = max(at, self._held_until, self._not_before)
        if self.standing.opened_at is not None:
            if self._probe is not None:
                return None
            if self.unused is None or self.unused != self.standing.probe_at:
                at = max(at, self.standing.probe_at or 0.0)
        return at if self.bucket is None else max(at, self.bucket.ready_at)

    def begin_claim(self, now: float) -> int:
        """Take slots and tokens for a claim; how many it may take, a single one as a probe."""
        asked = self.slots.wanted
        if self.standing.opened_at is not None:
            asked = min(asked, 1)
        if self.bucket is not None:
            asked = self.bucket.take_up_to(asked, now)
        self.slots.begin_claim(asked)
        return asked

    def end_claim(self, *, asked: int, got: int) -> bool:
        """Give back what the claim did not fill; True where the journal knows more of due times."""
        if got:
            self._rest = 0.0
        if self.bucket is not None:
            self.bucket.give_back(asked - got)
        return self.slots.end_claim(asked=asked, got=got)

    def room(self, asked: int) -> int | None:
        """How many deliveries this node and the others may own, with a claim for `asked` of them.

        None where each has slots of its own. What this node has tried and not yet settled needs no room.
        """
        if not self.permits:
            return None
        return self.destination.concurrency - (self.slots.in_flight - asked)

    def rest(self, now: float) -> None:
        """Claim nothing for a while: something is due, and the journal gives nothing out.

        Another process has paused the destination, or has the probe, and the next look at the standings
        will show it; or another node has its turn, which may take long.
        """
        self._rest = min(_LONGEST_REST, 2 * self._rest) if self.turns and self._rest else _REST
        self._not_before = now + self._rest

    # What attempts tell.

    def affects_state(self, delivery_id: str, outcome: Outcome) -> bool:
        """Whether an attempt's end changes anything here; most do not."""
        return outcome is not Outcome.DELIVERED or self.breaker.failures > 0 or self.is_probe(delivery_id)

    def count(self, outcome: Outcome, status: int | None) -> bool:
        """Count an attempt; True where the breaker is to be opened now."""
        due = self.breaker.count(is_failure(outcome, status))
        return due and self.standing.opened_at is None and not self.changing

    def begin_probe(self, delivery_id: str, elected: Standing) -> None:
        """This delivery probes the breaker; `elected` is the journal's answer to its election."""
        self._probe = _Probe(delivery_id, elected)

    def is_probe(self, delivery_id: str) -> bool:
        """Whether this delivery probes the open breaker."""
        return self._probe is not None and self._probe.delivery_id == delivery_id

    def end_probe(self, delivery_id: str, *, used: bool = True) -> float | None:
        """The probe is over; the opening that it was for, None where this delivery was no probe.

        One that was not `used`, since nothing was sent, leaves its turn to the next delivery that is due.
        """
        probe = self._probe
        if probe is None or probe.delivery_id != delivery_id:
            return None
        self._probe = None
        # Not the time that the gate knows now: that may be another node's probe, which is not ours to repeat.
        self.unused = None if used else probe.elected.probe_at
        self.bell.set()
        return probe.elected.opened_at

    # What the journal and the configuration say.

    @contextmanager
    def change(self) -> Iterator[None]:
        """Let nothing pass while a change is on its way into the journal."""
        self.changing += 1
        self._update()
        try:
            yield
        finally:
            self.changing -= 1
            self._update()
            if not self.changing:
                self.bell.set()

    def apply(self, standing: Standing, *, known: int | None = None) -> bool:
        """Go by the journal's answer, unless a newer one is known; whether it was taken.

        `known` is the version that was known before the journal was asked: an answer with a lower one is of
        a database that was put back to an earlier state, and counts. Where something ended that kept
        deliveries back, they are due now.
        """
        old = self.standing
        if standing.version < old.version and (known is None or standing.version >= known):
            return False
        self.standing = standing
        self._update()
        if old.opened_at is not None and old.opened_at != standing.opened_at:
            self.breaker.failures = 0
            self._probe = None  # what was elected for another opening says nothing of this one
        has_closed = old.opened_at is not None and standing.opened_at is None
        was_held = old.held_until is not None and standing.held_until is None  # an operator ended it
        if has_closed or was_held or (old.paused_at is not None and standing.paused_at is None):
            self.look()
        elif old.probe_at != standing.probe_at:
            self.bell.set()
        return True

    def adopt(self, destination: Destination, now: float) -> None:
        """Take new limits at once; the slots in flight stay taken, and what is owed of a rate stays owed."""
        if destination.rate != self.destination.rate:
            self._change_rate(destination.rate, now)
        was_retired, self.retired = self.retired, False
        self.destination = destination
        self._divide()
        self.breaker.policy = destination.breaker
        self._update()
        if was_retired:
            self.look()
        self.bell.set()

    # What other nodes leave of the limits.

    def take_share(self, share: Share, now: float, *, is_settled: bool) -> None:
        """Take this node's part of the limits; what is owed of a rate stays owed.

        A part that is smaller is taken at once, one that is larger where `is_settled`: all others go by
        the same nodes, and none has more under way than its own part.
        """
        old, self._share = self._share, share
        self._is_settled = is_settled
        before = (self.slots.concurrency, self.permits, self.turns)
        self._divide()
        is_other = (old.rank, old.nodes) != (share.rank, share.nodes)
        if is_other:
            self._change_rate(self.destination.rate, now)
        if is_other or before != (self.slots.concurrency, self.permits, self.turns):
            self.bell.set()

    def give_up_share(self) -> None:
        """Begin nothing more: the others have not heard of this node yet, or may have taken it for gone."""
        self.slots.concurrency = 0

    def _divide(self) -> None:
        share, limit = self._share, self.destination.concurrency
        part = share.of(limit)
        if self._is_settled:
            self.slots.concurrency, self.permits = part, not share.divides(limit)
        else:
            self.slots.concurrency = min(self.slots.concurrency, part)
            self.permits = self.permits or not share.divides(limit)
        self.turns = self.permits and share.nodes > 1

    def _change_rate(self, rate: float | None, now: float) -> None:
        if self.bucket is None or rate is None:
            self.bucket = _bucket(rate, self._share)
            return
        part = rate / self._share.nodes
        self.bucket.change(rate=part, burst=_burst(part), now=now)

    def retire(self) -> None:
        """Let nothing more pass: the destination has left the configuration."""
        self.retired = True
        self._update()
        self.bell.set()

    def _update(self) -> None:
        standing = self.standing
        self._held_until = standing.held_until or 0.0
        self.shut = (
            self.retired
            or self.changing > 0
            or standing.paused_at is not None
            or standing.opened_at is not None
        )


def _bucket(rate: float | None, share: Share) -> Bucket | None:
    return None if rate is None else Bucket(part := rate / share.nodes, burst=_burst(part))


def _burst(rate: float) -> float:
    return max(1.0, rate * BURST_SECONDS)
