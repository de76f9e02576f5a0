"""The room `billing`."""
