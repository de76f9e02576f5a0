"""The room `alerts`."""
