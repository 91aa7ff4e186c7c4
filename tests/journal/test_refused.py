"""A journal that is gone, empty, cut, foreign, damaged or too new is refused, loudly and untouched."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from relay.errors import JournalRefused
from relay.journal import Reader, accept_file, doubt_of
from tests.journal.making import by_hand, make_entry, opened, path_of


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """SQLite alone: a file can be moved, cut and replaced; test_postgres.py is about the other engine."""
    return f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.fixture
def used(engine: str) -> str:
    """A journal that held one event and was closed."""
    with opened(engine) as journal:
        asyncio.run(journal.append(make_entry("billing")))
    return engine


def refused(url: str, match: str) -> None:
    """Opening fails in every way, and changes nothing."""
    path = path_of(url)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(JournalRefused, match=match):
        Reader.open(url)
    for create in (True, False):
        with pytest.raises(JournalRefused, match=match), opened(url, create=create):
            pass
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_journal_that_is_gone_is_not_made_anew(used: str) -> None:
    """The mark beside it remembers."""
    path_of(used).unlink()
    refused(used, "is gone")


def test_an_empty_file_is_refused(used: str) -> None:
    """Also where the file itself is still there."""
    path_of(used).write_bytes(b"")
    refused(used, "is empty")


@pytest.mark.parametrize(("start", "end"), [(0, 16), (100, 4096)])
def test_a_damaged_header_or_schema_is_refused(used: str, start: int, end: int) -> None:
    """What SQLite says of it is in the text."""
    content = bytearray(path_of(used).read_bytes())
    content[start:end] = b"\xa5" * (end - start)
    path_of(used).write_bytes(content)
    refused(used, "cannot be read as a journal")


def test_a_file_without_our_tables_is_refused(engine: str) -> None:
    """Somebody else's database is not written to."""
    with by_hand(engine) as other:
        other.execute("CREATE TABLE theirs (a)")
    refused(engine, "cannot be read as a journal")


def test_a_file_in_which_nothing_was_made_yet_is_made_a_journal(engine: str) -> None:
    """As a start leaves it that was cut short, or another that makes its tables at this moment."""
    path = path_of(engine)
    with by_hand(engine) as other:
        other.execute("PRAGMA journal_mode=WAL")
    assert path.stat().st_size > 0
    with opened(engine) as journal:
        asyncio.run(journal.append(make_entry("billing")))


def test_missing_commits_are_refused(used: str, tmp_path: Path) -> None:
    """An older copy of the file, as after a log that was cut."""
    old = tmp_path / "old"
    shutil.copy(path_of(used), old)
    with opened(used) as journal:
        asyncio.run(journal.append(make_entry("billing")))
    shutil.copy(old, path_of(used))
    refused(used, "lacks commits")


def test_a_log_that_was_cut_is_refused_and_kept(engine: str, tmp_path: Path) -> None:
    """The commits of a crashed process are in the log; without its end, they are missed."""
    copy = tmp_path / "crashed"
    copy.mkdir()
    with opened(engine) as journal:
        for _ in range(3):
            asyncio.run(journal.append(make_entry("billing")))
        journal._engine.mark(now=True)
        for file in path_of(engine).parent.glob("relay.db*"):
            shutil.copy(file, copy)
    log = copy / "relay.db-wal"
    whole = log.read_bytes()
    (copy / "relay.db-shm").unlink()
    cut = whole[: -5 * 4120]
    log.write_bytes(cut)
    with pytest.raises(JournalRefused, match="lacks commits"), opened(f"sqlite:///{copy / 'relay.db'}"):
        pass
    assert log.read_bytes() == cut
    log.write_bytes(whole)
    with Reader.open(f"sqlite:///{copy / 'relay.db'}") as reader:
        assert len(reader.events()) == 3


def test_a_copy_of_a_file_in_use_is_not_served(engine: str, tmp_path: Path) -> None:
    """It may lack what is in the log beside the original, which no mark tells elsewhere; it can be read."""
    copy = tmp_path / "copy.db"
    with opened(engine) as journal:
        asyncio.run(journal.append(make_entry("billing")))
        shutil.copy(path_of(engine), copy)
        asyncio.run(journal.append(make_entry("billing")))
    before = copy.read_bytes()
    for create in (True, False):
        with (
            pytest.raises(JournalRefused, match="a copy of a file that was in use"),
            opened(f"sqlite:///{copy}", create=create),
        ):
            pass
    assert copy.read_bytes() == before
    with Reader.open(f"sqlite:///{copy}") as reader:
        assert len(reader.events()) < 2, "else it lacks nothing, and this proves nothing"


def test_what_a_file_lacks_can_be_accepted(used: str, tmp_path: Path) -> None:
    """An operator names the journal; then it is served as it is, an older copy too."""
    path, old = path_of(used), tmp_path / "old"
    shutil.copy(path, old)
    with opened(used) as journal:
        asyncio.run(journal.append(make_entry("billing")))
    shutil.copy(old, path)
    with by_hand(used) as file:
        file.execute("INSERT INTO meta VALUES ('file', '1')")
        ((journal_id,),) = file.execute("SELECT value FROM meta WHERE key = 'id'")
    refused(used, "lacks commits")
    assert journal_id in str(doubt_of(used))
    accept_file(used)
    assert doubt_of(used) is None
    with opened(used), Reader.open(used) as reader:
        assert len(reader.events()) == 1
        assert reader.ledger().balanced


def test_a_copy_of_a_file_that_nobody_used_is_whole(used: str, tmp_path: Path) -> None:
    """Whoever stops Relay first may copy its journal."""
    copy = tmp_path / "copy.db"
    shutil.copy(path_of(used), copy)
    with opened(f"sqlite:///{copy}"), Reader.open(f"sqlite:///{copy}") as reader:
        assert len(reader.events()) == 1


def test_who_ends_first_leaves_the_file_in_use(used: str, tmp_path: Path) -> None:
    """The last of several writers makes it whole."""
    copy = tmp_path / "copy.db"
    with opened(used):
        with opened(used), opened(used, serving=False, create=False):
            pass
        shutil.copy(path_of(used), copy)
    with pytest.raises(JournalRefused, match="in use"), opened(f"sqlite:///{copy}"):
        pass


def test_after_a_crash_the_same_file_goes_on(used: str, tmp_path: Path) -> None:
    """It was in use to the end; by another name on the same disk it is the same one, a copy of it is not."""
    path, moved, copy = path_of(used), tmp_path / "moved.db", tmp_path / "copy.db"
    with by_hand(used) as crashed:
        crashed.execute("INSERT INTO meta VALUES ('file', ?)", (str(path.stat().st_ino),))
    path.rename(moved)
    shutil.copy(moved, copy)
    with pytest.raises(JournalRefused, match="in use"), opened(f"sqlite:///{copy}"):
        pass
    with opened(f"sqlite:///{moved}"), Reader.open(f"sqlite:///{moved}") as reader:
        assert len(reader.events()) == 1


def test_another_journal_in_its_place_is_refused(used: str, tmp_path: Path) -> None:
    """The ids differ."""
    with opened(f"sqlite:///{tmp_path / 'other.db'}") as journal:
        asyncio.run(journal.append(make_entry("billing")))
    shutil.copy(tmp_path / "other.db", path_of(used))
    refused(used, "is another journal")


def test_a_journal_too_new_is_refused(used: str) -> None:
    """Its own mark of the oldest version that may use it decides."""
    with by_hand(used) as other:
        other.execute("UPDATE meta SET value = '9' WHERE key = 'oldest'")
    refused(used, "newer Relay")


def test_a_newer_journal_that_allows_it_is_used(used: str) -> None:
    """An older program runs beside newer nodes, and upgrades nothing."""
    with by_hand(used) as other:
        other.execute("UPDATE meta SET value = '9' WHERE key = 'version'")
        other.execute("UPDATE alembic_version SET version_num = '0009'")
    with opened(used) as journal:
        asyncio.run(journal.append(make_entry("billing")))


@pytest.mark.parametrize("mark", [None, b"", b"{}", b"\x00\xff"])
def test_a_mark_that_says_nothing_refuses_nothing(used: str, mark: bytes | None) -> None:
    """It is a witness: a power loss may take it, and the journal writes it anew."""
    file = path_of(used).with_name("relay.db.mark")
    file.unlink()
    if mark is not None:
        file.write_bytes(mark)
    with opened(used):
        pass
    assert json.loads(file.read_bytes())["event_seq"] == 1


def test_a_command_never_makes_a_journal(engine: str) -> None:
    """Neither the file nor anything beside it."""
    for attempt in (lambda: Reader.open(engine), lambda: opened(engine, create=False).__enter__()):
        with pytest.raises(JournalRefused, match="no journal at"):
            attempt()
    assert list(path_of(engine).parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(JournalRefused, match="does not exist"), opened(f"sqlite:///{tmp_path}/no/relay.db"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_named(tmp_path: Path) -> None:
    """With what to do."""
    tmp_path.chmod(0o500)
    with pytest.raises(JournalRefused, match="not writable"), opened(f"sqlite:///{tmp_path}/relay.db"):
        pass


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_a_url_of_no_journal_is_refused(url: str) -> None:
    """The text says what to write."""
    with pytest.raises(JournalRefused, match="sqlite:///PATH"), opened(url):
        pass


def test_nobody_else_may_read_the_files(used: str) -> None:
    """Payloads are private: mode 0600 for all of them, also while it is open."""
    with opened(used):
        for file in path_of(used).parent.glob("relay.db*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_folder_as_journal_is_named(tmp_path: Path) -> None:
    """With what to set; nothing is said of damage."""
    with (
        pytest.raises(JournalRefused, match="is no file: set RELAY_JOURNAL"),
        opened(f"sqlite:///{tmp_path}"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_another_users_journal_is_not_called_damaged(used: str) -> None:
    """The text says whose it is, and not to move it away."""
    path_of(used).chmod(0)
    with pytest.raises(JournalRefused, match="may not be read by this user"), Reader.open(used):
        pass
