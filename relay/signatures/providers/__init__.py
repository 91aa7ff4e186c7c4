"""The providers that are rows of a table."""
