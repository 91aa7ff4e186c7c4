"""Commands that only look: `show`, `events` and `deliveries`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import selection
from relay.cli.open import file_destinations, load_settings, now_of, reading
from relay.cli.options import (
    BeforeOption,
    BlockedOption,
    ConfigOption,
    DestinationOption,
    JournalOption,
    JsonOption,
    LimitOption,
    RouteOption,
    SearchOption,
    SinceOption,
    SourceOption,
    StateOption,
    StatusOption,
    UntilOption,
    make_filter,
)
from relay.cli.output import render
from relay.cli.output import show as timeline
from relay.cli.output.contents import Contents
from relay.cli.output.formats import moment, relative, size
from relay.cli.output.render import Column
from relay.cli.output.sent import Requests
from relay.cli.output.waits import waiting_for, waits_for
from relay.errors import UsageError
from relay.model import Delivery, DeliveryState, Event

if TYPE_CHECKING:
    from relay.config import Destination
    from relay.journal import Filter, Reader

_PAGE = 50


def show(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="evt_..., dlv_... or the provider's own id.")
    ],
    *,
    headers: Annotated[
        bool, typer.Option("--headers", help="With its headers, and the requests that are sent.")
    ] = False,
    body: Annotated[
        bool, typer.Option("--body", help="With its body, and the body that a transform made.")
    ] = False,
    journal: JournalOption = None,
    config_path: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to one event.

    Its arrival, each attempt, and what comes next. Credentials of the sender are not stored; those of
    destinations are not shown. A terminal shows the beginning of a long body, a pipe all of it, and --json
    its very bytes.
    """
    destinations = file_destinations(config_path)
    requests = Requests.by_file(load_settings(config=config_path).config) if headers or body else None
    with reading(journal) as reader:
        now = reader.now()
        journeys = [
            journey
            for event_id in reader.find_event(identifier)
            if (journey := load_journey(reader, event_id, destinations, requests))
        ]
    if not journeys:
        render.note(f"no event has the id {identifier}")
        raise typer.Exit(1)
    if as_json:
        render.document({"events": [timeline.journey_json(journey) for journey in journeys]})
        return
    contents = Contents(headers=headers, body=body, whole=not render.is_terminal())
    for index, journey in enumerate(journeys):
        gap = [render.Line("")] if index else []
        render.timeline([*gap, *timeline.lines(journey, now, contents)])


def load_journey(
    reader: Reader,
    event_id: str,
    destinations: Mapping[str, Destination] | None,
    requests: Requests | None = None,
) -> timeline.Journey | None:
    """An event with all that became of it; None when it is not in the journal (any more).

    `destinations` are those of today's file; None where that is not known. `requests` tells what is sent.
    """
    event = reader.event(event_id)
    if event is None:
        return None
    now = reader.now()
    found = reader.deliveries_of(event_id)
    waits = ((one.id, waits_for(reader, one, destinations=destinations, now=now)) for one in found)
    return timeline.Journey(
        event,
        tuple((one, tuple(reader.attempts_of(one.id))) for one in found),
        {delivery_id: text for delivery_id, text in waits if text},
        {} if requests is None else {one.id: requests.of(event, one) for one in found},
    )


def events(
    *,
    source: SourceOption = None,
    route: RouteOption = None,
    destination: DestinationOption = None,
    state: StateOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    search: SearchOption = None,
    limit: LimitOption = _PAGE,
    before: BeforeOption = None,
    journal: JournalOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events, newest first."""
    chosen = make_filter(
        now=partial(now_of, journal),
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
        if before is not None and reader.event(before) is None:
            raise UsageError(f"--before {before}: no such event")
        found = reader.events(chosen, limit, before)
        if not found:
            selection.note_unknown(reader, chosen)
    following = found[-1].id if len(found) == limit else None
    if as_json:
        render.document({"events": [timeline.event_json(one) for one in found], "next_before": following})
        return
    _list_events(found)
    _paging(len(found), following, "events")


def _list_events(found: list[Event]) -> None:
    columns = (
        Column("RECEIVED"),
        Column("EVENT"),
        Column("SOURCE"),
        Column("TYPE"),
        Column("PROVIDER ID"),
        Column("SIZE", right=True),
        Column("STATE", styled=True),
    )
    rows = [
        (
            moment(one.received_at),
            one.id,
            one.source,
            one.type or "",
            one.provider_id or "",
            size(len(one.body)),
            one.state.value + (f" ({one.reason})" if one.reason else ""),
        )
        for one in found
    ]
    if rows:
        render.table(columns, rows)


def deliveries(
    *,
    source: SourceOption = None,
    route: RouteOption = None,
    destination: DestinationOption = None,
    state: StateOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    search: SearchOption = None,
    blocked: BlockedOption = False,
    group_by: Annotated[
        str | None, typer.Option("--group-by", metavar="error", help="Count by destination and error.")
    ] = None,
    limit: LimitOption = _PAGE,
    before: BeforeOption = None,
    journal: JournalOption = None,
    config_path: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first."""
    if group_by not in {None, "error"}:
        raise UsageError(f"--group-by {group_by!r}: there is only `error`")
    chosen = make_filter(
        now=partial(now_of, journal),
        source=source,
        route=route,
        destination=destination,
        state=state,
        status=status,
        since=since,
        until=until,
        search=search,
    )
    now = now_of(journal)
    known = file_destinations(config_path)
    if blocked:
        chosen = _blocked(chosen, known, now)
    with reading(journal) as reader:
        if group_by:
            _groups(reader, chosen, as_json=as_json)
            return
        if before is not None and reader.delivery(before) is None:
            raise UsageError(f"--before {before}: no such delivery")
        found = reader.deliveries(chosen, limit, before)
        if not found:
            selection.note_unknown(reader, chosen)
        waits = waiting_for(reader, found, known, now)
    _show_deliveries(
        found, waits, now, following=found[-1].id if len(found) == limit else None, as_json=as_json
    )


def _blocked(chosen: Filter, known: Mapping[str, Destination] | None, now: float) -> Filter:
    destinations = None if known is None else frozenset(known)
    return replace(chosen, blocked=True, destinations=destinations, now=now)


def _groups(reader: Reader, chosen: Filter, *, as_json: bool) -> None:
    groups = reader.group_by_error(chosen)
    if as_json:
        render.document(
            {"groups": [{"destination": to, "error": error, "count": count} for to, error, count in groups]}
        )
        return
    columns = (Column("COUNT", right=True), Column("DESTINATION"), Column("ERROR", wraps=True))
    if groups:
        render.table(columns, [(f"{count:,}", to, error or "") for to, error, count in groups])
    else:
        selection.note_unknown(reader, chosen)
        render.note("no deliveries with an error")


def _show_deliveries(
    found: list[Delivery], waits: Mapping[str, str], now: float, *, following: str | None, as_json: bool
) -> None:
    if as_json:
        listed = [{**timeline.delivery_json(one), "waits_for": waits.get(one.id)} for one in found]
        render.document({"deliveries": listed, "next_before": following})
        return
    _list_deliveries(found, waits, now)
    _paging(len(found), following, "deliveries")


def _list_deliveries(found: list[Delivery], waits: Mapping[str, str], now: float) -> None:
    columns = (
        Column("CREATED"),
        Column("DELIVERY"),
        Column("SOURCE"),
        Column("DESTINATION"),
        Column("STATE", styled=True),
        Column("ATTEMPTS", right=True),
        Column("LAST"),
        Column("NEXT"),
    )
    rows = [
        (
            moment(one.created_at),
            one.id,
            one.source,
            one.destination,
            one.state.value,
            str(one.attempts),
            _last(one),
            waits.get(one.id) or _next(one, now),
        )
        for one in found
    ]
    if rows:
        render.table(columns, rows)


def _last(one: Delivery) -> str:
    if one.outcome is None:
        return ""
    return f"{one.outcome.value} {one.status}" if one.status is not None else one.outcome.value


def _next(one: Delivery, now: float) -> str:
    if one.state is not DeliveryState.PENDING:
        return ""
    if one.owner is not None:
        return "in flight"
    if one.due_at is None:
        return ""
    return "due" if one.due_at <= now else relative(one.due_at, now)


def _paging(count: int, following: str | None, noun: str) -> None:
    if not count:
        render.note(f"no {noun}")
    elif following is not None:
        render.note(f"older ones: --before {following}")
