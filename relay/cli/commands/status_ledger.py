"""Commands on how things stand: `status` and `ledger`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from relay.cli.open import file_destinations, reading
from relay.cli.options import ConfigOption, JournalOption, JsonOption
from relay.cli.output import render
from relay.cli.output.formats import clean, counted, iso, moment, per, relative, size
from relay.cli.output.render import Column
from relay.model import Standing

if TYPE_CHECKING:
    from relay.journal import DestinationStatus, Ledger, Loss, NodeStatus, Status

_WAITING = {
    "owner": "an attempt is in flight",
    "due_time": "not due yet",
    "due_now": "due now",
    "destination_gone": "their destination is not in the file (any more)",
    "lane": "behind others in their lanes",
    "lane_held": "in lanes that a dead one holds (`relay deliveries --state dead`)",
    "breaker": "the breaker of their destination is open",
    "paused": "their destination is paused",
    "held": "their destination asked to wait (429)",
    "order_changed": "behind what was pending when the order of their route changed",
    "route_gone": "their route, and with it their transform, is not in the file (any more)",
}


def status(
    *, journal: JournalOption = None, config_path: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show the state of each destination and source.

    If the journal takes no events now, the first line says so, and why.
    """
    known = file_destinations(config_path)
    with reading(journal) as reader:
        refusal = reader.refusal()
        found = reader.status()
        now = reader.now()
        rates = reader.delivered_per_second(now)
    if as_json:
        render.document({"refusal": refusal, **_status_json(found, known, rates)})
        return
    if refusal is not None:
        typer.echo(clean(f"THE JOURNAL TAKES NO EVENTS: {refusal}"))
        typer.echo()
    render.table(
        (
            Column("DESTINATION"),
            Column("PENDING", right=True),
            Column("OLDEST"),
            Column("NEXT DUE"),
            Column("DEAD", right=True),
            Column("DELIVERED", right=True),
            Column("RATE", right=True),
            Column("STANDING", wraps=True),
            Column("LAST ERROR", wraps=True),
        ),
        [_destination_row(one, known, rates.get(one.name), now) for one in found.destinations],
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
    _serving([one for one in found.nodes if one.alive])
    typer.echo(f"journal: {size(found.bytes)}")
    show_losses(found.losses)


def _serving(alive: list[NodeStatus]) -> None:
    for one in alive:
        since = f"since {moment(one.started_at)}, relay {one.version}"
        configuration = f", configuration {one.config}" if one.config else ""
        typer.echo(f"serving: {clean(one.host)}, process {one.pid}, {since}{configuration}")
        if one.config_error:
            typer.echo("  the file that was there at the last reload has mistakes, and was not taken:")
            for line in one.config_error.splitlines():
                typer.echo(f"  {clean(line)}")
    if not alive:
        typer.echo("serving: nobody")


def _ago(at: float | None, now: float) -> str:
    return "" if at is None else relative(at, now)


def _destination_row(
    one: DestinationStatus, known: Collection[str] | None, rate: float | None, now: float
) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.pending:,}",
        _ago(one.oldest_at, now),
        _next_due(one, known, now),
        f"{one.dead:,}",
        f"{one.delivered:,}",
        per(rate) if rate else "",
        ", ".join(_standing(one, known, now)),
        f"{one.last_error} ({_ago(one.last_error_at, now)})" if one.last_error else "",
    )


def _next_due(one: DestinationStatus, known: Collection[str] | None, now: float) -> str:
    """When the next attempt is made; nothing while a person has to act first."""
    standing = one.standing
    is_gone = known is not None and one.name not in known
    if one.due_at is None or is_gone or standing.paused_at is not None:
        return ""
    probe_at = standing.probe_at if standing.opened_at is not None else None
    at = max(one.due_at, probe_at or 0, standing.held_until or 0)
    return "now" if at <= now else relative(at, now)


def _standing(one: DestinationStatus, known: Collection[str] | None, now: float) -> list[str]:
    """What keeps a destination back; nothing where all is well."""
    standing = one.standing
    told = []
    if known is not None and one.name not in known:
        told.append("not in the file")
    if standing.paused_at is not None:
        told.append(f"paused {relative(standing.paused_at, now)} ({standing.pause_reason or 'operator'})")
    if standing.opened_at is not None:
        told.append(f"breaker open since {relative(standing.opened_at, now)}")
    if standing.held_until is not None and standing.held_until > now:
        told.append(f"asked to wait, goes on {relative(standing.held_until, now)}")
    if one.held_lanes:
        told.append(f"{counted(one.held_lanes, 'lane')} held by a dead one")
    return told


def _status_json(
    found: Status, known: Collection[str] | None, rates: Mapping[str, float]
) -> dict[str, object]:
    return {
        "destinations": [
            {
                "name": one.name,
                "in_file": None if known is None else one.name in known,
                "pending": one.pending,
                "in_flight": one.in_flight,
                "oldest_at": iso(one.oldest_at),
                "due_at": iso(one.due_at),
                "dead": one.dead,
                "dead_since": iso(one.dead_since),
                "delivered": one.delivered,
                "delivered_per_second": rates.get(one.name, 0.0),
                "last_error": one.last_error,
                "last_error_at": iso(one.last_error_at),
                "held_lanes": one.held_lanes,
                "held_since": iso(one.held_since),
                **_standing_json(one.standing),
            }
            for one in found.destinations
        ],
        "sources": [
            {
                "name": one.name,
                "last_at": iso(one.last_at),
                "accepted": one.accepted,
                "rejected": one.rejected,
                "rejected_at": iso(one.rejected_at),
            }
            for one in found.sources
        ],
        "nodes": [
            {**asdict(one), "started_at": iso(one.started_at), "beat_at": iso(one.beat_at)}
            for one in found.nodes
        ],
        "bytes": found.bytes,
        "losses": _losses_json(found.losses),
    }


def _standing_json(standing: Standing) -> dict[str, object]:
    return {
        "paused_at": iso(standing.paused_at),
        "pause_reason": standing.pause_reason,
        "breaker_opened_at": iso(standing.opened_at),
        "probe_at": iso(standing.probe_at),
        "held_until": iso(standing.held_until),
    }


def ledger(
    *, journal: JournalOption = None, config_path: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show that nothing was lost.

    It compares what came in with what became of it. Exit code 1 if the two do not balance, and if a
    database that was put back to an earlier state lacks events.
    """
    destinations = file_destinations(config_path)
    with reading(journal) as reader:
        found = reader.ledger(now=reader.now(), destinations=destinations)
        losses = reader.losses()
    if as_json:
        render.document({**_ledger_json(found), "losses": _losses_json(losses)})
    else:
        show_ledger(found)
        show_losses(losses)
    if losses or not found.balanced:
        raise typer.Exit(1)


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


def show_losses(losses: Sequence[Loss]) -> None:
    """Print what databases that were put back have lost."""
    for one in losses:
        since = "" if one.since is None else f", taken after {moment(one.since)},"
        events = counted(one.events, "ACKNOWLEDGED EVENT", "ACKNOWLEDGED EVENTS")
        typer.echo(
            f"AT LEAST {events}{since} GONE: the database was put back to an earlier state;"
            f" see `relay doctor`, then `relay journal accept-loss {one.id}`"
        )


def _losses_json(losses: Sequence[Loss]) -> list[dict[str, object]]:
    return [
        {"id": one.id, "events": one.events, "since": iso(one.since), "seen_at": iso(one.seen_at)}
        for one in losses
    ]


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
