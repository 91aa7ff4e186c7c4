"""The service: its parts, their start and end, and its work beside the deliveries."""
