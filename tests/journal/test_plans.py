"""What the journal does is found by index, and costs the same however long a lane or a backlog is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from relay.journal import Filter, Journal, Reader
from relay.journal.postgres.engine import PostgresEngine
from relay.journal.reads.destination_state import own_time
from relay.journal.reads.filters import delivery_conditions
from relay.journal.sqlite.engine import SqliteEngine
from relay.journal.tables.schema import delivery
from relay.model import DeliveryState
from tests.journal.making import NOW, by_hand, make_entry, make_laned, make_settlement, only


@dataclass
class Watched:
    """What an engine executed: statements with their values, and the steps that SQLite took for them."""

    statements: list[tuple[str, Any]] = field(default_factory=list)
    steps: int = 0

    def note(self, *facts: Any) -> None:
        """Remember one: SQLAlchemy tells connection, cursor, statement, values, context, whether many."""
        _, _, statement, values, _, many = facts
        self.statements.append((statement, values[0] if many else values))

    def step(self) -> int:
        """Count one, and go on."""
        self.steps += 1
        return 0

    def on_deliveries(self) -> list[str]:
        """The statements that read or change deliveries, in their order."""
        return [statement for statement, _ in self.statements if "delivery" in statement]

    def plans(self, url: str) -> list[str]:
        """How SQLite finds the rows of each statement on deliveries or lanes."""
        plans = []
        with by_hand(url) as connection:
            for statement, values in self.statements:
                if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
                    plans += [row[3] for row in rows]
        return plans


@contextlib.contextmanager
def watched(journal: Journal) -> Iterator[Watched]:
    """Watch what the writer does meanwhile."""
    seen, engine = Watched(), journal._engine
    assert isinstance(engine, SqliteEngine | PostgresEngine)
    engine.write(lambda _: None)
    assert engine._connection is not None
    connection: Any = engine._connection.connection.driver_connection
    if hasattr(connection, "set_progress_handler"):
        connection.set_progress_handler(seen.step, 1)
    sa.event.listen(engine._engine, "before_cursor_execute", seen.note)
    try:
        yield seen
    finally:
        sa.event.remove(engine._engine, "before_cursor_execute", seen.note)
        if hasattr(connection, "set_progress_handler"):
            connection.set_progress_handler(None, 0)


async def fill(journal: Journal, size: int, destination: str = "billing", *, hold: bool = False) -> None:
    """Two lanes of so many deliveries each, and as many that are unordered and due later."""
    for _ in range(size):
        await journal.append(make_laned("a", destination, hold=hold))
        await journal.append(make_laned("b", destination, hold=hold))
    entry = make_entry(*[destination] * size, owner=journal.node)
    await journal.append(entry)
    for one in entry.deliveries:
        await journal.settle(make_settlement(one, DeliveryState.PENDING, due_at=NOW + 60))


async def work(journal: Journal, destination: str = "billing") -> None:
    """A round of everything that is done to a lane while it moves."""
    await journal.append(make_laned("a", destination))
    first, second = await journal.claim(destination, 2)
    await journal.settle(make_settlement(first.delivery))
    await journal.settle(make_settlement(second.delivery, DeliveryState.DEAD))
    await journal.retry([second.delivery.id])
    third, fourth = await journal.claim(destination, 2)
    await journal.release((third.delivery,), interrupted=True)
    await journal.cancel([third.delivery.id])
    await journal.release((fourth.delivery,), interrupted=False, due_at=None)
    await journal.wake()
    await journal.expire(destination, before=NOW + 1, limit=1)
    await journal.expire(destination, before=NOW - 1)


@only("sqlite", "the plan of a small table tells nothing on PostgreSQL")
async def test_no_statement_reads_all_deliveries_or_lanes(journal: Journal, engine: str) -> None:
    """Claim, settle, promote, retry, cancel, expire, pause and breaker search by index.

    To wake is to read an index that has nothing but what is to be woken.
    """
    await fill(journal, 3)
    with watched(journal) as seen:
        await work(journal)
        await journal.pause("billing", reason="operator")
        await journal.resume("billing")
        await journal.open_breaker("billing", probe_at=NOW)
        await journal.probe("billing", next_probe_at=NOW + 30)
        await journal.close_breaker("billing")
    plans = seen.plans(engine)
    scans = [plan for plan in plans if plan.startswith("SCAN")]
    assert scans == ["SCAN delivery USING INDEX ix_delivery_parked"]
    # Rows with one due time are sorted by their number; no whole backlog is.
    assert {plan for plan in plans if "B-TREE" in plan} <= {"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"}
    found = " ".join(plans)
    for index in ("waiting (destination=? AND due_at<?)", "waiting (destination=? AND due_at>?)"):
        assert f"ix_delivery_{index}" in found
    for index in ("age (destination=? AND age_from<?)", "lane (destination=? AND lane=? AND place=?)"):
        assert f"ix_delivery_{index}" in found


@only("sqlite", "only SQLite counts its steps")
@pytest.mark.parametrize("hold", [False, True])
async def test_a_long_lane_costs_no_more_than_a_short_one(journal: Journal, *, hold: bool) -> None:
    """The same statements on deliveries, and the same number of SQLite's steps but for a few.

    What is written once a second, a lease and last errors, comes when it comes.
    """
    await fill(journal, 10, "short", hold=hold)
    with watched(journal) as short:
        await work(journal, "short")
    await fill(journal, 400, "long", hold=hold)
    with watched(journal) as long:
        await work(journal, "long")
    assert long.on_deliveries() == short.on_deliveries() != []
    assert long.steps < 1.2 * short.steps


async def test_what_stands_in_no_lane_takes_no_statement_more(journal: Journal, engine: str) -> None:
    """An event with its delivery is two inserts and two sums; its end two statements and a sum.

    On PostgreSQL an insert is a stream of rows, which is no statement of SQLAlchemy's.
    """
    entry = make_entry("billing", owner=journal.node)
    with watched(journal) as seen:
        await journal.append(entry)
        await journal.settle(make_settlement(entry.deliveries[0]))
    heads = [" ".join(statement.split()[:3]) for statement, _ in seen.statements]
    wanted = [
        "INSERT INTO event",
        "INSERT INTO delivery",
        "INSERT INTO ledger",
        "UPDATE delivery SET",
        "INSERT INTO attempt",
        "INSERT INTO ledger",
    ]
    if engine.startswith("postgresql"):
        wanted = [head for head in wanted if head in {"INSERT INTO ledger", "UPDATE delivery SET"}]
    assert [head for head in heads if not head.startswith("BEGIN")] == wanted


async def test_blocked_ones_are_found_and_compile_for_postgresql(journal: Journal, reader: Reader) -> None:
    """By what they wait for: lane, pause, hold, destination; not by a due time alone."""
    laned, paused, held, gone, free = (
        [make_laned(), make_laned()],
        make_entry("paused"),
        make_entry("held"),
        make_entry("gone"),
        make_entry("billing"),
    )
    for entry in (*laned, paused, held, gone, free):
        await journal.append(entry)
    await journal.pause("paused", reason="operator")
    await journal.hold("held", until=NOW + 1)
    names = frozenset({"billing", "paused", "held"})
    wanted = Filter(blocked=True, destinations=names, now=NOW)
    found = [one.event_id for one in reader.deliveries(wanted)]
    assert found == [entry.event.id for entry in (gone, held, paused, laned[1])]
    assert len(reader.deliveries(Filter(blocked=True, now=NOW + 1))) == 2
    statement = sa.select(delivery.c.id, own_time(NOW)).where(*delivery_conditions(wanted))
    assert str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
