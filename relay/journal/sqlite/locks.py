"""Locks on files: one for all who write to a journal, and one by which a process shows that it lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from relay.process import lock_holder

_log = logging.getLogger("relay.journal")

_PAUSE = 0.00025
"""Seconds between two looks at a lock: a twentieth of what a batch takes on a good disk."""

NAMED_AFTER = 1.0
"""Seconds after which whoever holds the lock is named: a batch takes a hundredth of that."""

RESERVE = 32 * 1024 * 1024
"""Free bytes of a disk below which nothing new is stored, so that outcomes can still be written."""

Identity = tuple[int, int]
"""Device and inode: which file it is, whatever its name."""


def beside(path: Path, suffix: str) -> Path:
    """A file that goes with the database's file."""
    return path.with_name(path.name + suffix)


def identity_of(path: str | Path) -> Identity | None:
    """Which file is at a path; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - for each batch: Path.stat is dearer
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def descriptors_ran_out() -> str | None:
    """What to say where no file can be opened because this process, or the machine, has too many open."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EMFILE:
            most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"this process has {most} files and connections open, and may have no more: raise `ulimit -n`"
            )
        if error.errno == errno.ENFILE:
            return "this machine has as many files open as it may have: raise `fs.file-max`"
    return None


def free_bytes(folder: Path) -> int:
    """How much room a disk has for this process."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize


class LockTimeout(OSError):
    """Another process has held the lock for too long."""


class _LockFile:
    """A file to be locked, the one that is at its path: it is made again where somebody removed it.

    Who locks a file that is at its path no more shuts nobody out. So the path is looked at once the
    lock is had. A batch that is under way when the file is removed still has the lock of the old one;
    until it ends, SQLite's own locks are all that keeps another's batch from it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._open()

    def _open(self) -> None:
        self._descriptor = _opened(self._path)
        found = os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino
        lock_holder.sign(self._descriptor)

    def try_lock(self) -> bool:
        """Whether this process has the lock now; never waits."""
        return _try_lock(self._descriptor)

    def is_at_its_path(self) -> bool:
        """Whether others who come find this file."""
        return identity_of(self._name) == self._identity

    def make_again(self) -> None:
        """Open the one that is at the path, made where there is none; whoever had the lock has it no more."""
        removed = self._descriptor
        self._open()
        os.close(removed)

    def unlock(self) -> None:
        """Let another have it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def holder(self) -> str:
        """Who has it."""
        return lock_holder.name(self._path)

    def close(self) -> None:
        """Give up the file."""
        os.close(self._descriptor)


class FileLock:
    """A lock between processes and between journals of one process; one thread uses an instance.

    It is taken in turns: a second lock is that of the one who comes next, so that who lets go and comes
    again at once must wait behind it. Without it one of two busy writers may starve for a tenth of a
    second.
    """

    def __init__(self, path: Path, *, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._turn = _LockFile(path)
        self._next = _LockFile(beside(path, ".next"))
        self._named = ""

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; asks again and again, since a blocking flock could not be given up after a while."""
        self._take()
        try:
            yield
        finally:
            self._turn.unlock()

    def _take(self) -> None:
        began = time.monotonic()
        self._wait_for(self._next, began)
        try:
            self._wait_for(self._turn, began)
            while not self._turn.is_at_its_path():
                self._turn.unlock()
                self._turn.make_again()
                self._wait_for(self._turn, began)
            self._named = ""
        finally:
            self._next.unlock()

    def _wait_for(self, lock: _LockFile, began: float) -> None:
        named_at = NAMED_AFTER
        while not lock.try_lock():
            waited = time.monotonic() - began
            if named_at <= waited < self._patience:
                named_at = waited + NAMED_AFTER / 4  # the look reads a file of the kernel's
                self._name(lock.holder(), waited)
            if waited >= self._patience:
                raise LockTimeout(f"{self._path} is held for over {self._patience:g} s by {lock.holder()}")
            if not lock.is_at_its_path():
                lock.make_again()
            time.sleep(_PAUSE)

    def _name(self, holder: str, waited: float) -> None:
        """Log who holds it, once until that changes."""
        if holder != self._named:
            self._named = holder
            _log.warning("%s is held for over %.2g s by %s", self._path, waited, holder)

    def look(self) -> None:
        """Make the file of the one who comes next again where it was removed: turns are unfair without it."""
        if not self._next.is_at_its_path():
            self._next.make_again()

    def close(self) -> None:
        """Give up the files."""
        self._turn.close()
        self._next.close()


class NodeFile:
    """A file that is locked as long as its process lives: the kernel lets go whatever kills it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _opened(path)
        # Not LOCK_NB: a reader that asks whether this life is lived holds it for a moment.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._moved: list[int] = []

    def is_lost(self) -> bool:
        """Whether the file is at its path no more, so that others must take this process for dead."""
        found = os.fstat(self._descriptor)
        return identity_of(self._path) != (found.st_dev, found.st_ino)

    def renew(self) -> None:
        """Make the file again, locked from the moment on at which it is at its path."""
        fresh = beside(self._path, ".new")
        descriptor = _opened(fresh)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fresh.replace(self._path)
        if os.fstat(self._descriptor).st_nlink:
            self._moved.append(self._descriptor)  # it may be moved back, and must be locked then
        else:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def end(self) -> None:
        """End it in good order; the file goes too."""
        self._path.unlink(missing_ok=True)
        for descriptor in (self._descriptor, *self._moved):
            os.close(descriptor)


def is_alive(path: Path) -> bool | None:
    """Whether a process holds this file of a life; None where there is no such file.

    Who cannot be asked is taken for alive: what it holds would be sent twice else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # whoever may only read may ask, too
    except FileNotFoundError:
        return None
    except OSError:  # no right to it, no descriptor left
        return True
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
