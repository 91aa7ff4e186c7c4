"""The time that due times, ages and leases go by: steady when somebody sets the wall clock."""

from __future__ import annotations

import time

# CLOCK_BOOTTIME counts suspended time too, as a due time must; macOS's CLOCK_MONOTONIC does as well.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds since this machine started, the same for all its processes; nobody can set it."""
    return time.clock_gettime(_STEADY)


class Clock:
    """Unix seconds: the wall clock as it was at the start, carried on by the machine's uptime."""

    def __init__(self) -> None:
        self._offset = time.time() - uptime()

    def start_at(self, now: float) -> None:
        """Go on from another clock's time, which several machines share."""
        self._offset = now - uptime()

    def now(self) -> float:
        """Now, in Unix seconds; an hour's jump of the wall clock does not show."""
        return self._offset + time.clock_gettime(_STEADY)  # asked eight times an event
