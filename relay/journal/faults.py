"""Whose fault an error is: the row's, the journal's, or Relay's own. Each engine answers for its errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum, auto


class Fault(Enum):
    """Whose fault an error is, and so what follows.

    ROW        The row's: the engine refuses its values, and would refuse them again. The sender hears 400.
    STATEMENT  The journal's, for this statement: a table that is gone, a privilege that was revoked, a
               trigger that raises. It may be one row alone, so each is tried by itself.
    OUTAGE     The journal's, whatever is written: its link, its server, its disk.
    BUSY       The same while somebody else holds a lock: the connection is as good as before.
    OURS       A bug of Relay's own: it is reported with its traceback.
    """

    ROW = auto()
    STATEMENT = auto()
    OUTAGE = auto()
    BUSY = auto()
    OURS = auto()

    @property
    def concerns_all(self) -> bool:
        """Whether no row can be written now, so that trying each by itself is of no use."""
        return self in (Fault.OUTAGE, Fault.BUSY)


FaultOf = Callable[[Exception], Fault]
"""An engine's answer."""


def report_here(error: BaseException) -> None:
    """Report an error of this thread, which lives on, the way Python reports one that ended it."""
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
    )


def tell(hook: Callable[..., None], *facts: object) -> None:
    """Call a hook whose own errors must not stop the caller."""
    try:
        hook(*facts)
    except Exception as error:  # noqa: BLE001 - as above
        report_here(error)
