"""Commands that send again: `retry` and `replay`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from relay.cli import render, replays, selection
from relay.cli.access import load_settings, reading, writing
from relay.cli.options import (
    ConfigOption,
    DestinationOption,
    DryRunOption,
    JournalOption,
    RetriedOption,
    RouteOption,
    SearchOption,
    SinceOption,
    SourceOption,
    StateOption,
    StatusOption,
    UntilOption,
    YesOption,
    make_filter,
)
from relay.cli.text import counted
from relay.errors import UsageError
from relay.model import Delivery, DeliveryState, Event

if TYPE_CHECKING:
    from relay.config import Configuration
    from relay.journal import Filter, Reader

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="evt_..., dlv_... or the provider's own ids.")
]

_T = TypeVar("_T")

_RETRIED = (DeliveryState.PENDING, DeliveryState.DEAD)
"""What can be retried."""


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
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    journal: JournalOption = None,
) -> None:
    """Make dead or waiting deliveries due now.

    They are the same deliveries, with the same idempotency keys; attempts and age count anew.
    """
    if state not in {None, *_RETRIED}:
        raise UsageError(f"--state {state}: only what is dead or pending can be retried; see `relay replay`")
    chosen = _filter(
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
        found = _deliveries_by_id(reader, ids) if ids else _waiting(reader, chosen)
        waiting = [one.id for one in found if one.state in _RETRIED]
    if ids and not waiting:
        render.note("nothing to retry: none is dead or pending; `relay replay` sends it anew")
        raise typer.Exit(1)
    _announce(len(waiting), verb="retry", dry_run=dry_run, yes=yes)
    with writing(journal) as opened:
        done = _change(waiting, opened.retry, total=len(waiting), verb="retry")
    _report(done, len(waiting), "retried: due now")


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
    chosen = _filter(
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
    configuration = _todays_file(config_path, to) if to or reroute else None
    with reading(journal) as reader:
        targets = list(_targets(reader, ids, chosen, to=to, configuration=configuration))
    _announce(len(targets), verb="replay", dry_run=dry_run, yes=yes)
    planned = (
        replays.planned(one, now=time.time(), new_id=new_delivery_id, new_key=new_key) for one in targets
    )
    with writing(journal) as opened:
        done = _change(planned, opened.replay, total=len(targets), verb="replay")
    _report(done, len(targets), "planned anew: due now")


def _todays_file(config_path: Path | None, to: str | None) -> Configuration:
    """Today's file, which must have the destination that is asked for."""
    configuration = _configuration(config_path)
    if to and to not in configuration.destinations:
        names = ", ".join(sorted(configuration.destinations))
        raise UsageError(f"--to {to}: no such destination; there are: {names}")
    return configuration


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
            _deliveries_by_id(reader, ids) if ids else selection.all_deliveries(reader, chosen)
        )
    else:
        events = _events_by_id(reader, ids) if ids else selection.all_events(reader, chosen)
        yield from _retargeted(reader, events, to, configuration)


def new_delivery_id() -> str:
    """A fresh delivery id, in the order of time."""
    from uuid_utils import uuid7

    return f"dlv_{uuid7().hex}"


def _filter(ids: list[str] | None, **filters: str | None) -> Filter:
    """The filter, where there are no IDs; one of the two must say what is meant."""
    given = [name for name, value in filters.items() if value is not None]
    if ids and given:
        raise UsageError(f"IDs and filters (--{given[0]}) exclude each other")
    if not ids and not given:
        raise UsageError("say which: IDs, or filters such as --destination, --state dead or --since 2h")
    return make_filter(**filters)


def _waiting(reader: Reader, chosen: Filter) -> Iterator[Delivery]:
    """What the filter finds of the states that can be retried, without reading all others."""
    for state in _RETRIED if chosen.state is None else (chosen.state,):
        yield from selection.all_deliveries(reader, replace(chosen, state=state))


def _deliveries_by_id(reader: Reader, ids: list[str]) -> list[Delivery]:
    found, unknown = selection.deliveries_of_ids(reader, ids)
    _refuse_unknown(unknown)
    return found


def _events_by_id(reader: Reader, ids: list[str]) -> list[Event]:
    found, unknown = selection.events_of_ids(reader, ids)
    _refuse_unknown(unknown)
    return found


def _refuse_unknown(ids: list[str]) -> None:
    """Change nothing at all when an ID is mistyped."""
    if ids:
        render.note(f"nothing has the id {', '.join(ids)}; nothing was changed")
        raise typer.Exit(1)


def _configuration(config_path: Path | None) -> Configuration:
    """Today's file; its secrets are not needed, so the shell need not have them."""
    from relay import config

    return config.load(load_settings(config=config_path).config, os.environ, allow_unset=True)


def _retargeted(
    reader: Reader, events: Iterable[Event], to: str | None, configuration: Configuration
) -> Iterator[replays.Target]:
    for event in events:
        before = reader.deliveries_of(event.id)
        if to is not None:
            yield replays.to_destination(event, before, to)
        else:
            yield from replays.rerouted(event, before, configuration)


def _announce(count: int, *, verb: str, dry_run: bool, yes: bool) -> None:
    """Say how many before anything changes; ask where somebody can answer and more than one is meant."""
    if not count:
        render.note(f"nothing to {verb}")
        raise typer.Exit(1)
    what = counted(count, "delivery", "deliveries")
    if dry_run:
        typer.echo(f"would {verb} {what}; nothing was changed")
        raise typer.Exit
    if count == 1:
        return
    render.note(f"{verb}: {what}")
    if not yes and sys.stdin.isatty() and not typer.confirm("Go on?", err=True):
        raise typer.Exit(1)


def _change(
    items: Iterable[_T], change: Callable[[Sequence[_T]], Awaitable[int]], *, total: int, verb: str
) -> int:
    """Change all in small transactions; how many it was in the end."""

    async def in_batches() -> int:
        done = 0
        for batch in selection.batches(render.progress(items, total=total, what=verb)):
            done += await change(batch)
        return done

    return asyncio.run(in_batches())


def _report(done: int, meant: int, what: str) -> None:
    typer.echo(f"{counted(done, 'delivery', 'deliveries')} {what}")
    if done < meant:
        render.note(f"left alone, being in flight or changed meanwhile: {meant - done:,}")
    if not done:
        raise typer.Exit(1)
