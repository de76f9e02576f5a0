"""The room `toml`."""
