"""Whatever is done to lanes, in whatever order, they are as a few lists in memory say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay.journal import Entry, Journal, OrderChange, Reader
from relay.journal.tables.schema import delivery
from relay.model import POISON_AFTER, SUSPECT_AFTER, Delivery, DeliveryState, route_id
from tests.journal.making import Fresh, StillClock, by_hand, make_laned, make_settlement, opened, replayed

T = TypeVar("T")

KEYS = st.sampled_from(["a", "b"])
WHICH = st.integers(0, 99)

CHANGED = {"billing": {route_id("github", "all")}}


@dataclass
class Change:
    """A change of the order that is not over: its number, and what was there when it was made."""

    number: int
    older: set[str]


@dataclass
class Card:
    """What the model knows of one delivery; `after`: how many changes of the order there were before it."""

    key: str
    hold: bool
    state: str = "pending"
    later: bool = False
    parked: bool = False
    behind: bool = False
    after: int = 0
    lost: int = 0


class Lanes(RuleBasedStateMachine):
    """A journal, and beside it a list for each lane; the first of a list is the head or holds the lane."""

    def __init__(self, fresh: Fresh) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.runner = self.stack.enter_context(asyncio.Runner())
        self.url, self.clock = self.stack.enter_context(fresh.one()), StillClock()
        self.cards: dict[str, Card] = {}
        self.lanes: dict[str, list[str]] = {"a": [], "b": []}
        self.held: dict[str, Delivery] = {}
        self.changes: list[Change] = []
        self.changed = 0

    def do(self, work: Awaitable[T]) -> T:
        """Await something."""
        self.clock.at += 1

        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    @initialize()
    def begin(self) -> None:
        """Open the journal."""
        self.life = contextlib.ExitStack()
        self.journal: Journal = self.life.enter_context(opened(self.url, clock=self.clock))
        self.reader: Reader = self.life.enter_context(Reader.open(self.url))

    def teardown(self) -> None:
        """Close all."""
        self.life.close()
        self.stack.close()

    # The model.

    def leave(self, identity: str, state: str) -> None:
        """One is no longer pending: it goes, unless it is dead and holds."""
        card = self.cards[identity]
        card.state, card.parked, card.later, card.behind = state, False, False, False
        lane = self.lanes[card.key]
        if not (state == "dead" and card.hold and lane[0] == identity):
            lane.remove(identity)

    def holds(self, identity: str) -> bool:
        """Whether it is dead and first of its list."""
        card = self.cards[identity]
        return card.state == "dead" and self.lanes[card.key][:1] == [identity]

    def revive(self, identity: str) -> None:
        """One that was dead is pending: in front where it held, else at the end."""
        card = self.cards[identity]
        lane = self.lanes[card.key]
        if not self.holds(identity):
            lane.append(identity)
        card.state = "pending"
        card.lost = min(card.lost, SUSPECT_AFTER)

    def free(self, identity: str) -> bool:
        """Whether it is pending and nobody has it."""
        return self.cards[identity].state == "pending" and identity not in self.held

    def due(self) -> set[str]:
        """The heads that can be claimed."""
        heads = {lane[0] for lane in self.lanes.values() if lane}
        return {one for one in heads if self.free(one) and self.timed(one) and not self.cards[one].later}

    def timed(self, identity: str) -> bool:
        """Whether it has a due time as soon as it is the head."""
        return not self.cards[identity].parked and not self.cards[identity].behind

    def goes(self, identity: str) -> bool:
        """Whether it goes sooner or later if nobody acts."""
        is_head = self.lanes[self.cards[identity].key][:1] == [identity]
        return (
            identity in self.held
            or self.cards[identity].behind
            or (self.free(identity) and is_head and self.timed(identity))
        )

    # What is done.

    @rule(keys=st.lists(st.tuples(KEYS, st.booleans()), min_size=1, max_size=4))
    def append(self, keys: list[tuple[str, bool]]) -> None:
        """Take some events at once."""
        entries = [self.planned(make_laned(key, hold=hold)) for key, hold in keys]

        async def all_of_them() -> None:
            await asyncio.gather(*(self.journal.append(entry) for entry in entries))

        self.do(all_of_them())
        for (key, hold), entry in zip(keys, entries, strict=True):
            self.enter(key, hold=hold, entry=entry)

    def enter(self, key: str, *, hold: bool, entry: Entry) -> None:
        """Put a new one at the end."""
        identity = entry.deliveries[0].id
        self.cards[identity] = Card(key, hold, behind=bool(self.changes), after=self.changed)
        self.lanes[key].append(identity)

    def planned(self, entry: Entry) -> Entry:
        """The same, planned now: behind what is pending while a change of the order lasts."""
        behind, now = bool(self.changes), self.clock.at
        deliveries = (replace(one, behind=behind, created_at=now) for one in entry.deliveries)
        return replace(entry, deliveries=tuple(deliveries))

    @rule()
    def change(self) -> None:
        """Change the order: what is planned from now on goes behind what is pending and can go."""
        change = OrderChange(self.clock.at, CHANGED)
        found = self.do(self.journal.change_orders({}, [change]))
        assert bool(found.begun) == any(map(self.goes, self.cards))
        if found.begun:
            self.changed += 1
            self.changes.append(Change(self.changed, set(self.cards)))

    @precondition(lambda self: any(card.behind for card in self.cards.values()) or self.changes)
    @rule()
    def follow(self) -> None:
        """End the changes that are over, one after the other, and let what waited for them go on."""
        while self.changes and not any(map(self.goes, self.changes[0].older)):
            del self.changes[0]
        found = self.do(self.journal.follow_orders())
        until = self.changes[0].number if self.changes else self.changed + 1
        released = [card for card in self.cards.values() if card.behind and card.after < until]
        for card in released:
            card.behind = False
        assert (bool(found.waiting), bool(found.released)) == (bool(self.changes), bool(released))

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        """Take what is due: heads, and only these."""
        due = self.due()
        for suspect in (False, True):
            wanted = {one for one in due if (self.cards[one].lost >= SUSPECT_AFTER) == suspect}
            claims = self.do(self.journal.claim("billing", limit, suspect=suspect))
            got = {claim.delivery.id for claim in claims}
            assert got <= wanted
            assert len(got) == min(limit, len(wanted))
            self.held |= {claim.delivery.id: claim.delivery for claim in claims}

    @precondition(lambda self: self.held)
    @rule(which=WHICH, state=st.sampled_from(list(DeliveryState)[:3]))
    def settle(self, which: int, state: DeliveryState) -> None:
        """End an attempt."""
        identity = sorted(self.held)[which % len(self.held)]
        settlement = make_settlement(self.held.pop(identity), state, due_at=self.clock.at + 5_000)
        settled = self.do(self.journal.settle(settlement))
        if state is DeliveryState.PENDING:
            self.cards[identity].later = True
        else:
            self.leave(identity, state.value)
        lane = self.lanes[self.cards[identity].key]
        moved = state is not DeliveryState.PENDING and bool(lane) and lane[0] != identity
        assert (settled.done, settled.promoted) == (True, moved)

    @rule()
    def wait(self) -> None:
        """Let what waits for its next attempt be due."""
        self.clock.at += 10_000
        for card in self.cards.values():
            card.later = False

    @precondition(lambda self: any(lane and self.holds(lane[0]) for lane in self.lanes.values()))
    @rule()
    def let_go(self) -> None:
        """Retry what holds a lane: it is the head again."""
        ids = [lane[0] for lane in self.lanes.values() if lane and self.holds(lane[0])]
        assert self.do(self.journal.retry(ids)) == len(ids)
        for one in ids:
            self.revive(one)

    @precondition(lambda self: self.cards)
    @rule(which=st.lists(WHICH, min_size=1, max_size=3))
    def retry(self, which: list[int]) -> None:
        """Retry some, whatever they are."""
        ids = sorted(
            {list(self.cards)[number % len(self.cards)] for number in which}, key=list(self.cards).index
        )
        heads = {lane[0] for lane in self.lanes.values() if lane}
        waiting = [one for one in ids if self.free(one) and one in heads]
        dead = [one for one in ids if self.cards[one].state == "dead"]
        assert self.do(self.journal.retry(ids)) == len(waiting) + len(dead)
        for one in waiting:
            self.cards[one].later = self.cards[one].parked = self.cards[one].behind = False
        for one in dead:
            self.revive(one)

    @precondition(lambda self: self.cards)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        """Cancel one, whatever it is."""
        identity = list(self.cards)[which % len(self.cards)]
        goes = self.free(identity) or self.holds(identity)
        is_dead = self.cards[identity].state == "dead"
        assert self.do(self.journal.cancel([identity])) == (goes or is_dead)
        if goes:
            self.leave(identity, "cancelled")
        elif is_dead:
            self.cards[identity].state = "cancelled"

    @precondition(lambda self: self.cards)
    @rule(which=WHICH)
    def replay(self, which: int) -> None:
        """Send one anew."""
        identity = list(self.cards)[which % len(self.cards)]
        stored = self.reader.delivery(identity)
        assert stored is not None
        plan = replace(replayed(stored, now=self.clock.at), lane=stored.lane, hold=stored.hold)
        assert self.do(self.journal.replay([plan])) == 1
        key = self.cards[identity].key
        self.cards[plan.id] = Card(key, stored.hold, behind=bool(self.changes), after=self.changed)
        self.lanes[key].append(plan.id)

    @precondition(lambda self: self.held)
    @rule(which=WHICH, interrupted=st.booleans(), parked=st.booleans())
    def release(self, which: int, *, interrupted: bool, parked: bool) -> None:
        """Give one back, to be due or to wait for its route."""
        identity = sorted(self.held)[which % len(self.held)]
        given = (self.held.pop(identity),)
        self.do(self.journal.release(given, interrupted=interrupted, due_at=None if parked else "now"))
        self.cards[identity].parked = parked

    @rule()
    def wake(self) -> None:
        """The route of what is parked is back."""
        parked = [card for card in self.cards.values() if card.parked]
        assert self.do(self.journal.wake()) == len(parked)
        for card in parked:
            card.parked = False

    @rule()
    def expire(self) -> None:
        """End what waits, but what stands behind the head and would hold."""
        heads = {lane[0] for lane in self.lanes.values() if lane}
        old = [one for one in self.cards if self.free(one) and (one in heads or not self.cards[one].hold)]
        expired = self.do(self.journal.expire("billing", before=self.clock.at + 1))
        assert {one.id for one in expired} == set(old)
        for one in sorted(old, key=lambda one: one not in heads):
            self.leave(one, "dead")

    @rule()
    def crash(self) -> None:
        """All that is in flight loses its owner."""
        lost = sa.update(delivery).where(delivery.c.owner.is_not(None)).values(owner="gone")
        self.do(self.journal._do(lambda tx: tx.connection.execute(lost)))
        rescued = self.do(self.journal.rescue())
        assert {one.delivery_id for one in rescued} == self.held.keys()
        self.held.clear()
        for one in rescued:
            self.cards[one.delivery_id].lost += 1
            if self.cards[one.delivery_id].lost >= POISON_AFTER:
                self.leave(one.delivery_id, "dead")

    @rule()
    def restart(self) -> None:
        """End in order and start again."""
        self.life.close()
        self.held.clear()
        self.begin()

    # What must hold.

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        """States, order, due times and the lanes' own rows."""
        found = {one.id: one for one in self.reader.deliveries(limit=10_000)}
        assert {one: found[one].state.value for one in found} == {
            one: card.state for one, card in self.cards.items()
        }
        for key, lane in self.lanes.items():
            pending = [
                one for one in found.values() if one.lane == key and one.state is DeliveryState.PENDING
            ]
            in_order = [one.id for one in sorted(pending, key=lambda one: one.place or 0)]
            assert in_order == [one for one in lane if not self.holds(one)]
        heads = {lane[0] for lane in self.lanes.values() if lane}
        timed = {one for one in found if self.free(one) and found[one].due_at is not None}
        assert timed == {one for one in heads if self.free(one) and self.timed(one)}
        self.check_rows()

    def check_rows(self) -> None:
        """A lane has a row while it is not empty, and the row names who holds it."""
        with by_hand(self.url) as connection:
            rows: list[Any] = connection.execute("SELECT key, held_by FROM lane").fetchall()
        assert {bytes(key).decode(): holder for key, holder in rows} == {
            key: lane[0] if self.holds(lane[0]) else None for key, lane in self.lanes.items() if lane
        }

    @invariant()
    def the_ledger_balances(self) -> None:
        """Also what is waited for is all there is."""
        ledger = self.reader.ledger(now=self.clock.at)
        pending = sum(card.state == "pending" for card in self.cards.values())
        assert ledger.balanced
        assert sum(ledger.waiting.values()) == pending == sum(self.journal.backlogs().values())
        behind = [len(lane) - 1 for lane in self.lanes.values() if lane and self.holds(lane[0])]
        assert ledger.waiting.get("lane_held", 0) == sum(behind)


def test_lanes_are_as_the_model_says(fresh: Fresh) -> None:
    """Whatever is done to them, in whatever order."""
    run_state_machine_as_test(
        lambda: Lanes(fresh),  # type: ignore[arg-type]  # whatever makes one will do
        settings=settings(
            max_examples=fresh.examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
