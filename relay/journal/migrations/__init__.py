"""The steps by which a journal's tables came to be what they are."""
