"""The command that sends stored events again: `replay`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay import replays
from relay.cli import selection
from relay.cli.bulk import announce, change, per_second, report
from relay.cli.open import file_destinations, reading, todays_file, writing
from relay.cli.options import (
    ConfigOption,
    DestinationOption,
    DryRunOption,
    IdsArgument,
    JournalOption,
    RateOption,
    RouteOption,
    SearchOption,
    SinceOption,
    SourceOption,
    StateOption,
    StatusOption,
    UntilOption,
    YesOption,
)
from relay.cli.output import render
from relay.cli.output.made_due import MadeDue
from relay.errors import UsageError
from relay.model import Event, EventState

if TYPE_CHECKING:
    from relay.config import Configuration
    from relay.journal import Filter, Reader


def replay(
    ids: IdsArgument = None,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DEST", help="To this destination instead of where it went.")
    ] = None,
    reroute: Annotated[bool, typer.Option("--reroute", help="By today's routes, not where it went.")] = False,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="With new idempotency keys: the downstream sees new requests.")
    ] = False,
    source: SourceOption = None,
    route: RouteOption = None,
    destination: DestinationOption = None,
    state: StateOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    search: SearchOption = None,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    journal: JournalOption = None,
    config_path: ConfigOption = None,
) -> None:
    """Send stored events again.

    New deliveries to where the events went before, to one destination, or by today's routes; with
    the idempotency keys that the downstreams know, unless --new-key.
    """
    if to and reroute:
        raise UsageError("--to and --reroute exclude each other")
    pace = per_second(rate)
    chosen = selection.filter_unless(
        ids,
        journal=journal,
        source=source,
        route=route,
        destination=destination,
        state=state,
        status=status,
        since=since,
        until=until,
        search=search,
    )
    configuration = _file_with(config_path, to) if to or reroute else None
    if reroute and configuration is not None:
        _refuse_unknown(configuration)
    destinations = file_destinations(config_path) if configuration is None else configuration.destinations
    with reading(journal) as reader:
        targets = list(_targets(reader, ids, chosen, to=to, configuration=configuration))
        if not targets:
            selection.note_unknown(reader, chosen)
            _note_filtered(reader, ids, chosen, is_plain=configuration is None)
    announce(len(targets), verb="replay", dry_run=dry_run, yes=yes, by_filter=not ids)
    made_due = MadeDue()
    with writing(journal) as opened:
        planned = made_due.note(
            replays.planned(one, now=opened.now(), new_id=new_delivery_id, new_key=new_key) for one in targets
        )
        done = change(planned, opened.replay, total=len(targets), verb="replay", rate=pace)
    with reading(journal) as reader:
        waits = made_due.waits(reader, destinations, reader.now())
    what = "planned anew" if waits or not done else "planned anew: due now"
    report(done, len(targets), what, left="the event was purged meanwhile", waits=waits)


def _note_filtered(reader: Reader, ids: list[str] | None, chosen: Filter, *, is_plain: bool) -> None:
    """Where nothing is to be sent: say so of events that went nowhere before, and what sends them."""
    found = _events_by_id(reader, ids) if ids else reader.events(chosen, limit=1)
    if any(event.state is EventState.FILTERED for event in found):
        render.note(
            "a filtered event went nowhere, so there is nothing to repeat: --reroute sends it by"
            " today's routes, --to DEST to one destination"
            if is_plain
            else "no route of today's file takes it (`relay explain`): --to DEST sends it to one destination"
        )


def _file_with(config_path: Path | None, to: str | None) -> Configuration:
    """Today's file, which must have the destination that is asked for."""
    configuration = todays_file(config_path)
    if to and to not in configuration.destinations:
        names = ", ".join(sorted(configuration.destinations))
        raise UsageError(f"--to {to}: no such destination; there are: {names}")
    return configuration


def _refuse_unknown(configuration: Configuration) -> None:
    if names := ", ".join(configuration.unknown_routes):
        raise UsageError(
            f"where events go by these routes depends on variables that are not set here: {names}."
            " Set them as the service has them"
        )


def _targets(
    reader: Reader,
    ids: list[str] | None,
    chosen: Filter,
    *,
    to: str | None,
    configuration: Configuration | None,
) -> Iterator[replays.Target]:
    """Where each event goes again: as before, or by today's file."""
    if configuration is None:
        yield from replays.again(
            selection.known_deliveries(reader, ids) if ids else selection.all_deliveries(reader, chosen)
        )
    else:
        events = _events_by_id(reader, ids) if ids else selection.all_events(reader, chosen)
        yield from _retargeted(reader, events, to, configuration)


def new_delivery_id() -> str:
    """A fresh delivery id, in the order of time."""
    from uuid_utils import uuid7

    return f"dlv_{uuid7().hex}"


def _events_by_id(reader: Reader, ids: list[str]) -> list[Event]:
    found, unknown = selection.events_of_ids(reader, ids)
    selection.refuse_unknown(unknown)
    return found


def _retargeted(
    reader: Reader, events: Iterable[Event], to: str | None, configuration: Configuration
) -> Iterator[replays.Target]:
    for event in events:
        before = reader.deliveries_of(event.id)
        if to is not None:
            yield replays.to_destination(event, before, to, configuration)
        else:
            yield from replays.rerouted(event, before, configuration)
