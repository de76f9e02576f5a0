"""The room `spool`."""
