"""The durable record of every event and delivery, and who works on them."""

from relay.journal.copy.journals import copy_journal, take_back
from relay.journal.copy.progress import Copied
from relay.journal.findings import Finding
from relay.journal.health import examine
from relay.journal.hooks import Hooks
from relay.journal.journal import Journal
from relay.journal.losses import Loss
from relay.journal.opening import accept_file, doubt_of, folder_of, upgrade
from relay.journal.reader import Reader
from relay.journal.values import (
    Claim,
    DeliveryLine,
    DestinationStatus,
    Entry,
    EventLine,
    Filter,
    LaneView,
    Ledger,
    Look,
    NodeStatus,
    Peer,
    Pin,
    Probe,
    Purged,
    Receipt,
    Rescued,
    Retention,
    Settled,
    Settlement,
    SourceStatus,
    StateChange,
    Status,
)
from relay.journal.writes.order_changes import OrderChange, OrderChanges, Orders
from relay.journal.writes.retention import Early, Kind

__all__ = [
    "Claim",
    "Copied",
    "DeliveryLine",
    "DestinationStatus",
    "Early",
    "Entry",
    "EventLine",
    "Filter",
    "Finding",
    "Hooks",
    "Journal",
    "Kind",
    "LaneView",
    "Ledger",
    "Look",
    "Loss",
    "NodeStatus",
    "OrderChange",
    "OrderChanges",
    "Orders",
    "Peer",
    "Pin",
    "Probe",
    "Purged",
    "Reader",
    "Receipt",
    "Rescued",
    "Retention",
    "Settled",
    "Settlement",
    "SourceStatus",
    "StateChange",
    "Status",
    "accept_file",
    "copy_journal",
    "doubt_of",
    "examine",
    "folder_of",
    "take_back",
    "upgrade",
]
