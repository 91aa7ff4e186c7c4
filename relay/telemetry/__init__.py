"""What operators see: one function per happening, whose log line and metrics agree."""

from relay.telemetry.happenings import Telemetry

__all__ = ["Telemetry"]
