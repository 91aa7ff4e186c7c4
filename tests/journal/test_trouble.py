"""When the engine cannot write: no false receipt, a quick no, and recovery unaided."""

from __future__ import annotations

import asyncio
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.errors import JournalUnavailable
from relay.journal import Entry, Journal, Reader
from tests.journal.making import (
    Told,
    locked,
    make_entry,
    make_event,
    make_settlement,
    only,
    opened,
    path_of,
)


async def recovery(journal: Journal) -> None:
    """Wait until the journal takes writes again."""
    async with asyncio.timeout(10):
        while not journal.available:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


async def test_a_foreign_write_lock_is_an_outage_that_ends_by_itself(
    journal: Journal, reader: Reader, hooks: Told, engine: str
) -> None:
    """Appends are refused, first after the wait, then at once; an end that was reached is kept."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    with locked(engine):
        with pytest.raises(JournalUnavailable, match="lock"):
            await journal.append(make_entry("billing"))
        assert not journal.available
        with pytest.raises(JournalUnavailable):
            await journal.append(make_entry("billing"))
        settling = asyncio.create_task(journal.settle(make_settlement(entry.deliveries[0])))
        with pytest.raises(JournalUnavailable):
            await journal.claim("billing", 1)
    assert await settling
    await recovery(journal)
    await journal.append(make_entry("billing"))
    assert (len(hooks.troubles), hooks.recoveries) == (1, 1)
    assert len(reader.events()) == 2
    assert reader.ledger().balanced


async def test_a_write_that_hangs_is_an_outage_that_ends_by_itself(engine: str) -> None:
    """A disk that stalls gives no error: it is told while it lasts, and senders hear so at once."""
    hooks, goes_on = Told(), threading.Event()
    with opened(engine, hooks=hooks, append_timeout=0.5) as journal:
        stalled = asyncio.create_task(journal._do(lambda _: goes_on.wait()))
        try:
            async with asyncio.timeout(10):
                while journal.available:  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.02)
            with pytest.raises(JournalUnavailable, match="hangs"):
                await journal.append(make_entry("billing"))
            assert len(hooks.troubles) == 1
            assert hooks.recoveries == 0
        finally:
            goes_on.set()
        await stalled
        await recovery(journal)
        await journal.append(make_entry("billing"))
    assert (len(hooks.troubles), hooks.recoveries) == (1, 1)


@contextmanager
def no_file_grows() -> Iterator[None]:
    """As if the disk were full for whatever this process writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@only("sqlite", "PostgreSQL's files are its server's")
async def test_a_file_that_cannot_grow_is_an_outage_that_ends_by_itself(
    journal: Journal, reader: Reader, hooks: Told
) -> None:
    """What was acknowledged is there afterwards, and nothing else is."""
    entry = make_entry("billing", owner=journal.node, key="before")
    await journal.append(entry)
    refused = Entry(event=make_event(body=b"x" * 100_000))
    with no_file_grows():
        with pytest.raises(JournalUnavailable):
            await journal.append(refused)
        settling = asyncio.create_task(journal.settle(make_settlement(entry.deliveries[0])))
        await asyncio.sleep(1.2)
        assert not journal.available
        assert not settling.done()
    assert await settling
    await recovery(journal)
    after = make_entry("billing")
    await journal.append(after)
    assert len(hooks.troubles) == hooks.recoveries == 1
    assert reader.event(refused.event.id) is None
    assert {event.id for event in reader.events()} == {entry.event.id, after.event.id}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_disk_that_is_nearly_full_takes_no_events_but_ends(small_disk: Path) -> None:
    """The reserve is for outcomes; when there is room again, events are taken again."""
    hooks = Told()
    with opened(f"sqlite:///{small_disk / 'relay.db'}", hooks=hooks) as journal:
        entry = make_entry("billing", owner=journal.node)
        await journal.append(entry)
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * (20 << 20))
        await asyncio.sleep(1.1)
        with pytest.raises(JournalUnavailable, match="disk low"):
            await journal.append(make_entry("billing"))
        assert await journal.settle(make_settlement(entry.deliveries[0]))
        filler.unlink()
        await recovery(journal)
        await journal.append(make_entry("billing"))
    assert (len(hooks.troubles), hooks.recoveries) == (1, 1)


async def test_several_journals_on_one_file_take_turns(journal: Journal, engine: str) -> None:
    """A command beside the service, and another service, lose nothing and fail at nothing."""
    with opened(engine) as second, opened(engine, serving=False, create=False) as third:
        writers = (journal, second, third)
        await asyncio.gather(*(writers[turn % 3].append(make_entry("billing")) for turn in range(300)))
        with Reader.open(engine) as reader:
            assert len(reader.deliveries(limit=1_000)) == 300
            assert reader.ledger().balanced


@only("sqlite", "PostgreSQL's server looks after its own log")
async def test_the_log_is_copied_into_the_file(journal: Journal, engine: str) -> None:
    """It does not grow with what was written, but to a bound."""
    for _ in range(10):
        entries = [Entry(event=make_event(body=b"x" * 100_000)) for _ in range(30)]
        await asyncio.gather(*(journal.append(entry) for entry in entries))
    assert path_of(engine).with_name("relay.db-wal").stat().st_size < 16 << 20


@only("sqlite", "PostgreSQL's server looks after its own log")
async def test_the_log_is_copied_however_much_one_batch_writes(journal: Journal, engine: str) -> None:
    """An operator's batches write far more than their number says; the copy is made between them."""
    await asyncio.gather(*(journal.append(Entry(event=make_event())) for _ in range(30)))
    change = sa.text("UPDATE event SET body = randomblob(100000)")
    for _ in range(15):
        await journal._do(lambda tx: tx.connection.execute(change).rowcount)
    assert path_of(engine).with_name("relay.db-wal").stat().st_size < 28 << 20


async def test_closing_writes_what_waits(engine: str) -> None:
    """And nothing is taken after it."""
    with opened(engine) as journal:
        waiting = [asyncio.create_task(journal.append(make_entry("billing"))) for _ in range(50)]
        await asyncio.sleep(0)
    assert {(await task).kind for task in waiting} == {"stored"}
    with pytest.raises(JournalUnavailable, match="closed"):
        await journal.append(make_entry("billing"))
    if engine.startswith("sqlite"):
        assert not path_of(engine).with_name("relay.db-wal").exists()
