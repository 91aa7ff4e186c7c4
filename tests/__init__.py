"""Relay's tests: unit, journal, acceptance and fault experiments, and the benchmarks."""
