"""The HTTP side of the service: what may come in, what goes out, and its description."""
