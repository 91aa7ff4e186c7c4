"""Relay: a durable webhook relay. A webhook in, a journal on disk, a webhook out."""

__version__ = "0.1.0"
