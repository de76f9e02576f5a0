"""What a request and an event cost, counted and not timed: the same on a busy machine."""
