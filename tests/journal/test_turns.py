"""The file lock around every batch of an SQLite journal is taken in turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

import pytest

from relay.journal.sqlite.locks import FileLock, LockTimeout
from tests.support import eventually


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_who_waits_comes_before_who_comes_again(tmp_path: Path) -> None:
    """Who lets go and asks again at once gets the lock after the one that was waiting."""
    first, second = (FileLock(tmp_path / "lock", patience=20) for _ in range(2))
    order: list[str] = []

    def wait() -> None:
        with second.held():
            order.append("second")

    waiting = threading.Thread(target=wait)
    with first.held():
        waiting.start()
        eventually(lambda: _is_held(tmp_path / "lock.next"))
    with first.held():
        order.append("first")
    waiting.join()
    first.close()
    second.close()
    assert order == ["second", "first"]


def test_who_waited_too_long_leaves_the_next_place(tmp_path: Path) -> None:
    """A wait ends with its patience, and keeps nobody else from waiting."""
    first, second = (FileLock(tmp_path / "lock", patience=0.05) for _ in range(2))
    with first.held():
        for _ in range(2):
            with (
                pytest.raises(LockTimeout, match=f"held for over 0.05 s by process {os.getpid()} on "),
                second.held(),
            ):
                pass
        assert not _is_held(tmp_path / "lock.next")
    with second.held():
        pass
    first.close()
    second.close()


@pytest.mark.parametrize("removed", ["lock", "lock.next"])
def test_a_lock_file_that_was_removed_is_made_again(tmp_path: Path, removed: str) -> None:
    """Those who had it open and those who come later shut each other out."""
    with contextlib.ExitStack() as stack:
        locks = [FileLock(tmp_path / "lock", patience=0.05) for _ in range(2)]
        (tmp_path / removed).unlink()
        with locks[0].held():
            pass
        locks.append(FileLock(tmp_path / "lock", patience=0.05))
        for lock in locks:
            stack.callback(lock.close)
        for held in locks:
            with held.held():
                for other in locks:
                    if other is not held:
                        with pytest.raises(LockTimeout), other.held():
                            pass


def test_a_lock_file_that_cannot_be_made_again_is_an_error_until_it_can(tmp_path: Path) -> None:
    """And nothing is held meanwhile."""
    folder = tmp_path / "folder"
    folder.mkdir()
    lock = FileLock(folder / "lock", patience=0.05)
    folder.rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(FileNotFoundError), lock.held():
            pass
    (tmp_path / "elsewhere").rename(folder)
    with lock.held():
        assert _is_held(folder / "lock")
    lock.close()
