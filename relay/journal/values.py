"""What goes into the journal and what comes out: requests to it, its answers, its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from relay.journal.losses import Loss
from relay.model import (
    Attempt,
    Dedup,
    Delivery,
    DeliveryState,
    Event,
    EventState,
    Outcome,
    Rendered,
    Standing,
)


class Retention(Protocol):
    """For how many seconds what is finished is kept, and how many bytes the journal may take."""

    @property
    def delivered(self) -> float:
        """Seconds that a delivered or cancelled delivery is kept."""

    @property
    def filtered(self) -> float:
        """Seconds that a filtered event is kept."""

    @property
    def dead(self) -> float:
        """Seconds that a dead delivery, or an event on which a route failed, is kept."""

    @property
    def max_size(self) -> int | None:
        """Bytes in use above which what is delivered or filtered goes early, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event to be stored with its planned deliveries, in one transaction."""

    event: Event
    deliveries: tuple[Delivery, ...] = ()
    dedup: Dedup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of an entry.

    kind      `stored`; `duplicate`: the key was seen, `event_id` is the first event's and nothing
              new was stored; `conflict`: the key was seen with another body, the event is kept filtered
    first_event_id  with `duplicate` and `conflict`, the event that came first by this key
    revived   destinations that a duplicate set going again
    """

    kind: Literal["stored", "duplicate", "conflict"]
    event_id: str
    revived: tuple[str, ...] = ()
    first_event_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of one attempt and what follows; `delivery` is as it was claimed (owner and fence)."""

    delivery: Delivery
    attempt: Attempt
    state: DeliveryState
    due_at: float | None
    finished: int
    rendered: Rendered | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a settlement.

    done      it is settled so, now or already; False when it was fenced off
    promoted  the next of its lane is due now
    """

    done: bool
    promoted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that this node now owns, with its event."""

    delivery: Delivery
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """The answer to a change of what keeps a destination back.

    changed   whether it was made; False where the row said otherwise
    standing  the destination's state afterwards, whoever made it so
    number    the change that processes have taken when they go by this state; None where nobody waits for it
    due       deliveries with a due time, after a `resume`
    """

    changed: bool
    standing: Standing
    number: int | None = None
    due: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The delivery that probes an open breaker, where one was elected, and the state by which it was."""

    claims: list[Claim]
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A process that lives.

    change   the last change that it has taken; None before it has looked, and it begins nothing before
    answers  whether its program writes that; one of an older Relay does not
    """

    node: str
    change: int | None
    answers: bool

    def has_taken(self, change: int) -> bool:
        """Whether it goes by this change, as far as it says so."""
        return self.answers and (self.change is None or self.change >= change)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What processes do and must do, of one moment; `change` is no newer than the rest.

    change     the number of the last change
    peers      the processes that live, this one among them, the oldest first
    standings  what keeps destinations back, by name; the others have no row yet
    owned      how many deliveries of a destination each process owns, by destination and process, where
               that was asked for
    """

    change: int
    peers: tuple[Peer, ...]
    standings: Mapping[str, Standing]
    owned: Mapping[tuple[str, str], int] | None


class Load(Protocol):
    """Who decides for one claim which of the deliveries that it found may come into memory.

    Asked in the writer's thread, by sizes, before large bodies are read; sizes are in bytes.
    """

    def begin(self) -> None:
        """A claim begins, maybe anew: what was taken for it before does not count."""

    def take(self, delivery_id: str, event_id: str, *, body: int, rendered: int) -> bool:
        """Whether this delivery may come into memory; what may not stays in the journal for a second."""

    def find(self, event_id: str) -> bytes | None:
        """The body of an event, where another delivery of it has it in memory."""

    def keep(self, event_id: str, body: bytes) -> None:
        """The body of an event was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """A delivery taken from an owner that is gone or forgot it; `dead` when it is poison."""

    delivery_id: str
    event_id: str
    source: str
    destination: str
    owner: str
    owners_lost: int
    dead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How much a purge removed."""

    events: int = 0
    deliveries: int = 0
    dedup: int = 0

    def __add__(self, other: Purged) -> Purged:
        return Purged(
            events=self.events + other.events,
            deliveries=self.deliveries + other.deliveries,
            dedup=self.dedup + other.dedup,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events or deliveries; what is None does not matter.

    `since` and `until` are Unix seconds of receipt (events) or planning (deliveries); `search` is
    looked for, as it stands, in an event's id, provider id, type, path and body.

    blocked       only what is pending and waits for more than its due time: a lane, a pause, a
                  breaker, a 429's hold, its route, or its destination
    destinations  with `blocked`: those of the configuration in force; None where it is not known
    now           with `blocked`: the moment in question; None leaves a 429's hold out
    """

    source: str | None = None
    route: str | None = None
    destination: str | None = None
    state: DeliveryState | EventState | None = None
    outcome: Outcome | None = None
    status: int | None = None
    since: float | None = None
    until: float | None = None
    search: str | None = None
    blocked: bool = False
    destinations: frozenset[str] | None = None
    now: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """Where a delivery stands in its lane.

    head_id   whose turn it is; None where a dead one holds the lane
    position  1 for the head, or for the dead one that holds the lane; 2 for the next
    held_by   the dead delivery for which the lane waits
    """

    head_id: str | None
    position: int
    held_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStatus:
    """One destination: what waits (`oldest_at` when its oldest was planned), what ended.

    `held_lanes` wait for a dead delivery to be retried or cancelled, the first of them since `held_since`;
    the first of the dead is so since `dead_since`.
    """

    name: str
    pending: int
    in_flight: int
    oldest_at: float | None
    due_at: float | None
    dead: int
    delivered: int
    last_error: str | None
    last_error_at: float | None
    standing: Standing
    held_lanes: int
    dead_since: float | None = None
    held_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source: when it was last heard, how much was taken and refused, and when last."""

    name: str
    last_at: float | None
    accepted: int
    rejected: int
    rejected_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One process that serves, or died serving and was not yet noticed.

    config        the digest of the configuration that it has in force
    reload        the last request to take the file anew that it saw through
    config_error  why it did not take the file then
    change        the last change of what processes must do that it has taken; None before it has looked
    answers       whether its program writes that; one of an older Relay does not
    beat_at       when it last renewed its row, by the database's clock; None on a file
    wall_ahead    seconds by which its wall clock was ahead of the database's then; None on a file
    """

    id: str
    started_at: float
    version: str
    host: str
    pid: int
    alive: bool
    config: str | None
    reload: int | None
    config_error: str | None
    change: int | None
    answers: bool
    beat_at: float | None
    wall_ahead: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The journal at a glance; `losses` that no operator has accepted."""

    destinations: tuple[DestinationStatus, ...]
    sources: tuple[SourceStatus, ...]
    nodes: tuple[NodeStatus, ...]
    bytes: int
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Somebody, not Relay, who keeps back what the journal would have removed, so that it grows.

    by       the process or transaction, in words
    does     what it does, in words
    seconds  for how long; None where that is not known, and it has done harm already
    """

    by: str
    does: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """The ledger of one source: accepted = routed + filtered."""

    source: str
    accepted: int
    routed: int
    filtered: int

    @property
    def imbalance(self) -> int:
        """By how many events the two sides differ."""
        return abs(self.accepted - self.routed - self.filtered)

    @property
    def ok(self) -> bool:
        """Whether the line balances."""
        return self.imbalance == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLine:
    """The ledger of one source and destination: planned + replayed = what became of them."""

    source: str
    destination: str
    planned: int
    replayed: int
    pending: int
    delivered: int
    dead: int
    cancelled: int

    @property
    def imbalance(self) -> int:
        """By how many deliveries the two sides differ."""
        return abs(self.planned + self.replayed - self.pending - self.delivered - self.dead - self.cancelled)

    @property
    def ok(self) -> bool:
        """Whether the line balances."""
        return self.imbalance == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The conservation table; `waiting` says by reason what the pending deliveries wait for."""

    events: tuple[EventLine, ...]
    deliveries: tuple[DeliveryLine, ...]
    waiting: Mapping[str, int]

    @property
    def imbalance(self) -> int:
        """By how much the lines are out, all in all."""
        events = sum(line.imbalance for line in self.events)
        return events + sum(line.imbalance for line in self.deliveries)

    @property
    def balanced(self) -> bool:
        """Whether every line balances."""
        return self.imbalance == 0
