"""What a command has made due, and what that waits for all the same: a pause, a breaker, a lane, a rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from relay.cli.output.formats import clean
from relay.cli.output.waits import bound_by, gone, in_lane, kept_back
from relay.model import DeliveryState

if TYPE_CHECKING:
    from relay.config import Destination
    from relay.journal import Reader

_LOOKED_AT = 200
"""Deliveries in lanes that are looked at one by one: enough to see whether some stand behind others."""


class Going(Protocol):
    """A delivery, or the plan of one."""

    @property
    def destination(self) -> str:
        """Where it goes."""

    @property
    def lane(self) -> str | None:
        """The key of its order lane."""

    @property
    def id(self) -> str:
        """Its id."""


_G = TypeVar("_G", bound=Going)


@dataclass(frozen=True, slots=True)
class MadeDue:
    """How many deliveries of each destination a command makes due, and the ids of those in lanes."""

    by_destination: Counter[str] = field(default_factory=Counter)
    laned: list[str] = field(default_factory=list)

    def note(self, deliveries: Iterable[_G]) -> Iterator[_G]:
        """The same deliveries, each noted as it passes."""
        for one in deliveries:
            self.by_destination[one.destination] += 1
            if one.lane is not None:
                self.laned.append(one.id)
            yield one

    def waits(self, reader: Reader, destinations: Mapping[str, Destination] | None, now: float) -> list[str]:
        """A line for each destination where not all can go out at once; none where all can.

        `destinations` are those of today's file; None where that is not known.
        """
        in_flight = reader.in_flight()
        found = self._behind(reader)
        for name in self.by_destination:
            if destinations is not None and name not in destinations:
                found[name] = gone(name)
            elif kept := kept_back(reader.standing(name), now):
                found[name] = kept
            elif destinations is not None and name not in found:
                turn = bound_by(destinations[name], in_flight.get(name, 0))
                if turn:
                    found[name] = f"due now, {turn}"
        if not found:
            return []
        return [f"{clean(name)}: {found.get(name, 'due now')}" for name in sorted(self.by_destination)]

    def _behind(self, reader: Reader) -> dict[str, str]:
        """By destination, the first of its lanes in which one stands behind others."""
        found: dict[str, str] = {}
        for delivery_id in islice(self.laned, _LOOKED_AT):
            one = reader.delivery(delivery_id)
            if one is None or one.state is not DeliveryState.PENDING or one.due_at is not None:
                continue
            lane = reader.lane_of(one)
            behind = None if lane is None else in_lane(one, lane)
            if behind and one.destination not in found:
                found[one.destination] = f"{clean(one.id)} waits: {behind}"
        return found
