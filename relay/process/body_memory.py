"""The memory of one process for bodies: one budget for those in receipt and those in flight."""

from __future__ import annotations

import threading
from typing import Final

SMALL: Final = 64 * 1024
"""Bytes of a body up to which it is small: claims load it with its event."""

MEDIUM: Final = 1024 * 1024
"""Bytes up to which it is of medium size."""

_MIB: Final = 1024 * 1024

SMALL_IN_RECEIPT: Final = 16 * _MIB
LARGE_IN_RECEIPT: Final = 64 * _MIB
SMALL_IN_FLIGHT: Final = 16 * _MIB
MEDIUM_IN_FLIGHT: Final = 32 * _MIB
LARGE_IN_FLIGHT: Final = 64 * _MIB
"""Bytes that are reserved for each part of the budget, whatever the others hold."""

SHARED: Final = 64 * _MIB
"""Bytes for the parts that need more than is reserved for them; 256 MiB with those."""


class BodyMemory:
    """So many bytes for all bodies of a process, in five parts.

    What hangs in flight cannot stop the intake, nor a burst of large bodies the small ones: each part has
    bytes of its own. What is shared goes to the part that takes it first.
    """

    def __init__(
        self,
        *,
        small_in_receipt: int = SMALL_IN_RECEIPT,
        large_in_receipt: int = LARGE_IN_RECEIPT,
        small_in_flight: int = SMALL_IN_FLIGHT,
        medium_in_flight: int = MEDIUM_IN_FLIGHT,
        large_in_flight: int = LARGE_IN_FLIGHT,
        shared: int = SHARED,
    ) -> None:
        common = _Shared(shared)
        self.small_in_receipt = Part(small_in_receipt, common)
        self.large_in_receipt = Part(large_in_receipt, common)
        self.small_in_flight = Part(small_in_flight, common)
        self.medium_in_flight = Part(medium_in_flight, common)
        self.large_in_flight = Part(large_in_flight, common)


class _Shared:
    """The bytes that are reserved for no part, and how many of them are free."""

    __slots__ = ("free", "lock")

    def __init__(self, size: int) -> None:
        self.free = size
        self.lock = threading.Lock()


class Part:
    """The bytes of one kind of bodies; for any thread."""

    __slots__ = ("_reserved", "_shared", "used")

    def __init__(self, reserved: int, shared: _Shared) -> None:
        self._reserved = reserved
        self._shared = shared
        self.used = 0

    def take(self, count: int, *, own: int | None = None) -> bool:
        """Count bytes in; False, and none counted, where there is no room for them.

        `own`: bytes of the same body that are counted already. A body that is alone in its part is taken
        whatever its size, or it would never be.
        """
        with self._shared.lock:
            if self.used + count <= self._reserved:  # as nearly always
                self.used += count
                return True
            more = self._borrowed(self.used + count) - self._borrowed(self.used)
            if more > max(0, self._shared.free) and self.used != own:
                return False
            self._shared.free -= more
            self.used += count
            return True

    def give(self, count: int) -> None:
        """Count bytes out."""
        with self._shared.lock:
            if self.used <= self._reserved:
                self.used -= count
                return
            self._shared.free += self._borrowed(self.used) - self._borrowed(self.used - count)
            self.used -= count

    def _borrowed(self, used: int) -> int:
        return max(0, used - self._reserved)
