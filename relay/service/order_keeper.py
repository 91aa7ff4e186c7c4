"""Where a file changes an order: new deliveries go behind what is pending, and go on when that has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.config import Configuration
from relay.journal import Journal, OrderChange, Orders
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
        self._began_with: tuple[float, Orders] | None = None
        self._written: Orders | None = None
        self._waiting: Waiting = {}
        self._changes: list[OrderChange] = []

    def begin(self, configuration: Configuration) -> None:
        """Go by the file from the start; it may be another than what is pending was planned by.

        Whatever is planned waits until `write` has learned of that from the journal.
        """
        self._orders = configuration.orders
        self._began_with = (self._journal.now(), configuration.orders)
        self._tell()

    def take(self, configuration: Configuration) -> None:
        """From now on deliveries of changed routes wait, until `write` knows whether they must."""
        if changed := changed_orders(self._orders, configuration.orders):
            self._changes.append(OrderChange(self._journal.now(), changed))
        # What is pending for a destination that left the file was planned by what is known of it.
        self._orders = {**self._orders, **configuration.orders}
        self._tell()

    async def write(self) -> None:
        """Write down the changes. What was planned before each is stored by now or will be before this."""
        await self._learn()
        if not self._changes and self._orders == self._written:
            return
        orders, changes = self._orders, tuple(self._changes)
        if changes:
            # What is parked may be back in the file; it is older than what waits from now on.
            await self._journal.wake()
        found = await self._journal.change_orders(orders, changes)
        self._written = orders
        self._changes = [one for one in self._changes if one not in changes]
        self._waiting = found.waiting
        self._tell()
        for name in found.begun:
            pending = self._journal.backlogs().get(name, 0)
            self._telemetry.order_changed(destination=name, pending=pending)

    async def _learn(self) -> None:
        """Learn, once, by which orders what is pending was planned; where nobody knows, by the file's."""
        if self._began_with is None:
            return
        written = await self._journal.orders() or {}
        if self._began_with is None:  # another turn has learned it meanwhile
            return
        since, orders = self._began_with
        self._began_with = None
        if changed := changed_orders(written, orders):
            self._changes.insert(0, OrderChange(since, changed))
        self._orders = {**written, **self._orders}

    async def follow(self) -> None:
        """Take what other nodes changed, and let go on what has waited long enough."""
        if self._changes or self._written is None:
            return  # what waits may wait for a change that is not written yet
        found = await self._journal.follow_orders()
        self._waiting = found.waiting
        self._tell()
        for name in found.released:
            self._wake(name)

    def _tell(self) -> None:
        if self._written is None:
            self._wait({name: frozenset(routes) for name, routes in self._orders.items()})
            return
        waiting = dict(self._waiting)
        for change in self._changes:
            for name, routes in change.routes.items():
                waiting[name] = waiting.get(name, frozenset()) | frozenset(routes)
        self._wait(waiting)
