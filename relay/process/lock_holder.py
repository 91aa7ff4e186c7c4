"""Who holds a lock file: each process signs it when it opens it, and the kernel says which of them has it."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from relay.process.kernel_locks import locks_on, process_name

_SIGNATURES = 20
"""Processes that a lock file remembers, the last ones that opened it."""

_MOST = 8192
"""Bytes of a lock file that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    pid: int
    host: str
    command: str

    @property
    def line(self) -> str:
        return f"{self.pid} {self.host} {self.command}\n"

    @property
    def words(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command})"


def sign(descriptor: int) -> None:
    """Write into a lock file that this process has it open.

    Not at each change of the holder: that would be a write for each batch. Two that sign at once may
    lose one of the lines; then the kernel's name of that process has to do.
    """
    ours = _Signature(pid=os.getpid(), host=socket.gethostname(), command=_command())
    others = [one for one in _read(descriptor) if (one.pid, one.host) != (ours.pid, ours.host)]
    content = "".join(one.line for one in [*others[1 - _SIGNATURES :], ours]).encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def holders(path: Path) -> set[int]:
    """The processes that hold the lock, as far as this one may see them."""
    return {lock.pid for lock in locks_on(path) if lock.kind == "FLOCK"}


def name(path: Path) -> str:
    """Who holds the lock, in words; and what to do where it is a process that is stopped."""
    signatures = _signatures(path)
    pids = holders(path) - {0}
    if pids:
        return ", ".join(_words(pid, signatures) for pid in sorted(pids))
    others = [one.words for one in signatures if one.host != socket.gethostname()]
    # The kernel does not tell a container of the processes of another one.
    return " or ".join(["a process that cannot be seen from here", *others])


def _words(pid: int, signatures: list[_Signature]) -> str:
    here = socket.gethostname()
    signed = [one for one in signatures if (one.pid, one.host) == (pid, here)]
    named = signed[-1] if signed else _Signature(pid=pid, host=here, command=process_name(pid))
    if not _is_stopped(pid):
        return named.words
    return (
        f"{named.words}, which is stopped: let it go on (`fg` in its shell, or `kill -CONT {pid}`) or end it"
    )


def _signatures(path: Path) -> list[_Signature]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> list[_Signature]:
    found = []
    for line in os.pread(descriptor, _MOST, 0).decode(errors="replace").splitlines():
        pid, _, rest = line.partition(" ")
        host, _, command = rest.partition(" ")
        if pid.isdecimal() and host and command:
            found.append(_Signature(pid=int(pid), host=host, command=command))
    return found


def _command() -> str:
    """What this process was started as; without its arguments, which may be secrets."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if name != "relay" or not words:
        return name or "python"
    return " ".join([name, *words[: 2 if words[0] == "journal" else 1]])


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"T", "t"}
    except OSError:
        return False
