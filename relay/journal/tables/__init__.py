"""The tables, their rows and versions, and the statements that are used most."""
