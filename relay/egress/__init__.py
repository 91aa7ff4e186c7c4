"""Out to the downstreams: one attempt, one outcome."""

from relay.egress.attempt import Egress, Result
from relay.egress.headers import outbound_headers
from relay.egress.transport import AiohttpTransport

__all__ = ["AiohttpTransport", "Egress", "Result", "outbound_headers"]
