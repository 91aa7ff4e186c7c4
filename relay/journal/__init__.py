"""The durable record of every event and delivery, and who works on them."""

from relay.journal.journal import Journal
from relay.journal.reader import Reader
from relay.journal.values import (
    Claim,
    DeliveryLine,
    DestinationStatus,
    Entry,
    EventLine,
    Filter,
    Hooks,
    Ledger,
    NodeStatus,
    Purged,
    Receipt,
    Rescued,
    Retention,
    Settlement,
    SourceStatus,
    Status,
)

__all__ = [
    "Claim",
    "DeliveryLine",
    "DestinationStatus",
    "Entry",
    "EventLine",
    "Filter",
    "Hooks",
    "Journal",
    "Ledger",
    "NodeStatus",
    "Purged",
    "Reader",
    "Receipt",
    "Rescued",
    "Retention",
    "Settlement",
    "SourceStatus",
    "Status",
]
