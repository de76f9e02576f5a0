"""The room `portal`."""
