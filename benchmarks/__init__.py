"""Every figure in the docs has its command here; `make bench` runs them all."""
