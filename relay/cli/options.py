"""The options that several commands share, and the filter they make."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.errors import UsageError
from relay.model import DeliveryState, EventState, Outcome

if TYPE_CHECKING:
    from relay.journal import Filter

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="PATH", help="The file or folder, instead of RELAY_CONFIG."),
]
JournalOption = Annotated[
    str | None, typer.Option("--journal", metavar="URL", help="The journal, instead of RELAY_JOURNAL.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SourceOption = Annotated[str | None, typer.Option("--source", metavar="NAME", help="Only of this source.")]
RouteOption = Annotated[str | None, typer.Option("--route", metavar="NAME", help="Only by this route.")]
DestinationOption = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only to this destination.")
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="pending, delivered, dead or cancelled; for events routed or filtered too.",
    ),
]
StatusOption = Annotated[
    str | None,
    typer.Option("--status", metavar="STATUS", help="How the last attempt ended: 503, timeout, tls_error..."),
]
RetriedOption = Annotated[str | None, typer.Option("--state", metavar="STATE", help="dead or pending.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help="From this time on: 2h (so long ago), or 2026-01-31T08:00Z."
    ),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="WHEN", help="Before this time, written likewise.")
]
SearchOption = Annotated[
    str | None, typer.Option("--search", metavar="TEXT", help="Only events with this text in them.")
]
LimitOption = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="Rows in one page.")
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="ID", help="The next page: what is older than this one.")
]
BlockedOption = Annotated[
    bool,
    typer.Option(
        "--blocked", help="Only what waits for its lane, a pause, a breaker, a 429 or a missing destination."
    ),
]
RateOption = Annotated[
    str | None, typer.Option("--rate", metavar="RATE", help="At most so many: 50/s, 600/m.")
]
IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="evt_..., dlv_... or the provider's own ids.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how many it would change.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def point_in_time(text: str, option: str, now: float) -> float:
    """A time as people write it: so long ago (`90s`, `2h`, `3d`) or ISO 8601, local unless it says."""
    from relay.config.shape.scalars import duration

    with suppress(ValueError):
        return now - duration(text.strip())
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option} {text!r}: neither so long ago (2h, 3d) nor a time (2026-01-31T08:00Z)"
        ) from None


def make_filter(
    *,
    now: Callable[[], float],
    source: str | None = None,
    route: str | None = None,
    destination: str | None = None,
    state: str | None = None,
    status: str | None = None,
    since: str | None = None,
    until: str | None = None,
    search: str | None = None,
) -> Filter:
    """The journal's filter from what was typed, by its time; a value that cannot be is wrong usage."""
    from relay.journal import Filter

    at = 0.0 if since is None and until is None else now()
    outcome, code = _status(status)
    return Filter(
        source=source,
        route=route,
        destination=destination,
        state=_state(state),
        outcome=outcome,
        status=code,
        since=None if since is None else point_in_time(since, "--since", at),
        until=None if until is None else point_in_time(until, "--until", at),
        search=search,
    )


def _state(text: str | None) -> DeliveryState | EventState | None:
    if text is None:
        return None
    for kind in (DeliveryState, EventState):
        if text in set(kind):
            return kind(text)
    names = ", ".join([*DeliveryState, *EventState])
    raise UsageError(f"--state {text!r}: there are {names}")


def _status(text: str | None) -> tuple[Outcome | None, int | None]:
    if text is None:
        return None, None
    if text.isascii() and text.isdigit():
        return None, int(text)
    if text in set(Outcome):
        return Outcome(text), None
    raise UsageError(f"--status {text!r}: a number, or one of {', '.join(Outcome)}")
