"""What commands open: the settings, the journal to read and the journal to write."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.config import Settings
    from relay.journal import Journal, Reader


def load_settings(**flags: object) -> Settings:
    """The RELAY_ settings of the environment, overridden by the flags that were given."""
    from relay.config import Settings

    return Settings(**{name: value for name, value in flags.items() if value is not None})


@contextmanager
def reading(journal: str | None) -> Iterator[Reader]:
    """The journal opened to read; one that is not there is refused and never created."""
    from relay.journal import Reader

    reader = Reader.open(load_settings(journal=journal).journal)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def writing(journal: str | None) -> Iterator[Journal]:
    """The journal opened to change it beside a service that may be running."""
    from relay.clock import Clock
    from relay.journal import Journal

    opened = Journal.open(load_settings(journal=journal).journal, clock=Clock(), node=None, create=False)
    try:
        yield opened
    finally:
        opened.close()
