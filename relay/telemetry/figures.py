"""What telemetry needs to know of the journal's values, which are made on a floor above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from relay.model import Standing


class DestinationFigures(Protocol):
    """What the gauges show of one destination."""

    @property
    def name(self) -> str:
        """The destination."""
        ...

    @property
    def pending(self) -> int:
        """Deliveries that wait or are under way."""
        ...

    @property
    def oldest_at(self) -> float | None:
        """When the oldest of them was planned."""
        ...

    @property
    def dead(self) -> int:
        """Deliveries given up."""
        ...

    @property
    def standing(self) -> Standing:
        """Its pause and its breaker."""
        ...


class Figures(Protocol):
    """The journal at a glance, by destination."""

    @property
    def destinations(self) -> Sequence[DestinationFigures]:
        """One for each destination."""
        ...


class RescuedDelivery(Protocol):
    """A delivery taken from an owner that is gone or forgot it."""

    @property
    def delivery_id(self) -> str:
        """The delivery."""
        ...

    @property
    def event_id(self) -> str:
        """Its event."""
        ...

    @property
    def source(self) -> str:
        """The event's source."""
        ...

    @property
    def destination(self) -> str:
        """Where it was going."""
        ...

    @property
    def owners_lost(self) -> int:
        """How many owners it has lost by now."""
        ...

    @property
    def dead(self) -> bool:
        """Whether it lost so many that it is dead as poison."""
        ...
