"""Attempts by email."""
