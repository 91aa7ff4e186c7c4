"""What is wrong now, as values that commands, alerts and pages share: computed from what was read, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from relay.config import Configuration
from relay.journal import DestinationStatus, SourceStatus, Status

ProblemKind = Literal[
    "journal_away",
    "clocks_differ",
    "public_url_unset",
    "signatures_failing",
    "source_silent",
    "breaker_open",
    "paused",
    "held_lane",
    "dead",
]
"""What a problem may be, the most urgent first."""

_ORDER: tuple[ProblemKind, ...] = get_args(ProblemKind)

_REFUSED = 20
"""Refused requests from which on they are no stranger's mistake."""

_RECENT = 3600.0
"""Seconds for which a refused request tells of now, where others were accepted before."""

_GAP = 600.0
"""Seconds between the last accepted and the last refused from which on the source refuses all."""

CLOCKS_APART = 5.0
"""Seconds by which wall clocks may differ: many senders' signatures are good for 300 s, some for 5."""

_LOW_SHARE = 20
_LOW_MOST = 5 << 30
_LOW_LEAST = 256 << 20


class Disk(Protocol):
    """The disk on which the journal lies, in bytes, as `shutil.disk_usage` tells it."""

    @property
    def total(self) -> int:
        """How large it is."""
        ...

    @property
    def free(self) -> int:
        """How much of it is free."""
        ...


def is_low(disk: Disk) -> bool:
    """Whether a twentieth of the disk or less is free; of a very large or small one, 5 GiB or 256 MiB."""
    return disk.free < max(_LOW_LEAST, min(_LOW_MOST, disk.total // _LOW_SHARE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    about   the name of the destination or source; empty where it is about the whole
    since   Unix seconds; None where that is not known
    count   of how many things, where it is about some
    text    what is wrong, in one sentence, without secrets
    advice  what to do, with the command
    """

    kind: ProblemKind
    about: str = ""
    since: float | None = None
    count: int | None = None
    text: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What problems are computed from; what is None was not looked at.

    refusal     why the journal takes no event
    public_url  the address that senders use, where it is set
    """

    status: Status
    configuration: Configuration | None = None
    refusal: str | None = None
    public_url: str | None = None


def problems(seen: Seen, *, now: float) -> list[Problem]:
    """All that is wrong, the most urgent first."""
    found = [
        *_journal(seen),
        *_clocks(seen.status),
        *_destinations(seen.status.destinations),
        *_refusing(seen.status.sources, now),
    ]
    if seen.configuration is not None:
        found += _unset_url(seen.configuration, seen.public_url)
        found += _silent(seen.status, seen.configuration, now)
    return sorted(found, key=lambda one: (_ORDER.index(one.kind), one.about))


def _journal(seen: Seen) -> Iterator[Problem]:
    if seen.refusal is not None:
        yield Problem(
            kind="journal_away",
            text=f"the journal takes no events: {seen.refusal}",
            advice="until then senders are answered 503, and must send again",
        )


def _clocks(status: Status) -> Iterator[Problem]:
    """Nodes on several machines whose clocks differ; the database's own may be the one that is wrong."""
    clocks = [(one, one.wall_ahead) for one in status.nodes if one.alive and one.wall_ahead is not None]
    known = [ahead for _, ahead in clocks]
    if known and max(known) - min(known) > CLOCKS_APART:
        each = ", ".join(f"{one.host} (process {one.pid}) {ahead:+.1f} s" for one, ahead in clocks)
        yield Problem(
            kind="clocks_differ",
            count=len(clocks),
            text=f"the nodes' clocks differ from each other; from the database's by {each}",
            advice="keep all of them by NTP: each node checks the time of a signature by its own clock",
        )


def _destinations(found: Iterable[DestinationStatus]) -> Iterator[Problem]:
    for one in found:
        standing, name = one.standing, one.name
        if standing.opened_at is not None:
            yield Problem(
                kind="breaker_open",
                about=name,
                since=standing.opened_at,
                count=one.pending,
                text=f"its breaker is open, after too many failures ({one.last_error or 'no answer'});"
                f" deliveries that wait: {one.pending:,}",
                advice="it closes by itself once a delivery succeeds; see what fails:"
                f" `relay deliveries --destination {name} --group-by error`",
            )
        if standing.paused_at is not None:
            yield Problem(
                kind="paused",
                about=name,
                since=standing.paused_at,
                count=one.pending,
                text=f"it is paused ({standing.pause_reason or 'operator'}); deliveries that wait:"
                f" {one.pending:,}",
                advice=f"`relay resume {name}`",
            )
        if one.held_lanes:
            yield Problem(
                kind="held_lane",
                about=name,
                since=one.held_since,
                count=one.held_lanes,
                text=f"dead deliveries hold their lanes: {one.held_lanes:,}; nothing else of these goes out",
                advice=f"`relay deliveries --state dead --destination {name}`, then `relay retry ID`, or"
                " `relay cancel ID` to go on without it",
            )
        if one.dead:
            yield Problem(
                kind="dead",
                about=name,
                since=one.dead_since,
                count=one.dead,
                text=f"dead deliveries: {one.dead:,}",
                advice=f"see why: `relay deliveries --state dead --destination {name} --group-by error`; mend"
                f" that, then `relay retry --state dead --destination {name}`, or `relay cancel` likewise",
            )


def _refusing(sources: Iterable[SourceStatus], now: float) -> Iterator[Problem]:
    """Sources that refuse all that comes, and have refused enough to be no stranger's mistake."""
    for one in sources:
        if one.rejected < _REFUSED or one.rejected_at is None:
            continue
        is_over = now - one.rejected_at > _RECENT
        if one.last_at is not None and (is_over or one.rejected_at - one.last_at <= _GAP):
            continue
        valid = "none was ever accepted" if one.last_at is None else "none was accepted since"
        yield Problem(
            kind="signatures_failing",
            about=one.name,
            since=one.last_at,
            count=one.rejected,
            text=f"its last request was refused, and {valid}; refused in all: {one.rejected:,}",
            advice="the log has the reason of each (`event.rejected`); where the secret is wrong, mend"
            " `verify` and `relay reload`, and let the provider send again",
        )


def _unset_url(configuration: Configuration, public_url: str | None) -> Iterator[Problem]:
    if public_url is not None:
        return
    for name, source in configuration.sources.items():
        if source.scheme.needs_url:
            yield Problem(
                kind="public_url_unset",
                about=name,
                text=f"{source.scheme.name} signs the URL that it posts to, and RELAY_PUBLIC_URL is not set"
                " in this shell: behind a proxy that ends TLS or changes the host, all signatures are wrong",
                advice="set RELAY_PUBLIC_URL to the address that the provider was given, where `relay serve`"
                " runs and here",
            )


def _silent(status: Status, configuration: Configuration, now: float) -> Iterator[Problem]:
    """Silent sources, while somebody serves: else none can be heard."""
    began = [one.started_at for one in status.nodes if one.alive]
    if not began:
        return
    known_since = dict.fromkeys(configuration.sources, min(began))
    for name, since in silent_since(status, configuration, known_since, now).items():
        yield Problem(
            kind="source_silent",
            about=name,
            since=since,
            text="nothing was heard of it for longer than its `silent_after`",
            advice="see that its provider still sends, and to this address; a test of the way in:"
            f" `relay send {name}`",
        )


def silent_since(
    status: Status, configuration: Configuration, known_since: Mapping[str, float], now: float
) -> dict[str, float]:
    """The sources that were not heard for longer than their `silent_after`, and since when.

    One that was never heard counts from when it was known first.
    """
    heard = {one.name: one.last_at for one in status.sources if one.last_at is not None}
    limits = {name: source.silent_after for name, source in configuration.sources.items()}
    since = {name: heard.get(name, known_since.get(name, now)) for name in limits}
    return {
        name: since[name] for name, limit in limits.items() if limit is not None and now - since[name] > limit
    }
