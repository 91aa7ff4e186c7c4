"""Out to the downstreams: one attempt, one outcome."""

from relay.egress.attempt import Egress
from relay.egress.guard import BlockedAddress, Guard
from relay.egress.headers import outbound_headers
from relay.egress.parcel import Parcel
from relay.egress.reach import Reached, reach
from relay.egress.result import Result
from relay.egress.url import fill, with_query

__all__ = [
    "BlockedAddress",
    "Egress",
    "Guard",
    "Parcel",
    "Reached",
    "Result",
    "fill",
    "outbound_headers",
    "reach",
    "with_query",
]
