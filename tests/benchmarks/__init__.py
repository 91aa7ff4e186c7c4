"""Benchmarks: Relay, a plain BackgroundTasks service and the limit, measured in one run on one machine.

The limit is a bare ASGI function that answers and forwards and keeps nothing. `python -m tests.benchmarks`
prints the table; sender and receiver are processes of their own, written to cost far less than what they
measure.
"""
