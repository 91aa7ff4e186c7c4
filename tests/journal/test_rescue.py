"""Deliveries whose owner is gone, or forgot them, are free again; poison is buried."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from relay.journal import Journal, Reader
from relay.journal.tables.schema import delivery
from relay.model import DeliveryState, Outcome
from tests.journal.making import StillClock, make_entry, only, opened, path_of

NODE = """
import asyncio, sys
from tests.journal.making import make_entry, opened

async def own(journal):
    for _ in range(3):
        entry = make_entry("billing", owner=journal.node)
        await journal.append(entry)
        print(entry.deliveries[0].id, flush=True)
    print(journal.node, flush=True)

with opened(sys.argv[1]) as journal:
    asyncio.run(own(journal))
    sys.stdin.read()
"""


@contextmanager
def node(url: str) -> Iterator[tuple[subprocess.Popen[str], list[str], str]]:
    """Another process that owns three deliveries; itself, their ids, and its own id."""
    command = [sys.executable, "-c", NODE, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().strip() for _ in range(4)]
            yield process, lines[:3], lines[3]
        finally:
            process.kill()


@only("sqlite", "a node's life is a locked file there; test_leases.py is about PostgreSQL's")
async def test_a_living_node_keeps_what_it_owns_and_a_killed_one_does_not(
    journal: Journal, reader: Reader, engine: str
) -> None:
    """After kill -9 the deliveries are due at once, with an attempt that was interrupted."""
    with node(engine) as (process, ids, name):
        assert await journal.rescue() == []
        assert journal.backlogs()["billing"] == 3
        assert [one.alive for one in reader.status().nodes] == [True, True]
        process.send_signal(signal.SIGKILL)
        process.wait()
        rescued = await journal.rescue()
    assert [one.delivery_id for one in rescued] == ids
    assert {(one.owner, one.owners_lost, one.dead) for one in rescued} == {(name, 1, False)}
    (attempt,) = reader.attempts_of(ids[0])
    assert (attempt.outcome, attempt.node, attempt.number) == (Outcome.INTERRUPTED, name, 1)
    assert [one.id for one in reader.status().nodes] == [journal.node]
    assert not path_of(engine).with_name(f"relay.db.node-{name}").exists()
    assert len(await journal.claim("billing", 9)) == 3


async def test_a_node_that_ends_in_order_leaves_nothing_owned(journal: Journal, engine: str) -> None:
    """What it still owned is free without a rescue, and no owner was lost."""
    with opened(engine) as other:
        await other.append(make_entry("billing", owner=other.node))
    (claim,) = await journal.claim("billing", 1)
    assert (claim.delivery.owners_lost, claim.delivery.attempts) == (0, 2)


async def lose_owner(journal: Journal, times: int) -> list[bool]:
    """Let nodes that never lived die with the first due delivery; whether each rescue buried it."""
    buried = []
    for _ in range(times):
        claims = await journal.claim("billing", 1) or await journal.claim("billing", 1, suspect=True)
        held = claims[0].delivery
        await journal._do(  # an owner without a life: as after a crash
            lambda tx: tx.connection.execute(
                sa.update(delivery).where(delivery.c.owner.is_not(None)).values(owner="gone")
            )
        )
        (rescued,) = await journal.rescue()
        assert rescued.delivery_id == held.id
        buried.append(rescued.dead)
    return buried


async def test_what_lost_its_owner_twice_is_claimed_as_suspect_only(journal: Journal) -> None:
    """It no longer rides along with others."""
    await journal.append(make_entry("billing"))
    await lose_owner(journal, 2)
    await journal.append(make_entry("billing"))
    (innocent,) = await journal.claim("billing", 9)
    (suspect,) = await journal.claim("billing", 9, suspect=True)
    assert (innocent.delivery.owners_lost, suspect.delivery.owners_lost) == (0, 2)


async def test_after_five_lost_owners_a_delivery_is_poison(journal: Journal, reader: Reader) -> None:
    """It is dead, the ledger balances, and a retry of it stays suspect."""
    entry = make_entry("billing")
    await journal.append(entry)
    assert await lose_owner(journal, 5) == [False] * 4 + [True]
    (dead,) = reader.deliveries_of(entry.event.id)
    assert (dead.state, dead.outcome, dead.error) == (DeliveryState.DEAD, Outcome.INTERRUPTED, "poison")
    assert journal.backlogs().get("billing", 0) == 0
    assert reader.ledger().balanced
    assert await journal.retry([dead.id]) == 1
    assert await journal.claim("billing", 1) == []
    assert len(await journal.claim("billing", 1, suspect=True)) == 1


async def test_what_a_living_node_forgot_is_released_after_ten_seconds(
    journal: Journal, clock: StillClock
) -> None:
    """What it holds in memory stays, and so does what it took just now."""
    held, forgotten = (make_entry("billing", owner=journal.node) for _ in range(2))
    await journal.append(held)
    await journal.append(forgotten)
    clock.at += 9
    assert await journal.rescue({held.deliveries[0].id}) == []
    clock.at += 1
    (rescued,) = await journal.rescue({held.deliveries[0].id})
    assert (rescued.delivery_id, rescued.owners_lost) == (forgotten.deliveries[0].id, 0)
