"""How often Python looks for garbage while very many rows are read."""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

OBJECTS: Final = 1_000_000
"""After how many new objects it looks for cycles, of which rows have none: with its own
700, looking takes a third of all the time that a verification does."""


@contextmanager
def seldom_collected() -> Generator[None]:
    """Have it look seldom, as long as this lasts."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
