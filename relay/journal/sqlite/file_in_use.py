"""Which file a journal is in while somebody writes to it, so that a copy made meanwhile is known as one.

What was committed last is in the log beside the file: a copy of the file alone lacks it, and is sound
all the same. So the file says in its `meta` which one it is, from the first writer's opening to the last
one's end. A file that says it is another is a copy of one in use. By its inode alone: the number of a
device may be another after each start of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from relay.journal.tables.facts import put_fact, read_fact, remove_fact

KEY = "file"
"""The fact of a journal that somebody writes to: the inode of its file."""


def note(connection: sa.Connection, path: Path) -> bool:
    """Have the file at this path say which one it is; whether it did not say so before."""
    inode = _inode(path)
    if read_fact(connection, KEY) == inode:
        return False
    put_fact(connection, KEY, inode)
    return True


def forget(connection: sa.Connection) -> None:
    """Nobody writes to it any more: once its log is empty, a copy of the file is whole."""
    remove_fact(connection, KEY)


def is_another(facts: Mapping[str, str], path: Path) -> bool:
    """Whether the file at this path is a copy of one that was in use, by the facts in its `meta`."""
    return KEY in facts and facts[KEY] != _inode(path)


def _inode(path: Path) -> str:
    return str(path.stat().st_ino)
