"""Claims and large bodies: sizes are known before they are read, and what has no room waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.journal import Entry, Journal, Reader
from relay.journal.writes.claim import REFUSED_FOR
from relay.model import DeliveryState, Rendered
from tests.journal.making import NOW, StillClock, make_entry, make_settlement

SIZE = 300_000


class Room:
    """Lets into memory what fits; remembers what it was asked and what it was given to keep."""

    def __init__(self, size: int, *, known: dict[str, bytes] | None = None) -> None:
        self.size = size
        self.left = size
        self.asked: list[tuple[int, int]] = []
        self.kept: dict[str, bytes] = known or {}
        self.begun = 0

    def begin(self) -> None:
        """Start anew."""
        self.begun += 1
        self.left = self.size

    def take(self, delivery_id: str, event_id: str, *, body: int, rendered: int) -> bool:
        """Whether both fit."""
        self.asked.append((body, rendered))
        if body + rendered > self.left:
            return False
        self.left -= body + rendered
        return True

    def find(self, event_id: str) -> bytes | None:
        """What was kept."""
        return self.kept.get(event_id)

    def keep(self, event_id: str, body: bytes) -> None:
        """Keep it."""
        self.kept[event_id] = body


def entry_of(body: bytes, *, due_at: float = NOW, to: tuple[str, ...] = ("billing",)) -> Entry:
    """An event with this body, due then."""
    entry = make_entry(*to)
    return replace(
        entry,
        event=replace(entry.event, body=body),
        deliveries=tuple(replace(one, due_at=due_at) for one in entry.deliveries),
    )


async def test_what_fits_is_claimed_and_the_rest_waits(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """A refused delivery is nobody's, its attempt did not begin, and it is due again behind the others."""
    sizes = (SIZE, 2 * SIZE, 10, SIZE)
    entries = [entry_of(b"x" * size, due_at=NOW - 9 + number) for number, size in enumerate(sizes)]
    for entry in entries:
        await journal.append(entry)
    room = Room(2 * SIZE + 10)
    claims = await journal.claim("billing", 9, load=room)
    assert room.asked == [(size, 0) for size in sizes]
    assert [len(claim.event.body) for claim in claims] == [SIZE, 10, SIZE]
    (waiting,) = reader.deliveries_of(entries[1].event.id)
    assert (waiting.owner, waiting.attempts, waiting.due_at) == (None, 0, NOW + REFUSED_FOR)
    assert waiting.state is DeliveryState.PENDING
    assert room.begun == 1
    assert await journal.claim("billing", 9, load=Room(0)) == []
    clock.at += REFUSED_FOR
    (claim,) = await journal.claim("billing", 9, load=Room(2 * SIZE))
    assert (claim.event.body, claim.delivery.attempts) == (b"x" * 2 * SIZE, 1)
    assert (await journal.settle(make_settlement(claim.delivery))).done


async def test_a_body_in_memory_is_not_read_again(journal: Journal) -> None:
    """The deliveries of one event share its body, whichever claims found them."""
    entry = entry_of(b"x" * SIZE, to=("one", "two", "three"))
    await journal.append(entry)
    room = Room(9 * SIZE)
    first, second = await asyncio.gather(
        journal.claim("one", 9, load=room), journal.claim("two", 9, load=room)
    )
    assert first[0].event.body is second[0].event.body
    room = Room(9 * SIZE, known={entry.event.id: b"as it is in memory"})
    (third,) = await journal.claim("three", 9, load=room)
    assert third.event.body == b"as it is in memory"


@pytest.mark.parametrize("size", [10, SIZE])
async def test_what_was_rendered_is_claimed_with_its_delivery(journal: Journal, size: int) -> None:
    """A transformed body counts too, and comes whole, however large it is."""
    await journal.append(entry_of(b"{}"))
    (claim,) = await journal.claim("billing", 1)
    rendered = Rendered(headers=((b"a", b"b"),), body=b"y" * size)
    ended = make_settlement(claim.delivery, DeliveryState.PENDING, due_at=NOW)
    await journal.settle(replace(ended, rendered=rendered))
    room = Room(0)
    assert await journal.claim("billing", 1, load=room) == []
    ((body, stored),) = room.asked
    assert (body, stored > size) == (2, True)
    assert await journal.claim("billing", 1) == []  # for a second
    await journal.retry([claim.delivery.id])
    (again,) = await journal.claim("billing", 1, load=Room(9 * SIZE))
    assert again.delivery.rendered == rendered


async def test_a_probe_without_room_is_none(journal: Journal, clock: StillClock) -> None:
    """The probe of an open breaker stays due where its delivery has no room."""
    await journal.append(entry_of(b"x" * SIZE))
    await journal.open_breaker("billing", probe_at=NOW)
    probe = await journal.probe("billing", next_probe_at=NOW + 60, load=Room(0))
    assert (list(probe.claims), probe.standing.probe_at) == ([], NOW)
    clock.at += REFUSED_FOR
    probe = await journal.probe("billing", next_probe_at=NOW + 60, load=Room(SIZE))
    assert [claim.event.body for claim in probe.claims] == [b"x" * SIZE]


async def test_what_was_rendered_is_not_read_where_nobody_asks_for_it(
    journal: Journal, reader: Reader
) -> None:
    """Deliveries that end or begin anew by the hundred come without it; it stays in the journal."""
    entries = [entry_of(b"{}") for _ in range(3)]
    rendered = Rendered(headers=(), body=b"y" * SIZE)
    for entry in entries:
        await journal.append(entry)
        (claim,) = await journal.claim("billing", 1)
        ended = make_settlement(claim.delivery, DeliveryState.PENDING, due_at=NOW + 60)
        await journal.settle(replace(ended, rendered=rendered))
    expired = await journal.expire("billing", before=NOW + 1)
    assert [one.rendered for one in expired] == [None] * 3
    assert await journal.retry([one.id for one in expired]) == 3
    claims = await journal.claim("billing", 3)
    assert [claim.delivery.rendered for claim in claims] == [rendered] * 3
    (stored,) = reader.deliveries_of(entries[0].event.id)
    assert stored.rendered == rendered
