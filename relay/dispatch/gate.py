"""One destination's way out: who may pass it now, and when to look again.

Everything that keeps deliveries back meets here: the slots, the rate, the breaker, a pause, a hold
that the destination asked for. A gate knows no clock and does no I/O.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

from relay.config import Destination
from relay.limits import Breaker, Bucket, Share, Slots, is_failure
from relay.model import Outcome, Standing

BURST_SECONDS = 0.1
"""After a quiet time a destination gets at once what its rate allows in so many seconds."""

_REST = 0.1
"""Seconds without a claim after the journal gave nothing out though something is due."""

_LONGEST_REST = 2.0
"""The most of it, doubled each time, where the nodes take turns."""


class Gate:
    """The state of one destination in this process; times in Unix seconds.

    standing    pause, breaker and hold, as the journal had them when it was last asked
    held_until  no attempt before it: a 429 with Retry-After
    bell        wakes the claimer
    retired     the destination has left the configuration; what is under way ends
    turning     changes of the standing that are on their way into the journal: nothing passes meanwhile
    probe       the delivery that probes an open breaker now
    shut        nothing passes: paused, open, turning or retired
    permits     a claim counts what other nodes own, since the limit cannot be divided
    turns       there are other nodes, so that they take turns
    """

    __slots__ = (
        "_born_until",
        "_claim_from",
        "_not_before",
        "_rest",
        "_share",
        "bell",
        "breaker",
        "bucket",
        "claimer",
        "destination",
        "held_until",
        "permits",
        "probe",
        "retired",
        "shut",
        "slots",
        "standing",
        "turning",
        "turns",
    )

    def __init__(self, destination: Destination, standing: Standing, share: Share) -> None:
        self.destination = destination
        self.standing = standing
        self.slots = Slots(destination.concurrency)
        self.bucket = _bucket(destination.rate, share)
        self.breaker = Breaker(destination.breaker)
        self.held_until = standing.held_until or 0.0
        self.bell = asyncio.Event()
        self.claimer: asyncio.Task[None] | None = None
        self.retired = False
        self.turning = 0
        self.probe: str | None = None
        self.shut = False
        self.permits = self.turns = False
        self._not_before = self._rest = self._born_until = self._claim_from = 0.0
        self._share = share
        self._divide()
        self._update()

    # Newcomers.

    def admit(self, now: float) -> bool:
        """Take a slot and a token for a newcomer; False where it may not be born owned."""
        if self.shut or now < self.held_until or now > self._born_until or not self.slots.reserve(now):
            return False
        if self.bucket is not None and not self.bucket.take(now):
            self.slots.release()
            return False
        return True

    def admit_before_others(self, now: float) -> bool:
        """Take a slot and a token, whatever else is due."""
        if self.shut or now < max(self.held_until, self._claim_from) or self.slots.free <= 0:
            return False
        if self.bucket is not None and not self.bucket.take(now):
            return False
        self.slots.in_flight += 1
        return True

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
        if at is None or self.turning or self.standing.paused_at is not None or self.slots.free <= 0:
            return None
        at = max(at, self.held_until, self._not_before, self._claim_from)
        if self.standing.opened_at is not None:
            if self.probe is not None:
                return None
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

    def minds(self, delivery_id: str, outcome: Outcome) -> bool:
        """Whether an attempt's end changes anything here; most do not."""
        return outcome is not Outcome.DELIVERED or self.breaker.failures > 0 or delivery_id == self.probe

    def count(self, outcome: Outcome, status: int | None) -> bool:
        """Count an attempt; True where the breaker is to be opened now."""
        due = self.breaker.count(is_failure(outcome, status))
        return due and self.standing.opened_at is None and not self.turning

    def begin_probe(self, delivery_id: str, *, next_at: float) -> None:
        """This delivery probes the open breaker; the next one may at `next_at`."""
        self.probe = delivery_id
        self.standing = replace(self.standing, probe_at=next_at)

    def end_probe(self, delivery_id: str) -> bool:
        """Whether this attempt was the probe, which is over."""
        if delivery_id != self.probe:
            return False
        self.probe = None
        self.bell.set()
        return True

    # What the journal and the configuration say.

    def hold(self, until: float) -> None:
        """Let nothing pass before; a hold only grows."""
        self.held_until = max(self.held_until, until)

    def turn(self, by: int) -> None:
        """Begin (1) or end (-1) a change of the standing."""
        self.turning += by
        self._update()
        if not self.turning:
            self.bell.set()

    def learn(self, standing: Standing) -> None:
        """Take the journal's word; where something ended that kept deliveries back, they are due now."""
        old, self.standing = self.standing, standing
        was_held = old.held_until is not None and standing.held_until is None  # an operator ended it
        if was_held:
            self.held_until = 0.0
        self.hold(standing.held_until or 0.0)
        self._update()
        was_closed = old.opened_at is None or standing.opened_at is not None
        if not was_closed:
            self.breaker.failures = 0
        if not was_closed or was_held or (old.paused_at is not None and standing.paused_at is None):
            self.look()
        elif old.probe_at != standing.probe_at:
            self.bell.set()

    def opened(self, now: float, *, probe_at: float) -> Standing:
        """The standing with its breaker open."""
        return replace(self.standing, opened_at=self.standing.opened_at or now, probe_at=probe_at)

    def adopt(self, destination: Destination) -> None:
        """Take new limits at once; the slots in flight stay taken."""
        if destination.rate != self.destination.rate:
            self.bucket = _bucket(destination.rate, self._share)
        was_retired, self.retired = self.retired, False
        self.destination = destination
        self._divide()
        self.breaker.policy = destination.breaker
        self._update()
        if was_retired:
            self.look()
        self.bell.set()

    def take_share(self, share: Share, now: float) -> None:
        """Take this node's part of the limits; what is owed of a rate stays owed."""
        old, self._share = self._share, share
        self._divide()
        if (old.rank, old.nodes) == (share.rank, share.nodes):
            return
        if self.bucket is not None and self.destination.rate is not None:
            part = self.destination.rate / share.nodes
            self.bucket.change(rate=part, burst=_burst(part), now=now)
        self.bell.set()

    def _divide(self) -> None:
        share, limit = self._share, self.destination.concurrency
        self.slots.concurrency = share.of(limit)
        self.permits = not share.divides(limit)
        self.turns = self.permits and share.nodes > 1
        self._born_until = self._claim_from = 0.0
        if not self.permits:
            self._born_until = math.inf
        elif self.turns:
            self._claim_from = share.since
        else:
            self._born_until = share.until

    def retire(self) -> None:
        """Let nothing more pass: the destination has left the configuration."""
        self.retired = True
        self._update()
        self.bell.set()

    def _update(self) -> None:
        standing = self.standing
        self.shut = (
            self.retired
            or self.turning > 0
            or standing.paused_at is not None
            or standing.opened_at is not None
        )


def _bucket(rate: float | None, share: Share) -> Bucket | None:
    return None if rate is None else Bucket(part := rate / share.nodes, burst=_burst(part))


def _burst(rate: float) -> float:
    return max(1.0, rate * BURST_SECONDS)
