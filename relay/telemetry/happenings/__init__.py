"""What happens, by what it happens to."""
