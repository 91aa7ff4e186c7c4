"""What changes rows, each within a transaction of the writer."""
