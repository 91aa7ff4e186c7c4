"""One method per happening of Relay's closed list: its log line, its metrics and its notice agree."""

from __future__ import annotations

from typing import Literal, Self, TextIO

from relay.telemetry.happenings.deliveries import Deliveries
from relay.telemetry.happenings.destinations import Destinations
from relay.telemetry.happenings.events import Events
from relay.telemetry.happenings.service import ServiceEvents
from relay.telemetry.logs import configure


class Telemetry(Events, Deliveries, Destinations, ServiceEvents):
    """Tells operators what happens.

    `unavailable`, `recovered` and `committed` may be called from any thread, as the journal does;
    all others are called in the event loop.
    """

    @classmethod
    def configure(
        cls,
        *,
        log_format: Literal["json", "console"] = "json",
        log_level: str = "info",
        stream: TextIO | None = None,
        turns: int | None = None,
    ) -> Self:
        """Set up the logs of this process, on stdout unless a stream is given, and tell through them.

        With `turns`, other processes write to the same stream: see `make_turns`.
        """
        return cls(configure(log_format=log_format, log_level=log_level, stream=stream, turns=turns))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the lines that wait; may be called twice."""
        self._logs.close()

    def bind(self, *, node: str) -> None:
        """Say which node speaks, on every line from now on."""
        self._log = self._logs.logger.bind(node=node)
