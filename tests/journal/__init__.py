"""The behaviour of the journal, the same for every engine."""
