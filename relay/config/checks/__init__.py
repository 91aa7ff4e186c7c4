"""What is checked after the shape."""
