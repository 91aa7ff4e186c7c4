"""What the tests share: a receiver, a sender, and the real service as a process."""

from tests.support.http import Response, free_port, post, request
from tests.support.process import Ended, RelayProcess, start_together
from tests.support.receiver import Fault, Received, Receiver, Reply
from tests.support.wait import eventually

__all__ = [
    "Ended",
    "Fault",
    "Received",
    "Receiver",
    "RelayProcess",
    "Reply",
    "Response",
    "eventually",
    "free_port",
    "post",
    "request",
    "start_together",
]
