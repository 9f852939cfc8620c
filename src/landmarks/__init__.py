"""Learns to name the landmark in a photo, as a reproducible, tracked and deployable pipeline."""

__version__ = "0.1.0"
