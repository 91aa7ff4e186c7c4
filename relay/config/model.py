"""The configuration as the service uses it: frozen values, compiled and checked."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, TypeAlias

from relay import retry
from relay.breaker import BreakerPolicy
from relay.expressions import Program, Template, View
from relay.model import Headers, indexed, route_id
from relay.routing import Order, Route, key_text
from relay.signatures import Scheme

Network: TypeAlias = IPv4Network | IPv6Network

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+", re.ASCII)

ABOUT = (
    "dead",
    "lagging",
    "breaker_open",
    "paused",
    "source_silent",
    "route_error",
    "rejected",
    "config_rejected",
    "disk_low",
    "journal_pinned",
    "journal_rewound",
    "ledger",
)
"""What operators may be alerted about."""


UNKNOWN_SHOWN = "${…}"
"""How an expression is shown in which a variable has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """The deadline on one whole attempt, and on connecting alone, in seconds."""

    connect: float | None
    total: float


@dataclass(frozen=True, slots=True)
class Success:
    """The statuses by which a destination says that it has the event."""

    statuses: frozenset[int]

    def __call__(self, status: int) -> bool:
        """Whether this status means delivered."""
        return status in self.statuses


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path below /hooks, such as `/plants/{site}/events`; a placeholder stands for one segment."""

    template: str = field(repr=False)
    segments: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        head, *segments = self.template.split("/")
        if head or not segments:
            raise ValueError("a path begins with /")
        names = []
        for segment in segments:
            placeholder = _PLACEHOLDER.fullmatch(segment)
            if placeholder:
                names.append(placeholder[1])
            elif segment in {"", ".", ".."} or not _LITERAL.fullmatch(segment):
                raise ValueError("each segment of a path is plain text, or one {placeholder}")
        if len(names) != len(set(names)):
            raise ValueError("each {placeholder} of a path has its own name")
        object.__setattr__(self, "segments", tuple(segments))

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of its placeholders, in order."""
        return tuple(segment[1:-1] for segment in self.segments if segment.startswith("{"))

    def match(self, path: str) -> Mapping[str, str] | None:
        """The placeholders' values in a decoded path, or None where the path is another.

        A value is one segment, not empty, without control characters, and never `.` or `..`.
        """
        head, *segments = path.split("/")
        if head or len(segments) != len(self.segments):
            return None
        values = {}
        for expected, segment in zip(self.segments, segments, strict=True):
            if expected.startswith("{"):
                if segment in {"", ".", ".."} or not segment.isprintable():
                    return None
                values[expected[1:-1]] = segment
            elif segment != expected:
                return None
        return values

    def overlaps(self, other: PathPattern) -> bool:
        """Whether some path matches both."""
        return len(self.segments) == len(other.segments) and all(
            mine == theirs or "{" in (mine[0], theirs[0])
            for mine, theirs in zip(self.segments, other.segments, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupRule:
    """How a second posting is known: by `key`, or the provider's own id where it is None."""

    key: Program | None
    window: float

    def key_of(self, view: View) -> str | None:
        """The key of one event; one of null or "" is none. Raises ExpressionError."""
        text = view.provider_id if self.key is None else key_text(self.key.evaluate(view))
        return indexed(text) if text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """What a source's sender is answered in place of Relay's own 202."""

    status: int
    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """A question that is answered before any signature and not stored: `when` all hold."""

    when: tuple[Program, ...]
    status: int
    content_type: str
    body: Template = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where events come from.

    `max_body` and `parse` are bytes; no `allow_ips` means from anywhere; `rate` is events a second;
    after `silent_after` seconds without an event operators are alerted.
    """

    name: str
    path: PathPattern
    methods: frozenset[str]
    scheme: Scheme = field(repr=False)
    max_body: int
    parse: int
    dedup: DedupRule | None = field(repr=False)
    allow_ips: tuple[Network, ...]
    respond: Respond | None
    rate: float | None
    silent_after: float | None
    handshakes: tuple[Handshake, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerAuth:
    """`Authorization: Bearer`."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """`Authorization: Basic`."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyAuth:
    """A value in a header or in the query: one of the two names is None."""

    header: str | None
    query: str | None
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2Auth:
    """Client credentials (RFC 6749, 4.4)."""

    token_url: str = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None


Auth = BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """An HTTP API; without a `method`, each delivery goes out by the one it came in by.

    url            a template whose holes stand in path and query; each value is percent-encoded
    forward_query  whether the sender's query is appended
    sign           one scheme for each secret: several sign side by side while a secret rolls
    tls            None for the machine's own certificates
    """

    url: Template = field(repr=False)
    method: str | None
    forward_query: bool
    headers: Headers = field(repr=False)
    success: Success = field(repr=False)
    auth: Auth | None = field(repr=False)
    sign: tuple[Scheme, ...] = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """A mailbox behind an SMTP server; `tls` is `none`, `starttls` or `implicit`."""

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"]
    username: str | None
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Celery:
    """A task of Celery workers; the body goes as text, or as base64."""

    broker: str = field(repr=False)
    task: str
    queue: str | None
    encoding: Literal["text", "base64"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where deliveries go, and how it wants to be treated.

    `rate` is attempts a second; beyond `max_backlog` pending, new deliveries are born dead; without
    a `breaker` there is none.
    """

    name: str
    target: Http | Email | Celery
    timeout: Timeout
    retry: retry.Policy
    concurrency: int
    rate: float | None
    breaker: BreakerPolicy | None
    order: Order | None
    max_backlog: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRules:
    """Which addresses may be dialled: none of `deny`, but for those of `allow`.

    `proxy` is a URL, or `environment` for HTTP_PROXY and its like.
    """

    deny: tuple[Network, ...]
    allow: tuple[Network, ...]
    proxy: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """Who is told of what; a destination lags when its oldest delivery waits longer than `lag` seconds."""

    about: frozenset[str]
    to: tuple[str, ...]
    lag: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is finished is kept, in seconds, and how many bytes the journal may have."""

    delivered: float
    filtered: float
    dead: float
    max_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that the file says.

    digest       of the files as written, without any secret's value
    fingerprint  of that and of every value that was filled in: it changes when a secret does, and is
                 for comparison only, never shown
    files        every file that was read: YAML, `${file:…}`, certificates
    warnings     what is valid and most likely not meant, a line each, with its place
    """

    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    routes: Mapping[str, tuple[Route, ...]] = field(repr=False)
    retention: Retention
    egress: EgressRules
    alerts: tuple[AlertRule, ...]
    digest: str
    path: Path
    fingerprint: str = field(repr=False)
    files: tuple[Path, ...] = field(repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)

    @property
    def orders(self) -> Mapping[str, Mapping[str, str]]:
        """By destination and route, the key by which deliveries go in order; "" where they go in none."""
        found: dict[str, dict[str, str]] = {}
        for route in (route for routes in self.routes.values() for route in routes):
            for name in route.to:
                order = route.order or self.destinations[name].order
                key = "" if order is None else order.key.source
                found.setdefault(name, {})[route_id(route.source, route.name)] = key
        return found

    @property
    def unknown_routes(self) -> tuple[str, ...]:
        """The routes whose `when` or `order` has a variable without a value: nobody can tell what they do."""
        routes = (route for routes in self.routes.values() for route in routes)
        return tuple(one.name for one in routes if self._is_unknown_route(one))

    def _is_unknown_route(self, route: Route) -> bool:
        orders = [route.order] if route.order else [self.destinations[name].order for name in route.to]
        return any(
            _is_unknown(program) for program in (*route.when, *(order.key for order in orders if order))
        )

    def has_unknown_order(self, destination: str) -> bool:
        """Whether the `order` of a destination itself has a variable without a value."""
        order = self.destinations[destination].order
        return order is not None and _is_unknown(order.key)

    @property
    def experimental(self) -> tuple[str, ...]:
        """The sources that verify by a scheme made from its documentation alone."""
        return tuple(name for name, source in self.sources.items() if source.scheme.experimental)


def _is_unknown(program: Program) -> bool:
    """Whether an expression has a variable without a value."""
    return program.source == UNKNOWN_SHOWN
