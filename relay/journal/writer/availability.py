"""Whether the journal takes events, and why not; a change is reported to whoever wants to hear of it."""

from __future__ import annotations

from relay.journal.faults import tell
from relay.journal.hooks import Hooks


class Availability:
    """Set by the writer's thread, read by any; what hangs is noted by the watchdog's.

    failure  what failed, until a probe succeeds
    low      what there is too little of: room, or the files themselves
    hang     what hangs, while it does
    """

    def __init__(self, hooks: Hooks | None) -> None:
        self.failure: str | None = None
        self.low: str | None = None
        self.hang: str | None = None
        self._hooks = hooks
        self._is_reported = False

    @property
    def reason(self) -> str | None:
        """Why the journal takes no events now; None where it does."""
        return self.hang or self.failure or self.low

    def report(self) -> None:
        """Report that it takes no events any more, or that it does again, if that is new."""
        reason = self.reason
        if self._hooks is None or (reason is not None) == self._is_reported:
            return
        self._is_reported = reason is not None
        if reason is None:
            tell(self._hooks.recovered)
        else:
            tell(self._hooks.unavailable, reason)
