"""Signatures by a secret that both sides know: one table of rows."""
