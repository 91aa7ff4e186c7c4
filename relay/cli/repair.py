"""Commands on deliveries that are not through: `retry` and `cancel`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from relay.cli import render, selection
from relay.cli.access import reading, writing
from relay.cli.change import announce, change, per_second, report
from relay.cli.options import (
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
) -> None:
    """Make dead or waiting deliveries due now.

    They are the same deliveries, with the same idempotency keys; attempts and age count anew.
    """
    if state not in {None, *_UNFINISHED}:
        raise UsageError(f"--state {state}: only what is dead or pending can be retried; see `relay replay`")
    pace = per_second(rate)
    chosen = selection.filter_unless(
        ids,
        source=source,
        route=route,
        destination=destination,
        state=state,
        status=status,
        since=since,
        until=until,
        search=search,
    )
    with reading(journal) as reader:
        found = [one.id for one in _unfinished(reader, ids, chosen)]
        if not found:
            selection.note_unknown(reader, chosen)
    if ids and not found:
        render.note("nothing to retry: none is dead or pending; `relay replay` sends it anew")
        raise typer.Exit(1)
    announce(len(found), verb="retry", dry_run=dry_run, yes=yes)
    with writing(journal) as opened:
        done = change(found, opened.retry, total=len(found), verb="retry", rate=pace)
    report(done, len(found), "retried: due now")


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

    By filters only those that wait; dead ones too by their IDs or with --state dead, which dismisses them: a
    lane that one held goes on. Nothing is sent for them any more, not even when the provider posts the event
    again; the events stay, and `relay replay` can send them again.
    """
    if state not in {None, *_UNFINISHED}:
        raise UsageError(f"--state {state}: only what is pending or dead can be cancelled")
    chosen = selection.filter_unless(
        ids,
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
    announce(len(found), verb="cancel", dry_run=dry_run, yes=yes)
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
