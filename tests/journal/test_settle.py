"""Claims in their order, ends that are fenced, and giving back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.journal import Journal, Reader, Settled
from relay.model import DeliveryState, Outcome, Rendered
from tests.journal.making import NOW, StillClock, make_entry, make_settlement
from tests.journal.test_plans import watched


async def test_claims_follow_the_due_time_then_the_order_of_planning(
    journal: Journal, clock: StillClock
) -> None:
    """The longest due comes first, and what is not due is not claimed."""
    entries = []
    for due_at in (NOW, NOW - 5, NOW, NOW + 1):
        entry = make_entry("billing")
        entries.append(replace(entry, deliveries=(replace(entry.deliveries[0], due_at=due_at),)))
        await journal.append(entries[-1])
    await journal.append(make_entry("other"))
    first = await journal.claim("billing", 2)
    second = await journal.claim("billing", 9)
    order = [claim.event.id for claim in first + second]
    assert order == [entries[index].event.id for index in (1, 0, 2)]
    assert await journal.due(["billing", "nowhere"]) == {"billing": NOW + 1, "nowhere": None}
    clock.at += 1
    assert len(await journal.claim("billing", 9)) == 1


async def test_a_delivery_is_claimed_once(journal: Journal) -> None:
    """Claims side by side share out what is due."""
    await asyncio.gather(*(journal.append(make_entry("billing")) for _ in range(30)))
    claims = await asyncio.gather(*(journal.claim("billing", 4) for _ in range(10)))
    ids = [claim.delivery.id for part in claims for claim in part]
    assert len(ids) == len(set(ids)) == 30


@pytest.mark.parametrize("limit", [0, -4])
async def test_a_claim_for_none_takes_none(journal: Journal, limit: int) -> None:
    """Also where it is for less than none, which SQLite takes for no limit; a suspect neither."""
    await journal.append(make_entry("billing"))
    for suspect in (False, True):
        assert await journal.claim("billing", limit, suspect=suspect) == []


async def test_a_claim_owns_numbers_and_fences(journal: Journal) -> None:
    """The claimed delivery is as it stands in the journal from now on."""
    await journal.append(make_entry("billing"))
    (claim,) = await journal.claim("billing", 1)
    held = claim.delivery
    assert (held.owner, held.attempts, held.fence) == (journal.node, 1, 1)
    await journal.settle(make_settlement(held, DeliveryState.PENDING, due_at=NOW))
    (again,) = await journal.claim("billing", 1)
    assert (again.delivery.attempts, again.delivery.fence, again.delivery.finished) == (2, 2, 1)


async def test_settling_twice_is_success(journal: Journal, reader: Reader) -> None:
    """The second time changes nothing."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    settlement = make_settlement(entry.deliveries[0])
    ends = await asyncio.gather(*(journal.settle(settlement) for _ in range(3)))
    assert ends == [Settled(done=True, promoted=False)] * 3
    assert (await journal.settle(settlement)).done
    (attempt,) = reader.attempts_of(entry.deliveries[0].id)
    assert attempt == settlement.attempt
    assert journal.backlogs()["billing"] == 0
    assert reader.ledger().balanced


async def test_a_late_end_is_fenced_off(journal: Journal, reader: Reader) -> None:
    """Who lost the delivery settles nothing any more; who has it now does."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    await journal.release(entry.deliveries, interrupted=True)
    (claim,) = await journal.claim("billing", 1)
    assert not (await journal.settle(make_settlement(entry.deliveries[0]))).done
    assert reader.deliveries_of(entry.event.id) == [claim.delivery]
    assert (await journal.settle(make_settlement(claim.delivery))).done


async def test_the_first_rendering_stays(journal: Journal, reader: Reader) -> None:
    """A retry finds the bytes that were sent first, whatever comes with a later end."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    first, second = (Rendered(headers=((b"n", b),), body=b) for b in (b"1", b"2"))
    retry = make_settlement(entry.deliveries[0], DeliveryState.PENDING, due_at=NOW)
    await journal.settle(replace(retry, rendered=first))
    (claim,) = await journal.claim("billing", 1)
    assert claim.delivery.rendered == first
    await journal.settle(replace(make_settlement(claim.delivery), rendered=second))
    assert reader.deliveries_of(entry.event.id)[0].rendered == first


async def test_what_is_given_back_interrupted_is_recorded(journal: Journal, reader: Reader) -> None:
    """It is due at once, has an attempt without an outcome of its own, and the number is used."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    await journal.release(entry.deliveries, interrupted=True)
    (attempt,) = reader.attempts_of(entry.deliveries[0].id)
    assert (attempt.outcome, attempt.number, attempt.node) == (Outcome.INTERRUPTED, 1, journal.node)
    (claim,) = await journal.claim("billing", 1)
    assert (claim.delivery.attempts, claim.delivery.finished) == (2, 0)


async def test_what_was_not_begun_gives_its_number_back(journal: Journal, reader: Reader) -> None:
    """A delivery that waits for its route has no due time until it is woken, and the ledger says so."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    await journal.release(entry.deliveries, interrupted=False, due_at=None)
    assert await journal.claim("billing", 1) == []
    assert reader.ledger(now=NOW).waiting == {"route_gone": 1}
    assert await journal.wake() == 1
    (claim,) = await journal.claim("billing", 1)
    assert claim.delivery.attempts == 1
    assert reader.attempts_of(claim.delivery.id) == []


async def test_a_parked_backlog_is_woken_in_many_short_transactions(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, however much: senders wait behind no more than a batch, and no patience runs out."""
    monkeypatch.setattr("relay.journal.journal.BATCH", 4)
    entries = [make_entry("billing", owner=journal.node) for _ in range(10)]
    await asyncio.gather(*(journal.append(entry) for entry in entries))
    for entry in entries:
        await journal.release(entry.deliveries, interrupted=False, due_at=None)
    with watched(journal) as seen:
        assert await journal.wake() == len(entries)
    assert sum("UPDATE delivery" in statement for statement, _ in seen.statements) == 3
    assert len(await journal.claim("billing", 20)) == len(entries)


async def test_a_dead_delivery_says_why(journal: Journal, reader: Reader) -> None:
    """State, outcome, status and the error's text are with the delivery and with its destination."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    await journal.settle(make_settlement(entry.deliveries[0], DeliveryState.DEAD, error="boom"))
    (dead,) = reader.deliveries_of(entry.event.id)
    assert (dead.state, dead.outcome, dead.status, dead.error) == (
        DeliveryState.DEAD,
        Outcome.HTTP_STATUS,
        500,
        "boom",
    )
    (status,) = reader.status().destinations
    assert (status.dead, status.pending, status.last_error) == (1, 0, "boom")
