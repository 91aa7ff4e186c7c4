"""Commands on how things stand: `status` and `ledger`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from relay.cli import render
from relay.cli.access import load_settings, reading
from relay.cli.options import ConfigOption, JournalOption, JsonOption
from relay.cli.render import Column
from relay.cli.text import clean, iso, moment, relative, size
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.journal import DestinationStatus, Ledger, Status

_WAITING = {
    "owner": "an attempt is in flight",
    "due_time": "not due yet",
    "due_now": "due now",
    "destination_gone": "their destination is not in the file (any more)",
}


def status(*, journal: JournalOption = None, as_json: JsonOption = False) -> None:
    """Show how each destination and each source stands."""
    with reading(journal) as reader:
        found = reader.status()
    if as_json:
        render.document(_status_json(found))
        return
    now = time.time()
    render.table(
        (
            Column("DESTINATION"),
            Column("PENDING", right=True),
            Column("OLDEST"),
            Column("NEXT DUE"),
            Column("DEAD", right=True),
            Column("DELIVERED", right=True),
            Column("LAST ERROR", wraps=True),
        ),
        [_destination_row(one, now) for one in found.destinations],
    )
    typer.echo()
    render.table(
        (
            Column("SOURCE"),
            Column("LAST EVENT"),
            Column("ACCEPTED", right=True),
            Column("REJECTED", right=True),
        ),
        [
            (one.name, _ago(one.last_at, now), f"{one.accepted:,}", f"{one.rejected:,}")
            for one in found.sources
        ],
    )
    typer.echo()
    alive = [one for one in found.nodes if one.alive]
    for one in alive:
        since = f"since {moment(one.started_at)}, relay {one.version}"
        typer.echo(f"serving: {clean(one.host)}, process {one.pid}, {since}")
    if not alive:
        typer.echo("serving: nobody")
    typer.echo(f"journal: {size(found.bytes)}")


def _ago(at: float | None, now: float) -> str:
    return "" if at is None else relative(at, now)


def _destination_row(one: DestinationStatus, now: float) -> tuple[str, ...]:
    due = "" if one.due_at is None else "now" if one.due_at <= now else relative(one.due_at, now)
    return (
        one.name,
        f"{one.pending:,}",
        _ago(one.oldest_at, now),
        due,
        f"{one.dead:,}",
        f"{one.delivered:,}",
        f"{one.last_error} ({_ago(one.last_error_at, now)})" if one.last_error else "",
    )


def _status_json(found: Status) -> dict[str, object]:
    return {
        "destinations": [
            {
                "name": one.name,
                "pending": one.pending,
                "in_flight": one.in_flight,
                "oldest_at": iso(one.oldest_at),
                "due_at": iso(one.due_at),
                "dead": one.dead,
                "delivered": one.delivered,
                "last_error": one.last_error,
                "last_error_at": iso(one.last_error_at),
            }
            for one in found.destinations
        ],
        "sources": [
            {
                "name": one.name,
                "last_at": iso(one.last_at),
                "accepted": one.accepted,
                "rejected": one.rejected,
            }
            for one in found.sources
        ],
        "nodes": [{**asdict(one), "started_at": iso(one.started_at)} for one in found.nodes],
        "bytes": found.bytes,
    }


def ledger(
    *, journal: JournalOption = None, config_path: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show that nothing was lost.

    What came in against what became of it; exit code 1 where it does not balance.
    """
    destinations = _destinations(config_path)
    with reading(journal) as reader:
        found = reader.ledger(now=time.time(), destinations=destinations)
    if as_json:
        render.document(_ledger_json(found))
    else:
        show_ledger(found)
    if not found.balanced:
        raise typer.Exit(1)


def _destinations(config_path: Path | None) -> Collection[str] | None:
    """The destinations of today's file; None without one: the books balance without it."""
    from relay import config

    path = load_settings(config=config_path).config
    if config_path is None and not path.exists():
        return None
    try:
        return config.load(path, os.environ, allow_unset=True).destinations.keys()
    except ConfigError:
        render.note(f"{path} has mistakes (see `relay check`): what waits for it is not told")
        return None


def show_ledger(found: Ledger) -> None:
    """Print the two conservation tables and the verdict."""
    render.table(
        (
            Column("SOURCE"),
            Column("ACCEPTED", right=True),
            Column("ROUTED", right=True),
            Column("FILTERED", right=True),
            Column("BALANCED", styled=True),
        ),
        [
            (one.source, *_numbers(one.accepted, one.routed, one.filtered), _yes(one.ok))
            for one in found.events
        ],
        title="events: accepted = routed + filtered",
    )
    typer.echo()
    render.table(
        (
            Column("SOURCE"),
            Column("DESTINATION"),
            Column("PLANNED", right=True),
            Column("REPLAYED", right=True),
            Column("PENDING", right=True),
            Column("DELIVERED", right=True),
            Column("DEAD", right=True),
            Column("CANCELLED", right=True),
            Column("BALANCED", styled=True),
        ),
        [
            (
                one.source,
                one.destination,
                *_numbers(one.planned, one.replayed, one.pending, one.delivered, one.dead, one.cancelled),
                _yes(one.ok),
            )
            for one in found.deliveries
        ],
        title="deliveries: planned + replayed = pending + delivered + dead + cancelled",
    )
    typer.echo()
    for reason, count in found.waiting.items():
        typer.echo(f"pending, {_WAITING.get(reason, reason)}: {count:,}")
    typer.echo("The ledger balances." if found.balanced else "THE LEDGER DOES NOT BALANCE.")


def _numbers(*counts: int) -> tuple[str, ...]:
    return tuple(f"{count:,}" for count in counts)


def _yes(ok: bool) -> str:  # noqa: FBT001 - one argument, named by the function
    return "yes" if ok else "no"


def _ledger_json(found: Ledger) -> dict[str, object]:
    return {
        "balanced": found.balanced,
        "events": [{**asdict(one), "ok": one.ok} for one in found.events],
        "deliveries": [{**asdict(one), "ok": one.ok} for one in found.deliveries],
        "waiting": dict(found.waiting),
    }
