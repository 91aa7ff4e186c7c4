"""What operators see: one function per happening, whose log line, metrics and notice agree."""

from relay.telemetry.happenings import Telemetry
from relay.telemetry.notice import ALERT_SOURCE, SEEN_BY_ALL, Kind, Notice
from relay.telemetry.span import span

__all__ = ["ALERT_SOURCE", "SEEN_BY_ALL", "Kind", "Notice", "Telemetry", "span"]
