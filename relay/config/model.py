"""The configuration as the service uses it: frozen values, compiled and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relay import retry
from relay.config.addresses import Network
from relay.expressions import Program
from relay.model import Headers
from relay.routing import Route
from relay.signatures import Scheme

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+", re.ASCII)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """What a source's sender is answered in place of Relay's own 202."""

    status: int
    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where events come from. `max_body` and `parse` are bytes; no `allow_ips` means from anywhere."""

    name: str
    path: PathPattern
    methods: frozenset[str]
    scheme: Scheme = field(repr=False)
    max_body: int
    parse: int
    dedup: DedupRule | None = field(repr=False)
    allow_ips: tuple[Network, ...]
    respond: Respond | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where deliveries go; without a `method`, each goes out by the one it came in by."""

    name: str
    url: str = field(repr=False)
    method: str | None
    headers: Headers = field(repr=False)
    timeout: Timeout
    success: Success = field(repr=False)
    retry: retry.Policy
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is finished is kept, in seconds, and how many bytes the journal may have."""

    delivered: float
    filtered: float
    dead: float
    max_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that the file says. `digest` is of the files as written, without any secret's value."""

    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    routes: Mapping[str, tuple[Route, ...]] = field(repr=False)
    retention: Retention
    digest: str
    path: Path
