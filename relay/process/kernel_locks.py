"""Which processes hold locks on a file, as Linux tells it in /proc/locks; nothing where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FIELDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLock:
    """One lock.

    kind   `FLOCK` on the whole file, or `POSIX` on bytes of it
    mode   `READ` or `WRITE`
    pid    the process that has it; 0 or less where it cannot be seen from here
    first  the first of the bytes
    """

    kind: str
    mode: str
    pid: int
    first: int


def locks_on(path: Path) -> Iterator[KernelLock]:
    """The locks that processes hold on a file now; the file is not opened."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # 7: POSIX  ADVISORY  READ 4711 08:01:131079 124 124; one that waits has "->" after its number
        words = line.split()
        if len(words) == _FIELDS and words[5].endswith(f":{inode}"):
            yield KernelLock(kind=words[1], mode=words[3], pid=int(words[4]), first=int(words[6]))


def process_name(pid: int) -> str:
    """The kernel's name of a process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "unknown"
