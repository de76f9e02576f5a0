"""Runs the command line: ``meterline``, or ``python -m meterline_sidecar``."""

import os
import signal
import sys
from types import FrameType
from typing import Final

TERMINATED: Final = 128 + signal.SIGTERM  # as a shell says it


def main() -> None:
    """Run the command line, or say what is missing when only the app side is here."""
    if os.getpid() == 1:
        # The first process of a container is sent no signal that it does not handle:
        # until the sidecar runs, a stop would wait for the end of its grace.
        signal.signal(signal.SIGTERM, _end)
    try:
        from meterline_sidecar.cli.main import main as run

        run()  # loads the module of its command, and what that needs
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("meterline"):
            raise
        sys.exit(
            f"meterline: {error.name} is not installed; the daemon and its commands"
            " need: pip install 'meterline[sidecar]'"
        )


def _end(_signal: int, _frame: FrameType | None) -> None:
    os._exit(TERMINATED)


if __name__ == "__main__":
    main()
