"""The room `access`."""
