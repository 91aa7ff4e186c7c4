"""From the start of a service on, its new deliveries wait for what was planned by another order."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from relay import config
from relay.config import Configuration
from relay.errors import JournalUnavailable
from relay.journal import Journal, OrderChange
from relay.service.order_keeper import OrderKeeper, Waiting
from relay.service.reload import Reloader
from relay.telemetry import Telemetry
from tests.journal.making import NOW, StillClock, by_hand, make_laned, make_settlement, only

KEYED = ", order: {key: body.k}"
ALL = {"out": frozenset({"in/r"})}


def loaded(folder: Path, more: str = "") -> Configuration:
    """A file with one destination, `more` in it."""
    path = folder / "relay.yaml"
    path.write_text(
        "sources: {in: {verify: none}}\n"
        f'destinations: {{out: {{url: "http://127.0.0.1/"{more}}}}}\n'
        "routes: [{name: r, source: in, to: out}]\n"
    )
    return config.load(path, {})


@pytest.fixture
def waits() -> list[Waiting]:
    """What the keeper said waits, each time."""
    return []


@pytest.fixture
def keeper(journal: Journal, waits: list[Waiting]) -> Callable[[], OrderKeeper]:
    """Makes the keeper of a process."""
    telemetry = Telemetry.configure(stream=io.StringIO())
    make = partial(OrderKeeper, journal=journal, telemetry=telemetry, wake=lambda _: None)
    return partial(make, wait=lambda waiting: waits.append({n: r for n, r in waiting.items() if r}))


def apply(_: Configuration) -> None:
    """Nothing goes by it."""


def reloader(journal: Journal, keeper: OrderKeeper, configuration: Configuration) -> Reloader:
    """What takes the file anew."""
    return Reloader(
        path=configuration.path,
        configuration=configuration,
        journal=journal,
        telemetry=Telemetry.configure(stream=io.StringIO()),
        orders=keeper,
        apply=apply,
    )


sqlite = only("sqlite", "it is about memory, and the journal is as in the other tests")


@sqlite
async def test_what_the_journal_could_not_say_at_the_start_it_says_later(
    journal: Journal, engine: str, keeper: Callable[[], OrderKeeper], waits: list[Waiting], tmp_path: Path
) -> None:
    """Until then whatever is planned waits: it may overtake what was planned by another order."""
    await journal.change_orders({"out": {"in/r": ""}}, [])
    await journal.append(make_laned(destination="out"))
    service = reloader(journal, keeper(), loaded(tmp_path, KEYED))
    with by_hand(engine) as other:
        other.execute("ALTER TABLE meta RENAME TO away")
        await service.begin()
        assert waits == [ALL]
        with pytest.raises(JournalUnavailable):
            await service.follow()
        other.execute("ALTER TABLE away RENAME TO meta")
    await service.follow()
    assert waits[-1] == ALL, "one delivery that was planned without an order is pending"
    (claim,) = await journal.claim("out", 1)
    await journal.settle(make_settlement(claim.delivery))
    await service.follow()
    assert waits[-1] == {}


@sqlite
async def test_a_process_that_starts_while_a_change_lasts_goes_by_it_at_once(
    journal: Journal, keeper: Callable[[], OrderKeeper], waits: list[Waiting], tmp_path: Path
) -> None:
    """It does not learn of it with the look of a second later alone."""
    await journal.append(make_laned(destination="out"))
    orders = loaded(tmp_path, KEYED).orders
    await journal.change_orders(orders, [OrderChange(NOW, ALL)])
    await reloader(journal, keeper(), loaded(tmp_path, KEYED)).begin()
    assert waits[-1] == ALL


@sqlite
async def test_what_is_parked_and_goes_by_the_new_file_is_waited_for(
    journal: Journal, keeper: Callable[[], OrderKeeper], waits: list[Waiting], tmp_path: Path
) -> None:
    """A reload that brings a route back and changes the order lets its old deliveries go first."""
    one = keeper()
    one.begin(loaded(tmp_path))
    await one.write()
    assert waits[-1] == {}
    await journal.append(make_laned(destination="out"))
    (claim,) = await journal.claim("out", 1)
    await journal.release((claim.delivery,), interrupted=False, due_at=None)
    one.take(loaded(tmp_path, KEYED))
    await one.write()
    assert waits[-1] == ALL


@sqlite
async def test_nothing_goes_on_before_the_change_that_it_waits_for_is_written(
    journal: Journal, clock: StillClock, keeper: Callable[[], OrderKeeper], tmp_path: Path
) -> None:
    """The look of a second may come between a reload and its change in the journal."""
    one = keeper()
    one.begin(loaded(tmp_path))
    await one.write()
    await journal.append(make_laned(destination="out"))
    one.take(loaded(tmp_path, KEYED))
    new = make_laned("other", "out").deliveries[0]
    entry = make_laned("other", "out")
    await journal.append(replace(entry, deliveries=(replace(new, event_id=entry.event.id, behind=True),)))
    await one.follow()
    assert len(await journal.claim("out", 9)) == 1
    await asyncio.gather(one.write(), one.write())
    await one.follow()
    assert await journal.claim("out", 9) == []
