"""The room `stripe`."""
