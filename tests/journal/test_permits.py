"""A limit that cannot be divided holds over all nodes, however they ask, come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from relay.journal import Claim, Journal
from relay.journal.writes import shared_concurrency
from relay.journal.writes.advisory_locks import number_of
from tests.journal.making import (
    NOW,
    StillClock,
    by_hand,
    make_entry,
    make_settlement,
    only,
    opened,
)


@pytest.fixture
def later() -> StillClock:
    """The other nodes' clock."""
    return StillClock()


@pytest.fixture
def nodes(engine: str, journal: Journal, later: StillClock) -> Iterator[tuple[Journal, ...]]:
    """Three nodes that share a journal."""
    with opened(engine, clock=later) as second, opened(engine, clock=later) as third:
        yield journal, second, third


async def fill(journal: Journal, number: int) -> None:
    """Store so many deliveries that are due."""
    await asyncio.gather(*(journal.append(make_entry("billing")) for _ in range(number)))


@pytest.mark.parametrize("limit", [1, 2])
async def test_no_more_are_owned_than_the_limit_whoever_asks_at_once(
    nodes: tuple[Journal, ...], limit: int
) -> None:
    """All nodes ask again and again, and each has what was free; all of it goes out."""
    await fill(nodes[0], 40)
    owned: set[str] = set()
    done: list[str] = []

    async def work(node: Journal) -> None:
        while len(done) < 40:
            claims = await node.claim("billing", limit, room=limit)
            owned.update(claim.delivery.id for claim in claims)
            assert len(owned) <= limit
            for claim in claims:
                await asyncio.sleep(0.005)
                # It is free again with the commit, of which the others may hear before this one.
                owned.discard(claim.delivery.id)
                await node.settle(make_settlement(claim.delivery))
                done.append(claim.delivery.id)

    await asyncio.gather(*(work(node) for node in nodes))
    assert len(set(done)) == len(done) == 40


async def test_a_permit_comes_back_with_what_it_was_for(nodes: tuple[Journal, ...]) -> None:
    """With the end of the attempt, or when the delivery is given back; other destinations have their own."""
    first, second, _ = nodes
    await fill(first, 3)
    await first.append(make_entry("stock"))
    (held,) = await first.claim("billing", 9, room=1)
    assert await second.claim("billing", 9, room=1) == []
    assert len(await second.claim("stock", 9, room=1)) == 1
    await first.settle(make_settlement(held.delivery))
    (held,) = await second.claim("billing", 9, room=1)
    assert await first.claim("billing", 9, room=1) == []
    await second.release((held.delivery,), interrupted=False)
    assert len(await first.claim("billing", 9, room=1)) == 1


async def test_what_is_born_owned_counts_too(nodes: tuple[Journal, ...]) -> None:
    """A node that believed itself alone has taken a permit with it, and suspects need one as well."""
    first, second, _ = nodes
    await fill(first, 1)
    await first.append(make_entry("billing", owner=first.node))
    assert await second.claim("billing", 1, room=1) == []
    assert await second.claim("billing", 1, room=1, suspect=True) == []
    assert len(await second.claim("billing", 9, room=2)) == 1


async def test_a_probe_needs_a_permit(nodes: tuple[Journal, ...]) -> None:
    """While an attempt that began before the breaker opened is under way, nobody is elected."""
    first, second, _ = nodes
    await fill(first, 2)
    (held,) = await first.claim("billing", 1, room=1)
    await first.open_breaker("billing", probe_at=NOW)
    assert (await second.probe("billing", next_probe_at=NOW + 30, room=1)).claims == []
    assert (await second.standings())["billing"].probe_at == NOW
    await first.settle(make_settlement(held.delivery))
    assert len((await second.probe("billing", next_probe_at=NOW + 30, room=1)).claims) == 1
    assert (await first.probe("billing", next_probe_at=NOW + 30, room=1)).claims == []


@only("postgresql", "a node's silence is told by its row there")
async def test_a_silent_nodes_permit_comes_back_with_its_rescue(
    nodes: tuple[Journal, ...], later: StillClock
) -> None:
    """Not before: until then it may be at work. When it wakes, it has lost what it had."""
    frozen, second, third = nodes
    await fill(frozen, 2)
    (held,) = await frozen.claim("billing", 1, room=1)
    while not await second.rescue():
        assert await third.claim("billing", 1, room=1) == []
        later.at += 1
    assert later.at - NOW == pytest.approx(30, abs=2)
    (claim,) = await third.claim("billing", 1, room=1)
    assert not (await frozen.settle(make_settlement(held.delivery))).done
    assert await frozen.claim("billing", 1, room=1) == []
    assert (await third.settle(make_settlement(claim.delivery))).done


@only("postgresql", "an SQLite journal has one lock for all")
async def test_nobody_waits_for_another_who_asks(engine: str, journal: Journal) -> None:
    """Whoever is second gets nothing, at once: two that wait for each other would stop both."""
    await fill(journal, 1)
    with by_hand(engine) as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_advisory_xact_lock(%s)", (number_of(shared_concurrency.lock_of("billing")),))
        assert await journal.claim("billing", 1, room=1) == []
        other.execute("COMMIT")
    claims: list[Claim] = await journal.claim("billing", 1, room=1)
    assert len(claims) == 1


async def test_all_nodes_see_the_same_order_of_those_that_live(
    engine: str, nodes: tuple[Journal, ...]
) -> None:
    """From which each takes its part of the limits; who comes or goes in order does so at once."""
    with opened(engine) as fourth:
        ids = sorted(node.node for node in (*nodes, fourth))
        assert [list(await node.living()) for node in (*nodes, fourth)] == [ids] * 4
    assert [list(await node.living()) for node in nodes] == [sorted(node.node for node in nodes)] * 3


@only("postgresql", "on SQLite the kernel knows who lives")
async def test_a_node_that_is_silent_takes_no_part_after_25_seconds(
    nodes: tuple[Journal, ...], clock: StillClock, later: StillClock
) -> None:
    """It has begun nothing for five seconds then; when it is heard again, it has its part again."""
    silent, second, _ = nodes
    began = later.at
    while silent.node in await second.living():
        later.at += 1
    assert 25 <= later.at - began <= 30
    assert not silent.may_start(clock.at + 20)
    clock.at = later.at
    assert len(await silent.living()) == 3
    assert silent.node in await second.living()
