"""What keeps a destination back, and that everything goes on when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from relay.journal import Journal, Reader, StateChange
from relay.journal.writes import destination_state
from relay.journal.writes.tx import BATCH
from relay.model import DeliveryState, Standing
from tests.journal.making import (
    NOW,
    StillClock,
    Told,
    locked,
    make_entry,
    make_laned,
    make_settlement,
    opened,
)


async def wait_for_later(journal: Journal, number: int, *, due_at: float = NOW + 3600) -> None:
    """Have so many deliveries wait for their next attempt."""
    entries = [make_entry("billing", owner=journal.node) for _ in range(number)]
    await asyncio.gather(*(journal.append(entry) for entry in entries))
    retries = [make_settlement(one.deliveries[0], DeliveryState.PENDING, due_at=due_at) for one in entries]
    await asyncio.gather(*(journal.settle(one) for one in retries))


async def test_a_paused_destination_is_left_alone(journal: Journal, reader: Reader) -> None:
    """Nothing of it is claimed, suspect or not; others go on; the ledger says what is waited for."""
    await journal.append(make_entry("billing", "other"))
    assert (await journal.pause("billing", reason="operator")).changed
    assert not (await journal.pause("billing", reason="again")).changed
    assert await journal.claim("billing", 9) == await journal.claim("billing", 9, suspect=True) == []
    assert len(await journal.claim("other", 9)) == 1
    at = Standing(name="billing", paused_at=NOW, pause_reason="operator", version=1)
    assert await journal.standings() == {"billing": at}
    assert reader.standing("billing") == reader.status().destinations[0].standing == at
    assert reader.standing("other") == Standing(name="other")
    assert reader.ledger(now=NOW).waiting == {"paused": 1, "owner": 1}


async def test_a_pause_stops_ages_and_makes_all_due_at_its_end(journal: Journal, clock: StillClock) -> None:
    """What waited for its next attempt is due at once, in its order, and was not rewritten to be younger."""
    await wait_for_later(journal, BATCH + 1)
    await journal.pause("billing", reason="HTTP 410")
    clock.at += 100
    assert (await journal.resume("billing")).due == BATCH + 1
    assert not (await journal.resume("billing")).changed
    at = (await journal.standings())["billing"]
    assert (at.paused_at, at.pause_reason, at.paused_for, at.time(clock.at)) == (None, None, 100, NOW)
    claims = await journal.claim("billing", 2 * BATCH)
    assert len(claims) == BATCH + 1
    numbers = [claim.event.seq or 0 for claim in claims]
    assert numbers == sorted(numbers)
    assert {claim.delivery.age_from for claim in claims} == {NOW}


async def test_pauses_add_up(journal: Journal, clock: StillClock) -> None:
    """The destination's own time is what is left of the time; a retry ages by it."""
    entry = make_entry("billing")
    await journal.append(entry)
    for seconds in (10, 20):
        await journal.pause("billing", reason="operator")
        clock.at += seconds
        assert await journal.retry([entry.deliveries[0].id]) == 1
        await journal.resume("billing")
        clock.at += 1
    (claim,) = await journal.claim("billing", 1)
    assert claim.delivery.age_from == NOW + 1
    assert (await journal.standings())["billing"].time(clock.at) == NOW + 2


async def test_a_resume_that_is_cut_short_leaves_the_pause(
    journal: Journal, engine: str, clock: StillClock
) -> None:
    """Some are due by then, none goes out, and the next resume does the rest."""
    await wait_for_later(journal, BATCH + 1)
    await journal.pause("billing", reason="operator")
    await journal._do(lambda tx: destination_state.make_due(tx, "billing", since=clock.at))  # its first batch
    with opened(engine, clock=clock) as other:
        assert await other.claim("billing", 9) == []
        assert (await other.resume("billing")).due == BATCH + 1
        assert len(await other.claim("billing", 2 * BATCH)) == BATCH + 1


async def test_a_resume_ends_a_hold(journal: Journal, clock: StillClock) -> None:
    """What a 429 keeps back is due at once, and no pause is counted; a hold that is over is none."""
    await wait_for_later(journal, 2)
    await journal.hold("billing", until=NOW + 3600)
    clock.at += 10
    assert await journal.claim("billing", 9) == []
    assert (await journal.resume("billing")).due == 2
    at = Standing(name="billing", resumed_at=clock.at, version=2)
    assert (await journal.standings())["billing"] == at
    assert len(await journal.claim("billing", 9)) == 2
    await journal.hold("billing", until=clock.at + 1)
    clock.at += 2
    assert not (await journal.resume("billing")).changed


async def test_a_resume_leaves_lanes_in_their_order(journal: Journal) -> None:
    """Heads are due, and nothing behind them."""
    for _ in range(3):
        await journal.append(make_laned())
    await journal.pause("billing", reason="operator")
    assert (await journal.resume("billing")).due == 1
    assert len(await journal.claim("billing", 9)) == 1


async def test_an_open_breaker_lets_nothing_but_probes_through(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """One delivery when the time has come, then none until the next time."""
    for _ in range(2):
        await journal.append(make_entry("billing"))
    assert (await journal.open_breaker("billing", probe_at=NOW + 30)).changed
    assert not (await journal.open_breaker("billing", probe_at=NOW + 99)).changed
    assert await journal.claim("billing", 9) == []
    assert (await journal.probe("billing", next_probe_at=NOW + 60)).claims == []
    assert reader.ledger(now=NOW).waiting == {"breaker": 2}
    clock.at += 30
    assert len((await journal.probe("billing", next_probe_at=NOW + 60)).claims) == 1
    assert (await journal.probe("billing", next_probe_at=NOW + 60)).claims == []
    at = reader.standing("billing")
    assert (at.opened_at, at.probe_at) == (NOW, NOW + 60)
    clock.at += 30
    await journal.pause("billing", reason="operator")
    assert (await journal.probe("billing", next_probe_at=NOW + 90)).claims == []
    await journal.resume("billing")
    assert len((await journal.probe("billing", next_probe_at=NOW + 90)).claims) == 1


async def test_a_probe_with_which_nothing_was_sent_leaves_its_turn(
    journal: Journal, clock: StillClock
) -> None:
    """To the next delivery of its node; where there is none, to whatever is due next, on any node."""
    for _ in range(2):
        await journal.append(make_entry("billing"))
    await journal.open_breaker("billing", probe_at=NOW)
    for at in (NOW + 60, NOW + 61):
        unused = None if at == NOW + 60 else NOW + 60
        assert len((await journal.probe("billing", next_probe_at=at, unused=unused)).claims) == 1
        assert (await journal.probe("billing", next_probe_at=NOW + 99, unused=NOW + 59)).claims == []
    empty = await journal.probe("billing", next_probe_at=NOW + 62, unused=NOW + 61)
    assert (empty.claims, empty.standing.probe_at) == ([], clock.at)
    await journal.append(make_entry("billing"))
    assert len((await journal.probe("billing", next_probe_at=NOW + 63)).claims) == 1


async def test_of_many_nodes_one_probes(journal: Journal, engine: str, clock: StillClock) -> None:
    """The election is the update of the row."""
    for _ in range(9):
        await journal.append(make_entry("billing"))
    await journal.open_breaker("billing", probe_at=NOW)
    with opened(engine, clock=clock) as other:
        nodes = (journal, other) * 5
        probes = await asyncio.gather(*(node.probe("billing", next_probe_at=NOW + 30) for node in nodes))
    assert sum(len(one.claims) for one in probes) == 1


async def test_a_probe_without_a_delivery_is_not_spent(journal: Journal, clock: StillClock) -> None:
    """The first that comes is the probe; nothing is probed where no breaker is open."""
    assert (await journal.probe("billing", next_probe_at=NOW + 30)).claims == []
    await journal.open_breaker("billing", probe_at=NOW)
    assert (await journal.probe("billing", next_probe_at=NOW + 30)).claims == []
    assert (await journal.standings())["billing"].probe_at == NOW
    await journal.append(make_entry("billing"))
    assert len((await journal.probe("billing", next_probe_at=NOW + 30)).claims) == 1


async def test_a_breaker_that_closes_makes_all_due(journal: Journal, clock: StillClock) -> None:
    """What had long to wait goes on at once; ages go on as they were."""
    await wait_for_later(journal, BATCH + 1)
    await journal.open_breaker("billing", probe_at=NOW)
    clock.at += 50
    assert (await journal.close_breaker("billing")).changed
    assert not (await journal.close_breaker("billing")).changed
    assert len(await journal.claim("billing", 2 * BATCH)) == BATCH + 1
    assert (await journal.standings())["billing"] == Standing(name="billing", version=2)


async def test_a_hold_ends_by_itself_and_the_longest_counts(
    journal: Journal, reader: Reader, clock: StillClock
) -> None:
    """Of two 429s the later Retry-After stays."""
    await journal.append(make_entry("billing"))
    for until in (NOW + 20, NOW + 10):
        await journal.hold("billing", until=until)
    assert reader.ledger(now=NOW).waiting == {"held": 1}
    clock.at += 19
    assert await journal.claim("billing", 9) == []
    await journal.open_breaker("billing", probe_at=NOW)
    assert (await journal.probe("billing", next_probe_at=NOW + 30)).claims == []
    await journal.close_breaker("billing")
    clock.at += 1
    assert reader.ledger(now=clock.at).waiting == {"due_now": 1}
    assert len(await journal.claim("billing", 9)) == 1


async def test_an_error_leaves_the_standing_as_it_is(journal: Journal, reader: Reader) -> None:
    """Both are in one row."""
    await journal.pause("billing", reason="\ud800")
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    await journal.settle(make_settlement(entry.deliveries[0], DeliveryState.DEAD, error="boom"))
    (status,) = reader.status().destinations
    assert (status.last_error, status.standing.pause_reason) == ("boom", "\ud800")


@pytest.mark.parametrize("act", ["pause", "open"])
async def test_a_standing_outlives_the_process(
    journal: Journal, engine: str, clock: StillClock, act: str
) -> None:
    """It is in the journal, and every node and command sees it."""
    if act == "pause":
        await journal.pause("billing", reason="operator")
    else:
        await journal.open_breaker("billing", probe_at=NOW + 1)
    with opened(engine, clock=clock, serving=False) as other:
        assert await other.standings() == await journal.standings()
        await other.append(make_entry("billing"))
        assert await other.claim("billing", 1) == []


async def test_every_change_is_counted_and_what_changes_nothing_is_not(journal: Journal) -> None:
    """So that of two answers of the journal anybody can tell which is the newer."""
    changes: tuple[Callable[[str], Awaitable[StateChange]], ...] = (
        partial(journal.pause, reason="operator"),
        partial(journal.hold, until=NOW + 60),
        partial(journal.open_breaker, probe_at=NOW),
        journal.close_breaker,
        journal.resume,
    )
    for version, change in enumerate(changes, 1):
        for changed in (True, False):
            answer = await change("billing")
            assert (answer.changed, answer.standing.version) == (changed, version)
            assert answer.standing == (await journal.standings())["billing"]
    await journal.append(make_entry("billing"))
    await journal.open_breaker("billing", probe_at=NOW)
    for version in (7, 7):
        probe = await journal.probe("billing", next_probe_at=NOW + 30)
        assert (probe.standing.version, probe.standing.probe_at) == (version, NOW + 30)


async def test_a_probe_closes_the_opening_that_it_was_elected_for(
    journal: Journal, clock: StillClock
) -> None:
    """A newer one stays: what is true of the destination now is for another probe to find out."""
    await journal.open_breaker("billing", probe_at=NOW)
    await journal.close_breaker("billing")
    clock.at += 1
    newer = await journal.open_breaker("billing", probe_at=NOW)
    late = await journal.close_breaker("billing", opened_at=NOW)
    assert not late.changed
    assert late.standing == newer.standing
    assert (await journal.close_breaker("billing", opened_at=NOW + 1)).changed


@pytest.mark.parametrize("ask", ["hold", "pause"])
async def test_what_was_asked_before_a_resume_is_over(journal: Journal, clock: StillClock, ask: str) -> None:
    """However late it is written, as after an outage; what is asked after it counts."""

    async def ask_for(at: float) -> StateChange:
        if ask == "hold":
            return await journal.hold("billing", until=NOW + 3600, asked_at=at)
        return await journal.pause("billing", reason="HTTP 410", asked_at=at)

    await journal.pause("billing", reason="operator")
    clock.at += 10
    await journal.resume("billing")
    assert not (await ask_for(NOW + 9)).changed
    assert await journal.claim("billing", 1) == []
    assert (await ask_for(NOW + 10)).changed
    assert (await journal.pause("other", reason="operator")).changed


async def test_what_an_attempt_shows_is_written_when_the_journal_takes_it(
    journal: Journal, engine: str, hooks: Told
) -> None:
    """An outage in between loses neither a hold nor an opening, and they come before anything is claimed."""
    await journal.append(make_entry("billing"))
    with locked(engine):
        asked = [
            asyncio.ensure_future(journal.hold("billing", until=NOW + 60, asked_at=NOW)),
            asyncio.ensure_future(journal.open_breaker("billing", probe_at=NOW)),
        ]
        async with asyncio.timeout(30):
            while not hooks.troubles:  # noqa: ASYNC110 - the writer's thread rings no bell here
                await asyncio.sleep(0.01)
    assert [one.changed for one in await asyncio.gather(*asked)] == [True, True]
    assert await journal.claim("billing", 1) == []
