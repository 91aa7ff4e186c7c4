"""Takes the file anew while the service runs: asked by a signal, by `relay reload`, or by the file itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from relay import config
from relay.config import Configuration
from relay.egress import celery
from relay.errors import ConfigError, JournalUnavailable
from relay.journal import Journal
from relay.service.order_keeper import OrderKeeper
from relay.telemetry import Telemetry

FOLLOW_EVERY = 1.0
"""Seconds between looks for a request that `relay reload` left in the journal."""

SETTLE = 200
"""Milliseconds in which the writes of one edit are taken for one change."""


LOOK_EVERY = 1.0
"""Seconds between looks whether the watched folders are still the same ones."""

_ENVIRONMENT = (
    "A variable has the value that it had when the service started; a shell in which a command runs is"
    " another. Restart the service with it, or write ${file:…}, which is read at each reload"
)
"""What is added to a report where variables are not set."""

Identity = tuple[int, int]


def load(path: Path) -> Configuration:
    """The file as this process can serve it; ConfigError, also where a package that it needs is missing."""
    found = config.load(path, os.environ)
    celery.require(found.destinations.values())
    return found


class Reloader:
    """The configuration in force, and how the next one takes over.

    `apply` hands a configuration to all parts, between two events: it neither waits nor fails.
    """

    def __init__(
        self,
        *,
        path: Path,
        configuration: Configuration,
        journal: Journal,
        telemetry: Telemetry,
        orders: OrderKeeper,
        apply: Callable[[Configuration], None],
    ) -> None:
        self.configuration = configuration
        self._path = path
        self._journal = journal
        self._telemetry = telemetry
        self._orders = orders
        self._apply = apply
        self._turn = asyncio.Lock()
        self._seen = 0
        self._error: str | None = None
        self._untold = True

    async def begin(self) -> None:
        """Say what is in force from the start; a request that was left before it is answered by that."""
        self._orders.begin(self.configuration)
        with contextlib.suppress(JournalUnavailable):  # then `follow` does it
            self._seen = await self._journal.reload_number()
            await self._orders.write()
            await self._note()  # to wake what waits may take long, and can be done while this node serves

    async def reload(self) -> bool:
        """Take the file anew; False where it has mistakes, and what was in force goes on."""
        async with self._turn:
            # Read before the file is: whoever asks from now on is answered by the next turn.
            with contextlib.suppress(JournalUnavailable):
                self._seen = await self._journal.reload_number()
            try:
                found = await asyncio.to_thread(load, self._path)
            except ConfigError as error:
                self._error = f"{error}\n{_ENVIRONMENT}" if error.unset else str(error)
                self._telemetry.config_rejected(path=str(self._path), report=self._error)
            except Exception as error:  # noqa: BLE001 - a bug in reading a file must not end the service
                self._error = f"internal error: {type(error).__name__}"
                self._telemetry.internal_error(where="reload", error=error)
            else:
                self._error = None
                if found.fingerprint != self.configuration.fingerprint:
                    self._orders.take(found)
                    self._apply(found)
                self.configuration = found
                told_loaded(self._telemetry, found)
            self._untold = True
            with contextlib.suppress(JournalUnavailable):
                await self._tell()
            return self._error is None

    async def follow(self) -> None:
        """Answer a request in the journal, and write down what could not be written at once."""
        # Another number, not a larger one: a database may have been put back to an earlier state.
        if await self._journal.reload_number() != self._seen:
            await self.reload()
        elif self._untold:
            await self._tell()
        await self._orders.follow()

    async def watch(self) -> None:
        """Take the file anew whenever it, or a file that it names, was written or put elsewhere; for ever."""
        while True:
            try:
                await self._watch_once()
            except Exception as error:  # noqa: BLE001 - the next edit counts whatever this one met
                self._telemetry.internal_error(where="watch", error=error)
                await asyncio.sleep(LOOK_EVERY)

    async def _watch_once(self) -> None:
        """The same, until the folders are others."""
        watched = self._watched()
        async with contextlib.aclosing(_changes(watched)) as changes:
            async for paths in changes:
                if self._watched() == watched and not any(map(self._concerns, paths)):
                    continue
                await self.reload()
                if self._watched() != watched:
                    break

    def _watched(self) -> dict[Path, Identity | None]:
        """The folders, since an editor, or Kubernetes, puts a new file in the place of the old one.

        Each with what it is: a watch stays with the folder that was there, whoever takes its place.
        """
        folders = {file.absolute().parent for file in self.configuration.files} | {self._folder}
        return {folder: _identity(folder) for folder in folders}

    @property
    def _folder(self) -> Path:
        path = self._path.absolute()
        return path if path.is_dir() else path.parent

    def _concerns(self, path: Path) -> bool:
        """Whether a change may matter; Kubernetes changes a link beside the files, not the files."""
        known = {file.absolute() for file in self.configuration.files}
        is_new = self._path.is_dir() and path.parent == self._folder and path.suffix in {".yaml", ".yml"}
        return path in known or is_new or path == self._path.absolute() or path.name.startswith("..")

    async def _tell(self) -> None:
        """Answer who asked, and let what waits for something that the file lacked go on."""
        await self._orders.write()  # before the answer, which tells of it
        await self._note()
        await self._journal.wake()
        self._untold = False

    async def _note(self) -> None:
        await self._journal.note_config(
            digest=self.configuration.digest, reload=self._seen, error=self._error
        )


async def _changes(watched: Mapping[Path, Identity | None]) -> AsyncGenerator[set[Path]]:
    """What changes in these folders, and nothing every `LOOK_EVERY` seconds; ends where it cannot go on."""
    from watchfiles import awatch  # noqa: PLC0415 - only `serve --watch` needs it

    there = [folder for folder, identity in watched.items() if identity is not None]
    pause = round(LOOK_EVERY * 1e3)
    with contextlib.suppress(OSError):  # one went away at this moment
        if there:
            async for changes in awatch(
                *there, step=SETTLE, recursive=False, rust_timeout=pause, yield_on_timeout=True
            ):
                yield {Path(path) for _, path in changes}
    await asyncio.sleep(LOOK_EVERY)
    yield set()


def _identity(folder: Path) -> Identity | None:
    """Device and inode of a folder, behind whatever links lead there; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def told_loaded(telemetry: Telemetry, configuration: Configuration) -> None:
    """Say that a configuration is in force."""
    telemetry.config_loaded(
        path=str(configuration.path),
        digest=configuration.digest,
        sources=len(configuration.sources),
        destinations=len(configuration.destinations),
        routes=sum(map(len, configuration.routes.values())),
        experimental=configuration.experimental,
        warnings=configuration.warnings,
    )
    telemetry.configured(sources=configuration.sources, destinations=configuration.destinations)
