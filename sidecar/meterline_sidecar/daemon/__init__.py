"""The room `daemon`."""
