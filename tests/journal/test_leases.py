"""Nodes that share a database: nothing is claimed twice, the dead are noticed, the living are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from relay.journal import Journal, Reader, Rescued
from relay.journal.writes import lanes
from relay.model import DeliveryState, Outcome
from relay.process.clock import Clock
from tests.journal.making import (
    NOW,
    StillClock,
    Told,
    by_hand,
    make_entry,
    make_laned,
    make_settlement,
    only,
    opened,
)

shared = only("postgresql", "on SQLite the kernel knows who lives")


@pytest.fixture
def later() -> StillClock:
    """The other node's clock."""
    return StillClock()


@pytest.fixture
def other(engine: str, journal: Journal, later: StillClock) -> Iterator[Journal]:
    """Another node on the same database."""
    with opened(engine, clock=later) as other:
        yield other


async def watch(node: Journal, clock: StillClock, *, until: float, step: float = 10) -> list[Rescued]:
    """Let a node do its rounds until a moment, or until it rescues something; what that was."""
    while clock.at < until:
        clock.at += step
        rescued = await node.rescue()
        if rescued:
            return rescued
    return []


async def test_two_nodes_share_out_what_is_due(engine: str, journal: Journal, reader: Reader) -> None:
    """Each delivery goes to one of them, whoever asks meanwhile."""
    with opened(engine) as other:
        entries = [make_entry("billing") for _ in range(200)]
        await asyncio.gather(*(journal.append(one) for one in entries[:100]))
        await asyncio.gather(*(other.append(one) for one in entries[100:]))
        claims = await asyncio.gather(*(node.claim("billing", 7) for node in (journal, other) * 20))
        ids = [claim.delivery.id for part in claims for claim in part]
        assert len(ids) == len(set(ids)) == 200
        assert {claim.delivery.owner for part in claims for claim in part} == {journal.node, other.node}
        await asyncio.gather(
            *(
                (journal if claim.delivery.owner == journal.node else other).settle(
                    make_settlement(claim.delivery)
                )
                for part in claims
                for claim in part
            )
        )
        assert reader.ledger().balanced
        assert reader.status().destinations[0].delivered == 200


@shared
async def test_each_node_counts_in_rows_of_its_own(engine: str, journal: Journal, other: Journal) -> None:
    """So no commit waits for another node's; what is told of them is the sum."""
    for node in (journal, other, other):
        await node.append(make_entry("billing"))
    with by_hand(engine) as connection:
        rows = connection.execute("SELECT slot, value FROM ledger WHERE counter = 'accepted'").fetchall()
    assert sorted(rows) == [(0, 1), (1, 2)]
    with Reader.open(engine) as reader:
        assert (reader.status().sources[0].accepted, reader.ledger().balanced) == (3, True)


@shared
async def test_a_node_that_is_silent_for_half_a_minute_is_rescued_from(
    journal: Journal, reader: Reader, other: Journal, later: StillClock
) -> None:
    """Not before; what it held is due at once, and its late ends change nothing."""
    born, waiting = make_entry("billing", owner=journal.node), make_entry("billing")
    for entry in (born, waiting):
        await journal.append(entry)
    (claimed,) = await journal.claim("billing", 1)
    assert await watch(other, later, until=NOW + 29, step=9.9) == []
    rescued = await watch(other, later, until=NOW + 40)
    assert {one.delivery_id for one in rescued} == {born.deliveries[0].id, waiting.deliveries[0].id}
    assert {(one.owner, one.owners_lost) for one in rescued} == {(journal.node, 1)}
    for held in (born.deliveries[0], claimed.delivery):
        assert not (await journal.settle(make_settlement(held))).done
    (attempt,) = reader.attempts_of(born.deliveries[0].id)
    assert (attempt.outcome, attempt.node) == (Outcome.INTERRUPTED, journal.node)
    again = await other.claim("billing", 9)
    assert [claim.delivery.attempts for claim in again] == [2, 2]
    for claim in again:
        assert (await other.settle(make_settlement(claim.delivery))).done
    assert {one.state for one in reader.deliveries()} == {DeliveryState.DELIVERED}
    assert reader.ledger().balanced


@shared
async def test_a_node_that_renews_is_left_alone(
    journal: Journal, clock: StillClock, other: Journal, later: StillClock
) -> None:
    """However long it holds what it holds."""
    await journal.append(make_entry("billing", owner=journal.node))
    for _ in range(20):
        clock.at += 10
        await journal.due([])  # whatever it writes renews it
        assert await watch(other, later, until=later.at + 10) == []


@shared
async def test_who_was_away_itself_believes_nobody_dead(
    journal: Journal, other: Journal, later: StillClock
) -> None:
    """After an outage for all there is no mass rescue: others are watched for half a minute anew."""
    await journal.append(make_entry("billing", owner=journal.node))
    assert await watch(other, later, until=NOW + 10) == []
    assert await watch(other, later, until=NOW + 100, step=90) == []
    assert await watch(other, later, until=NOW + 120) == []
    assert len(await watch(other, later, until=NOW + 140)) == 1


@shared
async def test_a_node_that_wakes_is_a_node_again(
    journal: Journal, clock: StillClock, reader: Reader, other: Journal, later: StillClock
) -> None:
    """Its row comes back as it was, before it owns anything, so that is not taken from it."""
    await journal.note_config(digest="abc", reload=1, error=None)
    before = next(one for one in reader.status().nodes if one.id == journal.node)
    await journal.append(make_entry("billing", owner=journal.node))
    assert len(await watch(other, later, until=NOW + 60)) == 1
    assert [one.id for one in reader.status().nodes] == [other.node]
    clock.at += 60
    assert not journal.may_start(clock.at)
    await journal.append(make_entry("billing", owner=journal.node))
    assert journal.may_start(clock.at)
    after = next(one for one in reader.nodes() if one.id == journal.node)
    assert replace(after, beat_at=before.beat_at, wall_ahead=before.wall_ahead) == before
    assert await watch(other, later, until=later.at + 10) == []


@shared
async def test_a_node_that_could_not_renew_for_20_seconds_starts_nothing(journal: Journal) -> None:
    """Others may take what it holds soon after."""
    assert journal.may_start(NOW + 19)
    assert not journal.may_start(NOW + 20)


async def test_alone_on_a_file_a_node_may_always_start(engine: str) -> None:
    """There its life is the process's own; on a shared database it is fresh after the start."""
    with opened(engine) as journal:
        assert journal.may_start(NOW)
        assert journal.may_start(NOW + 1_000) == engine.startswith("sqlite")


@shared
async def test_a_node_goes_by_the_databases_clock(engine: str) -> None:
    """All that share it do, whatever their own clocks say."""
    clock, wrong = Clock(), Clock()
    wrong.start_at(0)
    with opened(engine, clock=wrong):
        assert abs(wrong.now() - clock.now()) < 60


@shared
async def test_nodes_that_work_on_the_same_lanes_do_not_stand_in_each_others_way(
    engine: str, journal: Journal, reader: Reader, hooks: Told
) -> None:
    """Each enters some while it leaves others, in any order; all goes out, one after another."""
    keys = ["a", "b", "c", "d"]
    with opened(engine) as other:
        turns = [(node, keys[turn:] + keys[:turn]) for node in (journal, other) for turn in range(4)]
        await asyncio.gather(*(_play(node, order) for node, order in turns))
        while any([await _play(node, []) for node in (journal, other)]):
            pass
    assert {one.state for one in reader.deliveries(limit=1_000)} == {DeliveryState.DELIVERED}
    assert hooks.troubles == []
    assert reader.ledger().balanced


@shared
async def test_lanes_are_locked_before_anything_in_them_is_touched(engine: str, journal: Journal) -> None:
    """So that all nodes can lock theirs in one order; other lanes go on."""
    with by_hand(engine) as connection:
        connection.execute("BEGIN")
        number = lanes._number_of("billing", "taken")
        connection.execute(f"SELECT pg_advisory_xact_lock({number})")
        waiting = asyncio.create_task(journal.append(make_laned("taken")))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        with opened(engine) as other:
            await other.append(make_laned("free"))
        connection.execute("COMMIT")
    assert (await waiting).kind == "stored"


async def _play(node: Journal, keys: list[str]) -> int:
    """Append to these lanes and settle what is due, some times over; how many were settled last."""
    settled = 0
    for _ in range(5):
        appends = [node.append(make_laned(key)) for key in keys]
        claims = await node.claim("billing", 3)
        await asyncio.gather(*appends, *(node.settle(make_settlement(one.delivery)) for one in claims))
        settled = len(claims)
    return settled
