"""What is read of the rows; it changes nothing."""
