"""Out to the downstreams: one attempt, one outcome."""

from relay.egress.attempt import Egress
from relay.egress.attempt_input import AttemptInput
from relay.egress.dial.guard import BlockedAddress, Guard
from relay.egress.http.headers import outbound_headers
from relay.egress.http.url import fill, with_query
from relay.egress.reach import Reached, reach
from relay.egress.result import Result

__all__ = [
    "AttemptInput",
    "BlockedAddress",
    "Egress",
    "Guard",
    "Reached",
    "Result",
    "fill",
    "outbound_headers",
    "reach",
    "with_query",
]
