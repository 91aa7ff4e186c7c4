"""Commands that only look: `status`, `show`, `events`, `deliveries` and `ledger`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import render, timeline
from relay.cli.access import reading
from relay.cli.options import (
    BeforeOption,
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
from relay.cli.render import Column
from relay.cli.text import moment, relative, size
from relay.errors import UsageError
from relay.model import Delivery, DeliveryState, Event

if TYPE_CHECKING:
    from relay.journal import Filter, Reader

_PAGE = 50


def show(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="evt_..., dlv_... or the provider's own id.")
    ],
    *,
    journal: JournalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell the story of one event.

    Its arrival, every attempt, and what is next.
    """
    with reading(journal) as reader:
        journeys = [
            journey
            for event_id in reader.find_event(identifier)
            if (journey := load_journey(reader, event_id))
        ]
    if not journeys:
        render.note(f"no event has the id {identifier}")
        raise typer.Exit(1)
    if as_json:
        render.document({"events": [timeline.journey_json(journey) for journey in journeys]})
        return
    for index, journey in enumerate(journeys):
        gap = [render.Line("")] if index else []
        render.timeline([*gap, *timeline.lines(journey, time.time())])


def load_journey(reader: Reader, event_id: str) -> timeline.Journey | None:
    """An event with all that became of it; None when it is not in the journal (any more)."""
    event = reader.event(event_id)
    if event is None:
        return None
    deliveries = reader.deliveries_of(event_id)
    return timeline.Journey(event, tuple((one, tuple(reader.attempts_of(one.id))) for one in deliveries))


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
    group_by: Annotated[
        str | None, typer.Option("--group-by", metavar="error", help="Count by destination and error.")
    ] = None,
    limit: LimitOption = _PAGE,
    before: BeforeOption = None,
    journal: JournalOption = None,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first."""
    if group_by not in {None, "error"}:
        raise UsageError(f"--group-by {group_by!r}: there is only `error`")
    chosen = make_filter(
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
        if group_by:
            _groups(reader, chosen, as_json=as_json)
            return
        if before is not None and reader.delivery(before) is None:
            raise UsageError(f"--before {before}: no such delivery")
        found = reader.deliveries(chosen, limit, before)
    following = found[-1].id if len(found) == limit else None
    if as_json:
        render.document(
            {"deliveries": [timeline.delivery_json(one) for one in found], "next_before": following}
        )
        return
    _list_deliveries(found)
    _paging(len(found), following, "deliveries")


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
        render.note("no deliveries with an error")


def _list_deliveries(found: list[Delivery]) -> None:
    now = time.time()
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
            _next(one, now),
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
