"""The schemes that are more than a row."""
