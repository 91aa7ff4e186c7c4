"""The thread that writes, and what it does with each batch."""
