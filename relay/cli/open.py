"""What commands open: the settings, the journal to read and the journal to write."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from relay.cli.output import render
from relay.process.suspending import suspended_at_rest

if TYPE_CHECKING:
    from relay.config import Configuration, Destination, Settings
    from relay.journal import Journal, Reader


def load_settings(**flags: object) -> Settings:
    """The RELAY_ settings of the environment, overridden by the flags that were given."""
    from relay.config import Settings

    return Settings(**{name: value for name, value in flags.items() if value is not None})


def todays_file(config_path: Path | None) -> Configuration:
    """The configuration as it is now; its secrets are not needed, so the shell need not have them."""
    return _file_without_secrets(load_settings(config=config_path).config)


def file_destinations(config_path: Path | None) -> Mapping[str, Destination] | None:
    """The destinations of today's file; None where there is none, or none without mistakes."""
    from relay.errors import ConfigError

    path = load_settings(config=config_path).config
    if config_path is None and not path.exists():
        return None
    try:
        return _file_without_secrets(path).destinations
    except ConfigError:
        render.note(
            f"{path} has mistakes (see `relay check`): what waits for a destination that left it is not shown"
        )
        return None


def _file_without_secrets(path: Path) -> Configuration:
    from relay import config

    return config.load(path, os.environ, allow_unset=True)


@contextmanager
def reading(journal: str | None) -> Iterator[Reader]:
    """The journal opened to read; one that is not there is refused and never created."""
    from relay.journal import Reader

    reader = Reader.open(load_settings(journal=journal).journal)
    try:
        yield reader
    finally:
        reader.close()


def now_of(journal: str | None) -> float:
    """The time that the journal goes by, which this machine's wall clock may be far from."""
    with reading(journal) as reader:
        return reader.now()


@contextmanager
def writing(journal: str | None) -> Iterator[Journal]:
    """The journal opened to change it beside a service that may be running."""
    from relay.journal import Journal
    from relay.process.clock import Clock

    with suspended_at_rest() as suspending:
        opened = Journal.open(load_settings(journal=journal).journal, clock=Clock(), node=None, create=False)
        suspending.at_rest(opened.at_rest)
        try:
            yield opened
        finally:
            opened.close()
