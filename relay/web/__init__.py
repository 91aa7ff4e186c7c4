"""The ASGI side: the ingress, the operator listener, and how requests are read."""
