"""How long a test waits for what must come: only one that fails waits so long."""

from typing import Final

PATIENCE_S: Final = 100.0  # a machine may do much else, and its disk may be slow
