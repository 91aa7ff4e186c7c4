"""The values that travel through Relay: requests, events, deliveries, attempts and their ends.

Times are Unix seconds as float, durations seconds. What came from the wire is bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

Headers = tuple[tuple[bytes, bytes], ...]
"""Header names (lower case) and values in the order received, duplicates included."""


SUSPECT_AFTER = 2
"""A delivery that lost its owner so often is tried alone: it may be what kills the process."""

POISON_AFTER = 5
"""A delivery that lost its owner so often is dead."""


_LONGEST_INDEXED = 2_400
"""Bytes of a text in an index: PostgreSQL takes 2,704 in an entry, with the source's name of up to 200."""


def indexed(text: str) -> str:
    """Give a key as every engine's index takes it: as it is, or its hash where it is too long."""
    encoded = text.encode("utf-8", "surrogatepass")
    return text if len(encoded) <= _LONGEST_INDEXED else text_hash(text)


def text_hash(text: str) -> str:
    """Write the name that stands for a long text."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


class EventState(StrEnum):
    """Where an accepted event went: to at least one destination, or to none."""

    ROUTED = "routed"
    FILTERED = "filtered"


class DeliveryState(StrEnum):
    """The four states of a delivery; only `pending` ever changes by itself."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How one attempt ended; every attempt ends in exactly one of these."""

    DELIVERED = "delivered"
    HTTP_STATUS = "http_status"
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"
    DNS_ERROR = "dns_error"
    TLS_ERROR = "tls_error"
    READ_ERROR = "read_error"
    BLOCKED_ADDRESS = "blocked_address"
    TRANSFORM_ERROR = "transform_error"
    EXPIRED = "expired"
    BACKLOG_FULL = "backlog_full"
    INTERRUPTED = "interrupted"


class Decision(StrEnum):
    """What follows from an attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request as it reached the ingress.

    `path` is the decoded path below `/hooks`, `url` the full URL that the sender used (scheme,
    host, raw path and query), which some schemes sign; `remote` is the peer's address.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    url: str
    remote: str | None
    received_at: float

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted webhook, as the journal keeps it (plain secrets are gone from headers and query).

    `reason` says why a filtered event went nowhere: `no_route` (its source has none), `no_match`,
    `route_error` or `conflict`.
    `seq` is the journal's own order; None until stored.
    """

    id: str
    source: str
    type: str | None
    provider_id: str | None
    received_at: float
    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    remote: str | None
    state: EventState = EventState.ROUTED
    reason: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A transformed request as it was first sent, so that every retry sends the same bytes."""

    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one destination.

    attempts     attempts begun, which is also the number of the latest one
    finished     attempts that count towards `max_attempts` since the age was last set
    age_from     when `max_age` began to count, in its destination's clock (`Standing.time`)
    due_at       when it may be tried next; None unless pending
    owner        the node that holds it now; None while it waits
    fence        grows with each claim; a settle must carry the one it was claimed under
    reason       why it is dead: `max_attempts`, `give_up_on`, `expired`, `transform_error`, `poison`,
                 `backlog_full`
    owners_lost  how often its owner died holding it; 2 makes it suspect, 5 dead as poison
    transform    whether its route had a transform when it was planned
    lane         the key of its order lane; None where it stands in none
    place        its place in the lane, given by the journal; the lowest pending one is the head
    hold         whether the lane stops behind it when it dies, until it is retried or cancelled
    behind       whether it waits for what was pending when the order of its route changed
    """

    id: str
    event_id: str
    source: str
    route: str
    destination: str
    key: str
    created_at: float
    age_from: float
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    finished: int = 0
    due_at: float | None = None
    owner: str | None = None
    fence: int = 0
    owners_lost: int = 0
    outcome: Outcome | None = None
    status: int | None = None
    error: str | None = None
    reason: str | None = None
    finished_at: float | None = None
    transform: bool = False
    rendered: Rendered | None = None
    lane: str | None = None
    place: int | None = None
    hold: bool = False
    behind: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether it lost its owner so often that it may be what kills the process."""
        return self.owners_lost >= SUSPECT_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one delivery. `response` is the first 4 KiB of what came back; `note` a remark."""

    delivery_id: str
    number: int
    started_at: float
    duration: float
    outcome: Outcome
    node: str
    status: int | None = None
    error: str | None = None
    note: str | None = None
    response: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedup:
    """The key by which a second posting of one event is known, and until when."""

    key: str
    body_hash: bytes
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What keeps a destination's deliveries back, as the journal has it; times in Unix seconds.

    paused_at      since when it is paused; None while it is not
    pause_reason   `operator`, or what an attempt met, such as `HTTP 410`
    paused_for     how long all earlier pauses were, together, in seconds
    opened_at      since when its breaker is open; None while it is closed
    probe_at       when an open breaker lets the next probe through
    held_until     until when a 429 with Retry-After holds it
    resumed_at     when an operator last let it go on: what attempts asked for before is over
    version        how often any of this has changed: of two answers of the journal, the newer has the higher
    """

    name: str
    paused_at: float | None = None
    pause_reason: str | None = None
    paused_for: float = 0.0
    opened_at: float | None = None
    probe_at: float | None = None
    held_until: float | None = None
    resumed_at: float | None = None
    version: int = 0

    def time(self, now: float) -> float:
        """The time of the destination's clock, which stops while it is paused: ages go by it."""
        return (now if self.paused_at is None else self.paused_at) - self.paused_for


def route_id(source: str, route: str) -> str:
    """A route among all: names are told apart within a source alone."""
    return f"{source}/{route}"
