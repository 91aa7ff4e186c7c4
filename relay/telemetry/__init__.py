"""What operators see: one function per happening, whose log line and metrics agree."""

from relay.telemetry.happenings import Telemetry
from relay.telemetry.logs import Logs, configure
from relay.telemetry.metrics import Metrics

__all__ = ["Logs", "Metrics", "Telemetry", "configure"]
