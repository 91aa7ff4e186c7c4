"""Alerts: what operators are told, as deliveries like any other, from the source `relay`.

Telemetry raises a notice where a happening is told; here it becomes an event with one delivery to each
destination of each rule that wants its kind. The first goes out at once, what follows of the same kind
about the same thing is counted for five minutes. Until the journal has it, an alert is kept in memory.
"""

from relay.alerts.alerts import Alerts
from relay.alerts.coalescing import MOST, WINDOW, Tallies
from relay.alerts.watch import Watch
from relay.alerts.wording import letter

__all__ = ["MOST", "WINDOW", "Alerts", "Tallies", "Watch", "letter"]
