"""What operators should be told beyond the log: a notice, for whoever sends alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ALERT_SOURCE = "relay"
"""The source of alerts' own events; what happens to those raises no further notice."""

Kind = Literal[
    "dead",
    "lagging",
    "breaker_open",
    "paused",
    "source_silent",
    "route_error",
    "rejected",
    "config_rejected",
    "disk_low",
    "journal_pinned",
    "journal_rewound",
    "ledger",
]
"""What an alert may be about, by the names of the configuration's `about`."""

SEEN_BY_ALL: frozenset[Kind] = frozenset(
    {
        "lagging",
        "breaker_open",
        "paused",
        "source_silent",
        "config_rejected",
        "disk_low",
        "journal_pinned",
        "journal_rewound",
        "ledger",
    }
)
"""Of these, every node of a journal notices the same happening; of the others, each has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that operators may want to be told.

    about    the name of the destination, source or route; empty where it is about the whole service
    text     one or two sentences for people, without secrets
    seconds  how long it lasts, where a rule's `lag` decides: with `lagging`, how old the destination's
             oldest delivery is; with `journal_pinned`, how old a transaction
    """

    kind: Kind
    about: str
    text: str
    seconds: float | None = None


Listener = Callable[[Notice], None]
"""Who hears notices; called in the event loop, must neither block nor raise."""
