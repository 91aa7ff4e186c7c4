"""The mark beside an SQLite journal: what it held at least, so that a lost one is noticed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The journal's id and the last numbers that were given to an event and to a delivery."""

    journal: str
    event_seq: int
    delivery_seq: int

    def write(self, path: Path) -> None:
        """Replace the file as a whole; a crash leaves the old one or the new one."""
        text = json.dumps(
            {"journal": self.journal, "event_seq": self.event_seq, "delivery_seq": self.delivery_seq}
        )
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        temporary.replace(path)


def read_mark(path: Path) -> Mark | None:
    """The mark, or None where there is none or a power loss left it empty: it is a witness, no record."""
    try:
        content = json.loads(path.read_bytes())
        return Mark(
            journal=str(content["journal"]),
            event_seq=int(content["event_seq"]),
            delivery_seq=int(content["delivery_seq"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
