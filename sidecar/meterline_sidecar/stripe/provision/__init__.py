"""The room `provision`."""
