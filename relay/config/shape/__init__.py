"""The keys of the file, as strict models."""
