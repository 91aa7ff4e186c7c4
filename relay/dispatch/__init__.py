"""Delivering what the journal holds: who is tried when, and one attempt at a time."""

from relay.dispatch.attempt_runner import AttemptRunner
from relay.dispatch.bodies import Bodies
from relay.dispatch.dispatcher import Dispatcher

__all__ = ["AttemptRunner", "Bodies", "Dispatcher"]
