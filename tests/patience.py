"""How long a test waits for what must come: only one that fails waits so long."""

import os
from typing import Final

VARIABLE: Final = "METERLINE_TEST_PATIENCE_S"
PATIENCE_S: Final = float(os.environ.get(VARIABLE) or 100)
"""A machine may do much else, and its disk may be slow. Tests that must fail, because
of a fault put in on purpose, wait less."""
