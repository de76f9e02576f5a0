"""The room `sqlite`."""
