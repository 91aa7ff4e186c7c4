"""YAML as a tree of values with their positions."""
