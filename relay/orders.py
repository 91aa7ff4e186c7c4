"""Where a file changes an order: new deliveries go behind what is pending, and go on when that has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.config import Configuration
from relay.journal import Journal, Orders
from relay.routing import changed_orders
from relay.telemetry import Telemetry

Waiting = Mapping[str, frozenset[str]]


class OrderKeeper:
    """Finds where a file orders otherwise than what is pending was planned.

    wait  is told which routes' new deliveries wait for older ones, by destination
    wake  is told of a destination for which something is due
    """

    def __init__(
        self,
        *,
        journal: Journal,
        telemetry: Telemetry,
        wait: Callable[[Waiting], None],
        wake: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._telemetry = telemetry
        self._wait = wait
        self._wake = wake
        self._orders: Orders = {}
        self._written: Orders | None = None
        self._waiting: Waiting = {}
        self._changed: dict[str, frozenset[str]] = {}

    async def begin(self, configuration: Configuration) -> None:
        """Go by the file from the start; it may be another than what is pending was planned by."""
        written = await self._journal.orders()
        self._orders = self._written = written or {}
        if written is None:  # nobody knows by what it was planned
            self._orders = configuration.orders
        self.take(configuration)
        await self.write()

    def take(self, configuration: Configuration) -> None:
        """From now on deliveries of changed routes wait, until `write` knows whether they must."""
        for name, routes in changed_orders(self._orders, configuration.orders).items():
            self._changed[name] = routes | self._changed.get(name, frozenset())
        # What is pending for a destination that left the file was planned by what is known of it.
        self._orders = {**self._orders, **configuration.orders}
        self._tell()

    async def write(self) -> None:
        """Write down the changes. What was planned before `take` is stored by now or will be before this."""
        if not self._changed and self._orders == self._written:
            return
        orders, changed = self._orders, dict(self._changed)
        found = await self._journal.change_orders(orders, changed)
        self._written = orders
        for name, routes in changed.items():
            if self._changed[name] == routes:
                del self._changed[name]
        self._waiting = found.waiting
        self._tell()
        for name in found.begun:
            pending = self._journal.backlogs().get(name, 0)
            self._telemetry.order_changed(destination=name, pending=pending)

    async def follow(self) -> None:
        """Take what other nodes changed, and let go on what has waited long enough."""
        found = await self._journal.follow_orders()
        self._waiting = found.waiting
        self._tell()
        for name in found.released:
            self._wake(name)

    def _tell(self) -> None:
        names = self._waiting.keys() | self._changed.keys()
        none: frozenset[str] = frozenset()
        self._wait({name: self._waiting.get(name, none) | self._changed.get(name, none) for name in names})
