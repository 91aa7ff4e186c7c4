"""How values become columns and columns values again, lossless for any bytes and any text."""

from __future__ import annotations

import struct
from typing import Any

import sqlalchemy as sa
from sqlalchemy import RowMapping

from relay.journal.tables.schema import attempt, delivery, event
from relay.model import (
    Attempt,
    Delivery,
    DeliveryState,
    Event,
    EventState,
    Headers,
    Outcome,
    Rendered,
    Standing,
)

EVENT_COLUMNS = tuple(column.name for column in event.columns if column.name != "seq")
DELIVERY_COLUMNS = tuple(column.name for column in delivery.columns if column.name != "seq")
ATTEMPT_COLUMNS = tuple(column.name for column in attempt.columns)

WITHOUT_RENDERED: tuple[sa.ColumnElement[Any], ...] = (
    *(column for column in delivery.c if column is not delivery.c.rendered),
    sa.null().label("rendered"),
)
"""Of deliveries by the hundred, where nobody asks for what was rendered: it may be a megabyte each."""


def to_wire(text: str) -> bytes:
    """Text as bytes; lone surrogates survive."""
    return text.encode("utf-8", "surrogatepass")


def from_wire(data: bytes) -> str:
    """The text that `to_wire` was given."""
    return data.decode("utf-8", "surrogatepass")


def maybe_to_wire(text: str | None) -> bytes | None:
    """Like `to_wire`, where there may be none."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def maybe_from_wire(data: bytes | None) -> str | None:
    """Like `from_wire`, where there may be none."""
    return None if data is None else data.decode("utf-8", "surrogatepass")


def _maybe_float(number: float | None) -> float | None:
    return None if number is None else float(number)


def pack_headers(headers: Headers) -> bytes:
    """Headers as one blob: how many strings, their lengths, then all of them in a row."""
    strings = [string for pair in headers for string in pair]
    return struct.pack(f"<{len(strings) + 1}I", len(strings), *map(len, strings)) + b"".join(strings)


def unpack_headers(blob: bytes) -> tuple[Headers, int]:
    """The headers at the start of a blob, and where they end in it."""
    (count,) = struct.unpack_from("<I", blob)
    lengths = struct.unpack_from(f"<{count}I", blob, 4)
    end = 4 + 4 * count
    strings = []
    for length in lengths:
        strings.append(blob[end : end + length])
        end += length
    pairs = iter(strings)
    return tuple(zip(pairs, pairs, strict=True)), end


def pack_rendered(rendered: Rendered | None) -> bytes | None:
    """A transformed request as one blob, the headers before the body."""
    return None if rendered is None else pack_headers(rendered.headers) + rendered.body


def unpack_rendered(blob: bytes | None) -> Rendered | None:
    """The transformed request that `pack_rendered` was given."""
    if blob is None:
        return None
    headers, end = unpack_headers(blob)
    return Rendered(headers=headers, body=blob[end:])


def event_row(value: Event, planned: int) -> tuple[object, ...]:
    """An event in the order of `EVENT_COLUMNS`."""
    return (
        value.id,
        value.source,
        maybe_to_wire(value.type),
        maybe_to_wire(value.provider_id),
        value.received_at,
        to_wire(value.method),
        to_wire(value.path),
        value.query,
        value.remote,
        value.state.value,
        value.reason,
        planned,
        pack_headers(value.headers),
        value.body,
    )


def read_event(row: RowMapping | dict[str, Any]) -> Event:
    """An event from its row."""
    return Event(
        id=row["id"],
        source=row["source"],
        type=maybe_from_wire(row["type"]),
        provider_id=maybe_from_wire(row["provider_id"]),
        received_at=row["received_at"],
        method=from_wire(row["method"]),
        path=from_wire(row["path"]),
        query=row["query"],
        headers=unpack_headers(row["headers"])[0],
        body=row["body"],
        remote=row["remote"],
        state=EventState(row["state"]),
        reason=row["reason"],
        seq=row["seq"],
    )


def delivery_row(value: Delivery, *, now: float) -> tuple[object, ...]:
    """A new delivery in the order of `DELIVERY_COLUMNS`; in a lane it has a due time only as its head."""
    pending = value.state is DeliveryState.PENDING
    due_at = now if value.due_at is None and value.lane is None else value.due_at
    is_behind = pending and value.behind
    would_be_due = is_behind and due_at is not None
    return (
        value.id,
        value.event_id,
        value.source,
        value.route,
        value.destination,
        value.key,
        value.state.value,
        value.attempts,
        value.finished,
        due_at if pending and not is_behind else None,
        value.owner,
        None if value.owner is None else now,
        value.fence,
        value.owners_lost,
        maybe_to_wire(value.lane),
        value.transform,
        None if value.outcome is None else value.outcome.value,
        value.status,
        maybe_to_wire(value.error),
        value.reason,
        value.created_at,
        value.age_from,
        None if pending else (now if value.finished_at is None else value.finished_at),
        pack_rendered(value.rendered),
        value.place,
        value.hold,
        now if would_be_due else None,
        now if is_behind else None,
    )


def read_delivery(row: RowMapping | dict[str, Any]) -> Delivery:
    """A delivery from its row."""
    return Delivery(
        id=row["id"],
        event_id=row["event_id"],
        source=row["source"],
        route=row["route"],
        destination=row["destination"],
        key=row["key"],
        # SQLite's RETURNING gives a whole number as int, whatever the column's type.
        created_at=float(row["created_at"]),
        age_from=float(row["age_from"]),
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        finished=row["finished"],
        due_at=_maybe_float(row["due_at"]),
        owner=row["owner"],
        fence=row["fence"],
        owners_lost=row["owners_lost"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        status=row["status"],
        error=maybe_from_wire(row["error"]),
        reason=row["reason"],
        finished_at=_maybe_float(row["finished_at"]),
        transform=row["transform"],
        rendered=unpack_rendered(row["rendered"]),
        lane=maybe_from_wire(row["lane"]),
        place=row["place"],
        hold=bool(row["hold"]),
        behind=row["behind_since"] is not None,
    )


def read_standing(row: RowMapping | dict[str, Any]) -> Standing:
    """What keeps a destination back, from its row."""
    return Standing(
        name=row["name"],
        paused_at=row["paused_at"],
        pause_reason=maybe_from_wire(row["pause_reason"]),
        paused_for=float(row["paused_for"]),
        opened_at=row["opened_at"],
        probe_at=row["probe_at"],
        held_until=row["held_until"],
        resumed_at=row["resumed_at"],
        version=row["version"],
    )


def standing_values(value: Standing) -> dict[str, object]:
    """What keeps a destination back, as columns by name."""
    return {
        "paused_at": value.paused_at,
        "pause_reason": maybe_to_wire(value.pause_reason),
        "paused_for": value.paused_for,
        "opened_at": value.opened_at,
        "probe_at": value.probe_at,
        "held_until": value.held_until,
        "resumed_at": value.resumed_at,
        "version": value.version,
    }


def attempt_row(value: Attempt, *, fence: int) -> tuple[object, ...]:
    """An attempt in the order of `ATTEMPT_COLUMNS`."""
    return (
        value.delivery_id,
        value.number,
        fence,
        value.node,
        value.started_at,
        value.duration,
        value.outcome.value,
        value.status,
        maybe_to_wire(value.error),
        maybe_to_wire(value.note),
        value.response,
    )


def read_attempt(row: RowMapping | dict[str, Any]) -> Attempt:
    """An attempt from its row."""
    return Attempt(
        delivery_id=row["delivery_id"],
        number=row["number"],
        started_at=row["started_at"],
        duration=row["duration"],
        outcome=Outcome(row["outcome"]),
        node=row["node"],
        status=row["status"],
        error=maybe_from_wire(row["error"]),
        note=maybe_from_wire(row["note"]),
        response=row["response"],
    )
