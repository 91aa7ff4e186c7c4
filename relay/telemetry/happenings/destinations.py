"""What happens to destinations: breakers, pauses and backlogs."""

from __future__ import annotations

from relay.telemetry.happenings.base import TelemetryBase, add, text_of
from relay.telemetry.span import span


class Destinations(TelemetryBase):
    """One method per happening of a destination."""

    def breaker_opened(
        self, *, destination: str, failures: int | None = None, error: str | None = None
    ) -> None:
        """Nothing but a probe is sent from now on; `failures` is None where another node met them."""
        self.metrics.breaker_open.labels(destination).set(1)
        line: dict[str, object] = {"destination": destination}
        add(line, failures=failures, error=text_of(error))
        self._log.warning("breaker.opened", **line)
        after = "" if failures is None else f" after {failures} failures in a row"
        last = "" if error is None else f", the last: {text_of(error)}"
        self._notify("breaker_open", destination, f"The breaker of {destination} is open{after}{last}.")

    def breaker_closed(self, *, destination: str, seconds: float) -> None:
        """Deliveries go out again, after so many seconds."""
        self.metrics.breaker_open.labels(destination).set(0)
        self._log.info("breaker.closed", destination=destination, seconds=round(seconds, 1))

    def destination_paused(self, *, destination: str, reason: str | None) -> None:
        """Nothing is sent until somebody resumes it; events are kept."""
        self.metrics.paused.labels(destination).set(1)
        line: dict[str, object] = {"destination": destination}
        add(line, reason=text_of(reason))
        self._log.warning("destination.paused", **line)
        why = "" if reason is None else f" ({text_of(reason)})"
        self._notify(
            "paused",
            destination,
            f"{destination} is paused{why}; its events are kept. To go on: relay resume {destination}",
        )

    def destination_resumed(self, *, destination: str, seconds: float) -> None:
        """A pause is over, after so many seconds."""
        self.metrics.paused.labels(destination).set(0)
        self._log.info("destination.resumed", destination=destination, seconds=round(seconds, 1))

    def destination_lagging(self, *, destination: str, seconds: float, pending: int) -> None:
        """The oldest pending delivery is older than an alert's `lag`; a notice alone, with no line.

        The metrics `relay_oldest_pending_seconds` and `relay_backlog` have the same at any time.
        """
        waiting = f"{pending} deliveries wait" if pending > 1 else "one delivery waits"
        self._notify(
            "lagging",
            destination,
            f"{destination} lags: {waiting}, the oldest for {span(seconds)}.",
            seconds=seconds,
        )
