"""The commands, each file named by them."""
