"""Files of an SQLite journal that somebody deletes, moves or replaces while it is served."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.errors import JournalRefused, JournalUnavailable
from relay.journal import Journal, Reader
from relay.journal.sqlite.open_files import OpenFiles, saved_copies
from tests.journal.making import Told, make_entry, make_settlement, only, opened, path_of

pytestmark = only("sqlite", "PostgreSQL's files are its server's")

FILES = ["", "-wal", "-shm"]


async def until(what: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


async def acknowledged(journal: Journal, number: int = 20) -> set[str]:
    """Append so many events; their ids."""
    entries = [make_entry("billing") for _ in range(number)]
    await asyncio.gather(*(journal.append(entry) for entry in entries))
    return {entry.event.id for entry in entries}


def stored(url: str) -> set[str]:
    """The ids of the events that the journal has when it is opened again; its ledger balances."""
    with opened(url), Reader.open(url) as reader:
        assert reader.ledger().balanced
        return {event.id for event in reader.events(limit=1_000)}


def beside(url: str, suffix: str) -> Path:
    """A file of a journal."""
    path = path_of(url)
    return path.with_name(path.name + suffix)


@pytest.mark.parametrize("suffix", FILES)
async def test_no_event_is_acknowledged_once_a_file_was_moved_until_it_is_back(
    engine: str, hooks: Told, tmp_path: Path, suffix: str
) -> None:
    """The very next one is refused; it is told once, with where the file is; what was taken is there."""
    path, elsewhere = beside(engine, suffix), tmp_path / "elsewhere"
    with opened(engine, hooks=hooks) as journal:
        before = await acknowledged(journal)
        path.rename(elsewhere)
        told = re.escape(f"{path} was moved to {elsewhere}. Move it back")
        with pytest.raises(JournalUnavailable, match=told):
            await journal.append(make_entry("billing"))
        assert not journal.available
        with pytest.raises(JournalUnavailable, match=told):
            await journal.claim("billing", 1)
        elsewhere.rename(path)
        await until(lambda: journal.available)
        after = await acknowledged(journal)
        assert (len(hooks.troubles), hooks.recoveries) == (1, 1)
    assert before | after <= stored(engine)


@pytest.mark.parametrize("suffix", FILES)
async def test_a_file_that_is_deleted_is_told_without_any_traffic(
    journal: Journal, hooks: Told, engine: str, suffix: str
) -> None:
    """Within a second or two, so that a probe of readiness sees it."""
    await acknowledged(journal)
    beside(engine, suffix).unlink()
    await until(lambda: hooks.troubles)
    assert not journal.available
    assert f"{beside(engine, suffix)} was deleted. " in hooks.troubles[0]


async def test_a_batch_during_which_the_file_goes_is_not_acknowledged(journal: Journal, engine: str) -> None:
    """It is in a file that nobody finds again, and its sender keeps it."""
    with pytest.raises(JournalUnavailable, match="was deleted"):
        await journal._do(lambda _: path_of(engine).unlink())


async def test_an_end_that_was_reached_meanwhile_is_kept(
    journal: Journal, engine: str, tmp_path: Path
) -> None:
    """It is written when the file is back, and the delivery is not tried again."""
    entry = make_entry("billing", owner=journal.node)
    await journal.append(entry)
    path, elsewhere = path_of(engine), tmp_path / "elsewhere"
    path.rename(elsewhere)
    settling = asyncio.create_task(journal.settle(make_settlement(entry.deliveries[0])))
    await until(lambda: not journal.available)
    elsewhere.rename(path)
    assert (await settling).done


@pytest.mark.parametrize("gone", [[""], ["", "-wal"], ["", "-wal", "-shm", ".lock", ".lock.next", ".mark"]])
async def test_what_a_deleted_journal_held_is_saved(engine: str, hooks: Told, gone: list[str]) -> None:
    """As the reason says: the copy is moved to the path, and the next start has all that was taken."""
    with opened(engine, hooks=hooks) as journal:
        before = await acknowledged(journal)
        for suffix in gone:
            beside(engine, suffix).unlink()
        await until(lambda: hooks.troubles)
    move = re.search(r"stop the service, `mv (\S+) (\S+)`", hooks.troubles[0])
    assert move
    beside(engine, ".mark").unlink(missing_ok=True)
    with pytest.raises(JournalRefused, match=re.escape(f"saved as {move[1]}")), opened(engine):
        pass
    shutil.move(move[1], move[2])
    assert before <= stored(engine)


async def test_a_deleted_journal_that_there_is_no_room_to_save_can_be_copied_from_the_process(
    engine: str, hooks: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the reason bring back all that was taken, as long as the process lives."""
    monkeypatch.setattr("relay.journal.sqlite.open_files.RESERVE", 1 << 60)
    with opened(engine, hooks=hooks) as journal:
        before = await acknowledged(journal)
        for suffix in FILES:
            beside(engine, suffix).unlink()
        await until(lambda: hooks.troubles)
        commands = re.search(r"leave it running, `(.*)`, then restart", hooks.troubles[0])
        assert commands
        for command in commands[1].split(" && "):
            _, what, where = command.split()
            shutil.copyfile(what, where)
    assert before <= stored(engine)


async def test_what_was_in_a_deleted_log_is_copied_into_the_file(engine: str, hooks: Told) -> None:
    """A process that is killed then takes nothing along."""
    with opened(engine, hooks=hooks) as journal:
        before = await acknowledged(journal)
        beside(engine, "-wal").unlink()
        await until(lambda: hooks.troubles)
        assert "restart the service, nothing is lost" in hooks.troubles[0]
        alone = beside(engine, ".alone")
        shutil.copyfile(path_of(engine), alone)  # as it would be found after a kill
    connection = sqlite3.connect(alone)
    assert before <= {row[0] for row in connection.execute("SELECT id FROM event")}
    connection.close()
    assert before <= stored(engine)


_SERVES = """
import asyncio, sys
from relay.process.clock import Clock
from relay.journal import Entry, Journal
from relay.model import Event

async def main(url, name):
    journal = Journal.open(url, clock=Clock(), node=name * 32)
    for number in range(20):
        await journal.append(Entry(event=Event(id=f"evt_{name}_{number}", source="in", type=None,
            provider_id=None, received_at=1.0, method="POST", path="/in", query=b"", headers=(), body=b"",
            remote=None)))
    print("taken", flush=True)
    sys.stdin.readline()
    journal.close()

asyncio.run(main(*sys.argv[1:]))
"""


@contextlib.contextmanager
def serving(url: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has taken twenty events, and ends when its standard input does."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVES, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"taken\n"
            yield process
        finally:
            process.kill()


def test_a_process_that_lost_the_index_takes_nothing_of_others_along_when_it_ends(engine: str) -> None:
    """It neither copies the log by its old index nor deletes the log that others have written since."""
    with serving(engine, "a") as first:
        beside(engine, "-shm").unlink()
        with serving(engine, "b") as second:
            second.kill()
        first.communicate(timeout=30)
        assert first.returncode == 0
    assert stored(engine) == {f"evt_{name}_{number}" for name in "ab" for number in range(20)}


async def test_another_file_in_its_place_is_not_used(
    engine: str, hooks: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, also where it comes later, and left as it is; the right one put back is used again."""
    path, elsewhere = path_of(engine), tmp_path / "elsewhere"
    with opened(engine, hooks=hooks) as journal:
        before = await acknowledged(journal)
        path.rename(elsewhere)
        await until(lambda: hooks.troubles)
        shutil.copyfile(elsewhere, path)
        other = path.read_bytes()
        await until(lambda: "and another file is there, which is not used" in caplog.text)
        with pytest.raises(JournalUnavailable, match="was moved to"):
            await journal.append(make_entry("billing"))
        assert path.read_bytes() == other
        elsewhere.replace(path)
        await until(lambda: journal.available)
        after = await acknowledged(journal)
        assert (len(hooks.troubles), hooks.recoveries) == (1, 1)
    assert before | after <= stored(engine)


async def test_a_reader_does_not_show_a_file_that_is_gone(
    journal: Journal, reader: Reader, engine: str, tmp_path: Path
) -> None:
    """Nor does it fail for good: the file moved back is read again."""
    await acknowledged(journal, 1)
    path, elsewhere = path_of(engine), tmp_path / "elsewhere"
    path.rename(elsewhere)
    with pytest.raises(JournalUnavailable, match="deleted, moved or replaced"):
        reader.events()
    elsewhere.rename(path)
    assert len(reader.events()) == 1


async def test_a_mark_that_was_deleted_is_written_again(journal: Journal, engine: str) -> None:
    """It is a witness of what there was, and needs no outage."""
    await acknowledged(journal, 1)
    mark = beside(engine, ".mark")
    mark.unlink()
    await until(mark.exists)
    assert journal.available


def test_the_saved_copy_has_what_the_last_of_two_processes_wrote(engine: str, tmp_path: Path) -> None:
    """Whichever of them notices first: what a copy lacks of a batch that was under way is in the next."""
    path = tmp_path / "two.db"
    with contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
            for _ in range(2)
        )
        one.execute("PRAGMA journal_mode=WAL")
        one.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT)")
        one.execute("CREATE TABLE meta (key TEXT, value TEXT)")
        two.execute("SELECT * FROM event")
        both = [OpenFiles(path) for _ in range(2)]
        for files in both:
            files.note_database()
            files.note_others()
        path.unlink()
        for files, connection in zip(both, (one, two), strict=True):
            connection.execute("INSERT INTO event DEFAULT VALUES")
            files.save(connection)
            assert "is saved" in str(files.reason())
        (saved,) = saved_copies(path)
        with contextlib.closing(sqlite3.connect(saved)) as copy:
            assert copy.execute("SELECT count(*) FROM event").fetchone() == (2,)
