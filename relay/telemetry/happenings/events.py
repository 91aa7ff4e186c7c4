"""What happens to requests and events on their way in."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from relay.model import Event
from relay.telemetry.happenings.base import TelemetryBase, add, event_keys, is_alert, text_of
from relay.telemetry.logs import cut, masked_url
from relay.telemetry.span import span


class Events(TelemetryBase):
    """One method per happening of an event or of a request that became none."""

    def event_accepted(
        self,
        *,
        event: Event,
        routes: Iterable[str],
        deliveries: int,
        secret_index: int | None,
        duration: float,
        unparsed: str | None = None,
    ) -> None:
        """An event is on disk and has somewhere to go; `secret_index` is the secret that matched.

        `unparsed` says why expressions saw no body: it was `too_large` or `too_deep` to be parsed.
        """
        self.metrics.source(event.source).accepted.inc()
        line = event_keys(event)
        line["routes"] = [*routes]
        line["deliveries"] = deliveries
        if secret_index is not None:
            line["secret_index"] = secret_index
        line["bytes"] = len(event.body)
        line["duration_ms"] = round(duration * 1e3, 3)
        if unparsed is not None:
            line["body_unparsed"] = unparsed
        self._log.info("event.accepted", **line)

    def event_filtered(
        self,
        *,
        event: Event,
        secret_index: int | None = None,
        duration: float | None = None,
        unparsed: str | None = None,
    ) -> None:
        """An event is on disk and goes nowhere: no route wanted it, or their expressions failed."""
        self.metrics.source(event.source).filtered.inc()
        line = event_keys(event)
        add(line, reason=event.reason, secret_index=secret_index, body_unparsed=unparsed)
        line["bytes"] = len(event.body)
        if duration is not None:
            line["duration_ms"] = round(duration * 1e3, 3)
        self._log.info("event.filtered", **line)

    def event_duplicate(self, *, event: Event, first: str, revived: Sequence[str] = ()) -> None:
        """The event `first` was posted again; `revived` are destinations that get it after all."""
        self.metrics.source(event.source).duplicate.inc()
        line = event_keys(event)
        line["event_id"] = first
        if revived:
            line["revived"] = revived
        self._log.info("event.duplicate", **line)

    def event_conflict(self, *, event: Event, first: str | None = None) -> None:
        """An event came under the key of another, `first`, with a different body; it is kept, not sent."""
        self.metrics.source(event.source).conflict.inc()
        line = event_keys(event)
        add(line, first_event_id=first)
        self._log.warning("event.conflict", **line)

    def acknowledged(self, *, source: str, seconds: float) -> None:
        """An event was taken, and its sender answered after so many seconds."""
        metrics = self.metrics.source(source)
        metrics.ack.observe(seconds)
        metrics.last.set(time.time())

    def event_rejected(
        self,
        *,
        source: str,
        reason: str,
        status: int,
        remote: str | None,
        path: str | None,
        url: str | None = None,
    ) -> None:
        """A request was refused; `source` is one of the configuration, or empty.

        `url` is what a signature was checked over, where the signature was wrong.

        What the sender made up labels no metric, or it could fill the memory with labels; nor does a
        request to no source alert anybody, since whoever finds the port could.
        """
        self.metrics.rejection(source, reason).inc()
        line: dict[str, Any] = {"source": source} if source else {}
        add(line, reason=reason, status=status, remote=cut(remote), path=cut(path), url=masked_url(url))
        self._log.warning("event.rejected", **line)
        if source:
            self._notify("rejected", source, f"A request to {source} was refused: {reason} ({status}).")

    def request_refused(self, status: int, reason: str, remote: str | None) -> None:
        """The protocol refused what was no proper request, before its path was looked at."""
        self.event_rejected(source="", reason=reason, status=status, remote=remote, path=None)

    def handshake_answered(self, *, source: str) -> None:
        """A provider's question was answered by the scheme; nothing was stored."""
        self._log.info("handshake.answered", source=source)

    def route_error(self, *, event: Event, route: str, error: str) -> None:
        """An expression of a route failed on an event."""
        self.metrics.route_errors.inc()
        self._log.warning("route.error", route=route, error=text_of(error), **event_keys(event))
        if not is_alert(event.source):
            self._notify(
                "route_error",
                route,
                f"An expression of the route {route} failed on event {event.id}: {text_of(error)}",
            )

    def source_silent(self, *, source: str, seconds: float) -> None:
        """Nothing came from a source for longer than its `silent_after`."""
        self._log.warning("source.silent", source=source, seconds=round(seconds))
        self._notify("source_silent", source, f"Nothing came from {source} for {span(seconds)}.")
