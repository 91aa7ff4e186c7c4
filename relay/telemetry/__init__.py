"""What operators see: one function per happening, whose log line, metrics and notice agree."""

from relay.telemetry.notice import ALERT_SOURCE, SEEN_BY_ALL, Kind, Notice
from relay.telemetry.span import span
from relay.telemetry.telemetry import Telemetry

__all__ = ["ALERT_SOURCE", "SEEN_BY_ALL", "Kind", "Notice", "Telemetry", "span"]
