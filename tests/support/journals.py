"""New journals as copies of one file: to make the tables is most of what opening a new journal costs."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from relay.journal.sqlite import engine as sqlite
from relay.journal.tables import versioning


def prepare(path: Path) -> str:
    """Put a journal that has nothing in it, and that nobody has opened yet, at a path; its URL."""
    path.write_bytes(_content())
    path.chmod(0o600)
    return f"sqlite:///{path}"


@functools.cache
def _content() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relay.db"
        path.touch()
        engine = sqlite.make_engine(path, readonly=False)
        with engine.begin() as connection:
            versioning.upgrade(connection)
        engine.dispose()
        return path.read_bytes()
