"""Meter every request of an ASGI app, durably, in one line."""

__version__ = "0.1.0"
