"""Commands on deliveries that are not through: `retry` and `cancel`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from relay.cli import selection
from relay.cli.bulk import announce, change, per_second, report
from relay.cli.open import file_destinations, reading, writing
from relay.cli.options import (
    ConfigOption,
    DestinationOption,
    DryRunOption,
    IdsArgument,
    JournalOption,
    RateOption,
    RetriedOption,
    RouteOption,
    SearchOption,
    SinceOption,
    SourceOption,
    StatusOption,
    UntilOption,
    YesOption,
)
from relay.cli.output import render
from relay.cli.output.formats import counted
from relay.cli.output.made_due import MadeDue
from relay.errors import UsageError
from relay.model import Delivery, DeliveryState

if TYPE_CHECKING:
    from relay.journal import Filter, Reader

_UNFINISHED = (DeliveryState.PENDING, DeliveryState.DEAD)
"""What can be retried or cancelled."""


def retry(
    ids: IdsArgument = None,
    *,
    source: SourceOption = None,
    route: RouteOption = None,
    destination: DestinationOption = None,
    state: RetriedOption = None,
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
    """Make dead or waiting deliveries due now.

    They are the same deliveries, with the same idempotency keys; attempts and age start again. If they still
    wait for something (a pause, an open breaker, a lane, a rate), the command says so.
    """
    if state not in {None, *_UNFINISHED}:
        raise UsageError(f"--state {state}: only what is dead or pending can be retried; see `relay replay`")
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
    destinations = file_destinations(config_path)
    made_due, broken = MadeDue(), Counter[str]()
    with reading(journal) as reader:
        found = []
        for one in made_due.note(_unfinished(reader, ids, chosen)):
            found.append(one.id)
            broken[one.route] += one.reason == "transform_error"
        if not found:
            selection.note_unknown(reader, chosen)
    if ids and not found:
        render.note("nothing to retry: none is dead or pending; `relay replay` sends it anew")
        raise typer.Exit(1)
    _note_broken(broken)
    announce(len(found), verb="retry", dry_run=dry_run, yes=yes, by_filter=not ids)
    with writing(journal) as opened:
        done = change(found, opened.retry, total=len(found), verb="retry", rate=pace)
    with reading(journal) as reader:
        waits = made_due.waits(reader, destinations, reader.now())
    left = "in flight, behind others in its lane, or changed meanwhile"
    report(done, len(found), "retried" if waits or not done else "retried: due now", left=left, waits=waits)


def _note_broken(broken: Counter[str]) -> None:
    """Say of what died of its transform that it does so again, unless that is mended first."""
    for route, count in broken.items():
        if count:
            render.note(
                f"{counted(count, 'delivery', 'deliveries')} of route {route} could not be rendered"
                " (`relay explain` says why): mend the file and `relay reload` first, then retry"
            )


def cancel(
    ids: IdsArgument = None,
    *,
    source: SourceOption = None,
    route: RouteOption = None,
    destination: DestinationOption = None,
    state: RetriedOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    search: SearchOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    journal: JournalOption = None,
) -> None:
    """Give up deliveries that wait, or that are dead.

    With IDs both; with filters only those that wait, or the dead ones with --state dead. Nothing is sent for
    them any more, even if the provider posts the event again. A lane that a dead one held goes on. The events
    stay: `relay replay` can send them again.
    """
    if state not in {None, *_UNFINISHED}:
        raise UsageError(f"--state {state}: only what is pending or dead can be cancelled")
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
    if chosen.state is None and not ids:
        # Dead ones are named, or asked for: what is meant is nearly always what still waits.
        chosen = replace(chosen, state=DeliveryState.PENDING)
    with reading(journal) as reader:
        found = [one.id for one in _unfinished(reader, ids, chosen)]
        if not found:
            selection.note_unknown(reader, chosen)
    if ids and not found:
        render.note("nothing to cancel: none is pending or dead")
        raise typer.Exit(1)
    announce(len(found), verb="cancel", dry_run=dry_run, yes=yes, by_filter=not ids)
    with writing(journal) as opened:
        done = change(found, opened.cancel, total=len(found), verb="cancel")
    report(done, len(found), "cancelled")


def _unfinished(reader: Reader, ids: list[str] | None, chosen: Filter) -> Iterator[Delivery]:
    """The pending and dead deliveries that are meant."""
    found = selection.known_deliveries(reader, ids) if ids else _waiting(reader, chosen)
    return (one for one in found if one.state in _UNFINISHED)


def _waiting(reader: Reader, chosen: Filter) -> Iterator[Delivery]:
    """What the filter finds of the states that can be changed, without reading all others."""
    for state in _UNFINISHED if chosen.state is None else (chosen.state,):
        yield from selection.all_deliveries(reader, replace(chosen, state=state))
