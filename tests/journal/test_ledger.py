"""Whatever is done to a journal, in whatever order, its ledger balances and nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.journal import Claim, Entry, Journal, Reader
from relay.model import DeliveryState, EventState, Outcome
from tests.journal.making import Fresh, StillClock, make_entry, make_laned, make_settlement, opened, replayed
from tests.journal.test_operate import DAY, Keep

STEPS = st.sampled_from(
    [
        "append",
        "owned",
        "seen",
        "other_body",
        "filtered",
        "claim",
        "suspect",
        "deliver",
        "retry_later",
        "kill",
        "release",
        "forget",
        "retry",
        "replay",
        "purge",
        "rejected",
        "tomorrow",
        "laned",
        "born_dead",
        "cancel",
        "expire",
        "pause",
        "resume",
        "open",
        "probe",
        "close",
        "hold",
    ]
)

ENDS = {
    "deliver": DeliveryState.DELIVERED,
    "retry_later": DeliveryState.PENDING,
    "kill": DeliveryState.DEAD,
}


@dataclass
class Play:
    """A journal and what a service would hold in memory of it."""

    journal: Journal
    reader: Reader
    clock: StillClock
    held: list[Claim] = field(default_factory=list)
    accepted: int = 0

    async def append(self, entry: Entry) -> None:
        """Take an event; what is born owned is held."""
        receipt = await self.journal.append(entry)
        self.accepted += receipt.kind != "duplicate"
        if receipt.kind == "stored":
            owned = [one for one in entry.deliveries if one.owner is not None]
            self.held += [Claim(delivery=one, event=entry.event) for one in owned]

    async def settle(self, state: DeliveryState) -> None:
        """End the attempt that is held longest."""
        if self.held:
            held = self.held.pop(0).delivery
            await self.journal.settle(make_settlement(held, state, due_at=self.clock.at + 60))

    async def step(self, name: str) -> None:
        """Do one thing."""
        if name in {"append", "owned", "seen", "other_body", "filtered", "laned", "born_dead"}:
            await self.append(self.entry(name))
        elif name in ENDS:
            await self.settle(ENDS[name])
        elif name in {"claim", "suspect"}:
            self.held += await self.journal.claim("one", 2, suspect=name == "suspect")
        elif name in {"release", "forget"}:
            await self.let_go(name)
        elif name in {"pause", "resume", "open", "probe", "close", "hold"}:
            await self.keep_back(name)
        else:
            await self.operate(name)

    def entry(self, name: str) -> Entry:
        """What comes in."""
        node = self.journal.node
        filtered = make_entry(key="same")
        lost = make_entry("one")
        born_dead = replace(
            lost.deliveries[0], state=DeliveryState.DEAD, outcome=Outcome.BACKLOG_FULL, hold=True
        )
        return {
            "append": make_entry("one", "two"),
            "owned": make_entry("one", "two", owner=node),
            "seen": make_entry("one", owner=node, key="same"),
            "other_body": make_entry("one", key="same", body_hash=b"other"),
            "filtered": replace(
                filtered, event=replace(filtered.event, state=EventState.FILTERED, reason="no_match")
            ),
            "laned": make_laned("same", "one", hold=True),
            "born_dead": replace(lost, deliveries=(born_dead,)),
        }[name]

    async def operate(self, name: str) -> None:
        """What an operator, the retention and the time do."""
        match name:
            case "retry":
                await self.journal.retry([one.id for one in self.reader.deliveries(limit=1_000)])
            case "replay":
                found = self.reader.deliveries(limit=2)
                await self.journal.replay([replayed(one, now=self.clock.at) for one in found])
            case "cancel":
                await self.journal.cancel([one.id for one in self.reader.deliveries(limit=3)])
            case "expire":
                await self.journal.expire("one", before=self.clock.at - DAY)
            case "purge":
                await self.journal.purge(Keep())
            case "rejected":
                self.journal.count_rejected("github")
            case _:
                self.clock.at += 4 * DAY

    async def keep_back(self, name: str) -> None:
        """Stop one destination by every means, and let it go on."""
        match name:
            case "pause":
                await self.journal.pause("one", reason="operator")
            case "resume":
                await self.journal.resume("one")
            case "open":
                await self.journal.open_breaker("one", probe_at=self.clock.at)
            case "probe":
                self.held += (await self.journal.probe("one", next_probe_at=self.clock.at)).claims
            case "close":
                await self.journal.close_breaker("one")
            case _:
                await self.journal.hold("one", until=self.clock.at + DAY)

    async def let_go(self, name: str) -> None:
        """Give all back, or forget all and be told so."""
        if name == "release":
            await self.journal.release([one.delivery for one in self.held], interrupted=True)
        else:
            self.clock.at += 10
            await self.journal.rescue()
        self.held.clear()


async def play(fresh: Fresh, steps: list[str]) -> None:
    """Do the steps on a fresh journal and look at the ledger after each."""
    with fresh.one() as url:
        clock = StillClock()
        with opened(url, clock=clock) as journal, Reader.open(url) as reader:
            game = Play(journal, reader, clock)
            for step in steps:
                await game.step(step)
                ledger = reader.ledger(now=clock.at)
                assert ledger.balanced, step
                assert ledger.imbalance == 0
                assert sum(line.accepted for line in ledger.events) == game.accepted
                pending = sum(line.pending for line in ledger.deliveries)
                assert sum(ledger.waiting.values()) == pending == sum(journal.backlogs().values()), step


def test_the_ledger_balances_whatever_is_done(fresh: Fresh) -> None:
    """Accepted, planned and replayed are accounted for after every step, and so is all that waits."""

    @settings(
        max_examples=fresh.examples * 3 // 2, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(steps=st.lists(STEPS, max_size=40))
    def balances(steps: list[str]) -> None:
        asyncio.run(play(fresh, steps))

    balances()
