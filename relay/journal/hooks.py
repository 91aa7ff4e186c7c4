"""Who wants to hear from the journal."""

from __future__ import annotations

from typing import Protocol


class Hooks(Protocol):
    """Who wants to hear from the journal; called in the writer's thread, and must not block it."""

    def unavailable(self, error: str) -> None:
        """The journal takes no writes from now on, for this reason."""

    def recovered(self) -> None:
        """The journal takes writes again."""

    def kept_back(self, error: str, number: int) -> None:
        """So many writes cannot be made for this reason; they wait, and are tried again every second."""

    def caught_up(self) -> None:
        """All that was kept back is written."""

    def committed(self, size: int, seconds: float) -> None:
        """A batch of so many jobs was committed in so many seconds."""

    def rewound(self, *, loss: str | None, events: int | None, since: float | None) -> None:
        """The database is another one, or in an earlier state.

        It lacks so many acknowledged events, taken since then, at least; None where nobody can say.
        """

    def internal_error(self, *, where: str, error: BaseException, delivery_id: str | None) -> None:
        """A bug of Relay's own was met."""
