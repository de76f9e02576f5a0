"""Serves the app of the soak with a clock that may be off: ``python -m tests.soak.serve``.

uvicorn starts its workers by importing this module again, so the clock of each is off
before it imports the middleware.
"""

import os
import time
from typing import Final

import uvicorn

N_WORKERS: Final = 2
_STOP_TIMEOUT_S: Final = 5


def _set_clock_off(ms: int) -> None:
    right = time.time_ns

    def wrong() -> int:
        return right() + ms * 1_000_000

    time.time_ns = wrong


# With a clock that is not Python's, the middleware runs without what is compiled.
if off_ms := int(os.environ["METERLINE_SOAK_CLOCK_OFF_MS"]):
    _set_clock_off(off_ms)

if __name__ == "__main__":
    uvicorn.run(
        "tests.soak.app:app",
        uds=os.environ["METERLINE_SOAK_HTTP"],
        workers=N_WORKERS,
        http="h11",
        ws="wsproto",
        log_level="warning",
        timeout_graceful_shutdown=_STOP_TIMEOUT_S,
    )
