"""Whose fault an error is: the row's, the journal's, or a bug of Relay's own; and what follows from each."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from relay.errors import InternalFault, JournalUnavailable, RowRefused
from relay.journal import Entry, Journal, Reader, Receipt, Settled
from relay.journal.tables import rows as codec
from relay.journal.writer import kept
from relay.journal.writes import append as appending
from relay.journal.writes import settle as settling
from relay.model import DeliveryState
from tests.journal.making import (
    Told,
    by_hand,
    make_delivery,
    make_entry,
    make_event,
    make_settlement,
    only,
    opened,
)
from tests.journal.test_changes import until
from tests.journal.test_trouble import recovery

_TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER no BEFORE INSERT ON {} WHEN {} BEGIN SELECT raise(ABORT, '{}'); END",
        "DROP TRIGGER no",
    ),
    "postgresql": (
        """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF {1} THEN RAISE EXCEPTION '{2}'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER no BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION no()
        """,
        "DROP FUNCTION no CASCADE",
    ),
}


@contextlib.contextmanager
def renamed(url: str, table: str) -> Iterator[None]:
    """Let a table have another name."""
    with by_hand(url) as hand:
        hand.execute(f"ALTER TABLE {table} RENAME TO away")
        yield
        hand.execute(f"ALTER TABLE away RENAME TO {table}")


@contextlib.contextmanager
def triggered(url: str, condition: str, *, table: str = "event") -> Iterator[Callable[[str], None]]:
    """Let the database raise where a row is stored for which the condition holds.

    What it says then, the test may change; there is no moment at which it does not raise.
    """
    begin, end = _TRIGGERS[url.partition(":")[0]]
    with by_hand(url) as hand:

        def say(message: str) -> None:
            for statement in ("BEGIN", end, begin.format(table, condition, message), "COMMIT"):
                hand.execute(statement)

        hand.execute(begin.format(table, condition, "no more"))
        yield say
        hand.execute(end)


def bad() -> Entry:
    """An event of the source that somebody's trigger, or a bug, has an eye on."""
    event = make_event("bad")
    return Entry(event=event, deliveries=(make_delivery(event),))


def broken(*_: object, **__: object) -> NoReturn:
    """A bug."""
    raise KeyError("a bug of ours")


@pytest.mark.parametrize("fault", ["renamed", "trigger"])
async def test_a_database_that_refuses_the_work_is_an_outage_that_ends_by_itself(
    journal: Journal, reader: Reader, hooks: Told, engine: str, fault: str
) -> None:
    """Senders hear that the journal is unavailable, and never that their event is wrong."""
    await journal.append(make_entry("billing"))
    with renamed(engine, "event") if fault == "renamed" else triggered(engine, "NEW.source <> ' '"):
        for _ in range(2):
            with pytest.raises(JournalUnavailable):
                await journal.append(make_entry("billing"))
        assert not journal.available
    await recovery(journal)
    await journal.append(make_entry("billing"))
    assert (len(hooks.troubles), hooks.recoveries) == (1, 1)
    assert len(reader.events()) == 2
    assert reader.ledger().balanced


@only("postgresql", "SQLite has no privileges")
async def test_a_privilege_that_is_revoked_is_an_outage_that_ends_by_itself(engine: str) -> None:
    """The same, for a role that may do all else."""
    with by_hand(engine) as hand:
        hand.execute("DROP ROLE IF EXISTS clerk")
        hand.execute("CREATE ROLE clerk LOGIN")
        for kind in ("TABLES", "SEQUENCES"):
            hand.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO clerk")
        with opened(engine.replace("//postgres:", "//clerk:")) as journal:
            await journal.append(make_entry("billing"))
            hand.execute("REVOKE INSERT ON event FROM clerk")
            with pytest.raises(JournalUnavailable, match="permission denied"):
                await journal.append(make_entry("billing"))
            assert not journal.available
            hand.execute("GRANT INSERT ON event TO clerk")
            await recovery(journal)
            await journal.append(make_entry("billing"))
        hand.execute("DROP OWNED BY clerk")
        hand.execute("DROP ROLE clerk")


async def test_a_trigger_that_minds_one_row_refuses_that_one_alone(
    journal: Journal, reader: Reader, hooks: Told, engine: str
) -> None:
    """The other 31 are stored, the journal stays ready, and the one may be sent again when it is mended."""
    entries = [make_entry("billing") for _ in range(32)]
    entries[7] = bad()
    with triggered(engine, "NEW.source = 'bad'"):
        ends = await asyncio.gather(*map(journal.append, entries), return_exceptions=True)
        with pytest.raises(JournalUnavailable, match="no more"):
            await journal.append(bad())
        assert journal.available
    assert [index for index, end in enumerate(ends) if not isinstance(end, Receipt)] == [7]
    assert isinstance(ends[7], JournalUnavailable)
    await journal.append(entries[7])
    assert len(reader.events(limit=100)) == 32
    assert hooks.troubles == []


@only("postgresql", "SQLite names the constraint alone")
async def test_what_a_database_reports_of_a_row_shows_nothing_of_it(journal: Journal, engine: str) -> None:
    """Neither its sender nor a log line gets what PostgreSQL shows of the row that it refused."""
    with by_hand(engine) as hand:
        hand.execute("ALTER TABLE event ADD CONSTRAINT honest CHECK (type <> 'canary')")
    event = make_event("billing", type="canary")
    with pytest.raises(RowRefused, match="honest") as refused:
        await journal.append(Entry(event=event, deliveries=(make_delivery(event),)))
    assert "Failing row" not in str(refused.value)


async def test_the_end_of_an_attempt_waits_for_a_journal_that_refuses_it(
    journal: Journal, reader: Reader, hooks: Told, engine: str
) -> None:
    """Nothing is left out that can be written when the table is back; the service is not ready meanwhile."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    with renamed(engine, "attempt"):
        ending = asyncio.create_task(journal.settle(make_settlement(entry.deliveries[0])))
        async with asyncio.timeout(10):
            while journal.available:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
    assert (await ending).done
    assert len(reader.attempts_of(entry.deliveries[0].id)) == 1
    assert (len(hooks.troubles), hooks.bugs) == (1, [])


async def test_outcomes_that_the_journal_refuses_are_reported_once_for_each_reason(
    journal: Journal, reader: Reader, hooks: Told, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are tried again in silence, however many they are; that all are written is reported, too."""
    monkeypatch.setattr(kept, "TRY_EVERY", 0.0)  # with each batch
    entry = make_entry("one", "two", owner=journal.node)
    await journal.append(entry)
    ends: list[asyncio.Task[Settled]] = []
    with triggered(engine, "NEW.status = 207", table="attempt") as say:
        for delivery in entry.deliveries:
            ends.append(asyncio.create_task(journal.settle(make_settlement(delivery, status=207))))
            for _ in range(5):
                await journal._do(lambda _: None)
        assert [reason.partition(" ")[0] for reason, _ in hooks.kept] == ["no"]
        say("never again")
        for _ in range(5):
            await journal._do(lambda _: None)
        assert hooks.caught_up_times == 0
    assert [end.done for end in await asyncio.gather(*ends)] == [True, True]
    await until(lambda: hooks.caught_up_times == 1)
    assert [reason.partition(" ")[0] for reason, _ in hooks.kept] == ["no", "never"]
    assert (hooks.bugs, hooks.troubles) == ([], [])
    assert all(len(reader.attempts_of(one.id)) == 1 for one in entry.deliveries)


async def test_a_bug_in_storing_one_event_concerns_that_one_alone(
    journal: Journal, reader: Reader, hooks: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender keeps it and the bug is reported; the others are stored, and the journal is ready."""
    before = codec.event_row

    def minds(event: Any, planned: int) -> Any:
        return broken() if event.source == "bad" else before(event, planned)

    monkeypatch.setattr(appending, "event_row", minds)
    entries = [make_entry("billing"), bad(), make_entry("billing")]
    ends = await asyncio.gather(*map(journal.append, entries), return_exceptions=True)
    assert [type(end) for end in ends] == [Receipt, InternalFault, Receipt]
    assert journal.available
    assert {str(bug) for bug in hooks.bugs} == {"'a bug of ours'"}
    assert hooks.troubles == []
    assert len(reader.events()) == 2


async def test_a_bug_in_storing_every_event_is_an_outage_that_ends_by_itself(
    journal: Journal, hooks: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is not ready, so that a load balancer sends its events elsewhere."""
    with monkeypatch.context() as patch:
        patch.setattr(appending, "event_row", broken)
        with pytest.raises(JournalUnavailable):
            await journal.append(make_entry("billing"))
        assert not journal.available
    await recovery(journal)
    await journal.append(make_entry("billing"))
    assert hooks.bugs


async def test_a_bug_in_settling_has_nothing_sent_again(
    journal: Journal, reader: Reader, hooks: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was delivered is delivered, though its attempt cannot be shown; a failure counts."""
    monkeypatch.setattr(settling, "_record", broken)
    entry = make_entry("one", "two", owner=journal.node)
    await journal.append(entry)
    done = await asyncio.gather(
        journal.settle(make_settlement(entry.deliveries[0])),
        journal.settle(
            make_settlement(entry.deliveries[1], DeliveryState.PENDING, due_at=journal._clock.now() + 9)
        ),
    )
    assert list(done) == [Settled(done=True, promoted=False)] * 2
    first, second = reader.deliveries_of(entry.event.id)
    assert (first.state, first.owner, first.finished) == (DeliveryState.DELIVERED, None, 1)
    assert (second.state, second.owner, second.finished) == (DeliveryState.PENDING, None, 1)
    assert hooks.bugs
    assert journal.available
    assert reader.ledger().balanced


async def test_what_met_a_bug_twice_is_dead(journal: Journal, reader: Reader) -> None:
    """The first time it is suspect and due again; the second time it is poison; another's is left alone."""
    await journal.append(make_entry("billing"))
    (claim,) = await journal.claim("billing", 1)
    (lost,) = await journal.lose(claim.delivery)
    assert not lost.dead
    assert await journal.claim("billing", 1) == []
    (again,) = await journal.claim("billing", 1, suspect=True)
    assert await journal.lose(claim.delivery) == []
    (lost,) = await journal.lose(again.delivery)
    assert lost.dead
    (found,) = reader.deliveries()
    assert (found.state, found.reason, found.attempts) == (DeliveryState.DEAD, "poison", 2)
    assert reader.ledger().balanced


async def test_a_bug_in_other_work_is_reported_and_stops_nobody(journal: Journal, hooks: Told) -> None:
    """A claim that fails so is asked for again; what waits in the same batch is done."""
    ends = await asyncio.gather(
        journal._do(broken), journal.append(make_entry("billing")), return_exceptions=True
    )
    assert [type(end) for end in ends] == [InternalFault, Receipt]
    assert hooks.bugs
    assert journal.available


@only("sqlite", "PostgreSQL has no mark")
@pytest.mark.parametrize("method", ["mark", "wrote", "no_room"])
async def test_no_error_of_a_turn_ends_the_thread_that_writes(
    journal: Journal, hooks: Told, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Not on an idle tick either: it is reported, and events are taken as soon as it has passed."""
    with monkeypatch.context() as patch:
        patch.setattr(journal._engine, method, broken)
        async with asyncio.timeout(10):
            while not hooks.bugs:
                with contextlib.suppress(JournalUnavailable):
                    await journal._do(lambda _: None)
                await asyncio.sleep(0.01)
    await recovery(journal)
    await journal.append(make_entry("billing"))


@pytest.mark.parametrize("method", ["is_due", "renewal_committed"])
async def test_what_is_kept_outlives_whatever_a_turn_meets(
    journal: Journal, hooks: Told, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The end of an attempt is written once that has passed; whoever waits for it is not left behind."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    with monkeypatch.context() as patch:
        patch.setattr(journal._lease, method, broken)
        ending = asyncio.create_task(journal.settle(make_settlement(entry.deliveries[0])))
        async with asyncio.timeout(20):
            while len(hooks.bugs) < 3:
                with contextlib.suppress(JournalUnavailable):
                    await journal._do(lambda _: None)
                await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        assert (await ending).done


async def test_a_thread_that_is_dead_is_told_and_takes_nothing(engine: str) -> None:
    """Nobody waits for it: what is asked of it, or waits, is refused at once."""
    hooks, died = Told(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(_: object) -> None:
        sys.exit("the end")

    def tell() -> None:
        loop.call_soon_threadsafe(died.set)

    with opened(engine, hooks=hooks, died=tell) as journal:
        ends = await asyncio.gather(
            journal._do(end), journal.append(make_entry("billing")), return_exceptions=True
        )
        assert [isinstance(one, JournalUnavailable) for one in ends] == [True, True]
        await died.wait()
        assert not journal.available
        for ask in (journal.append(make_entry("billing")), journal.claim("billing", 1)):
            with pytest.raises(JournalUnavailable):
                await ask
    assert [type(bug) for bug in hooks.bugs] == [SystemExit]
    assert len(hooks.troubles) == 1
