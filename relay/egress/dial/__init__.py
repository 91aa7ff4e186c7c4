"""Connections that the rules on addresses allow."""
