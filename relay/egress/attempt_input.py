"""What an attempt carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relay.expressions import View
from relay.model import Delivery, Event, Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptInput:
    """One event on its way in one delivery.

    rendered        the transformed request, where the route has a transform
    secret_headers  those by which the sender authenticated, in lower case: they never pass
    view            makes what expressions see; asked only where the destination's URL has holes
    """

    event: Event
    delivery: Delivery
    rendered: Rendered | None
    secret_headers: frozenset[bytes]
    view: Callable[[], View]

    @property
    def body(self) -> bytes:
        """The bytes that are sent."""
        return self.event.body if self.rendered is None else self.rendered.body
