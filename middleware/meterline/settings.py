"""Where things are unless somebody says otherwise, for the app and the sidecar."""

import os
from pathlib import Path
from typing import Final

STATE_VARIABLE: Final = "METERLINE_STATE_DIR"
SYSTEM_DIR: Final = Path("/var/lib/meterline")
"""Used when it exists: a packaged installation made it for both sides."""


def state_dir() -> Path:
    """Return the directory that the app and the sidecar share on this host.

    ``METERLINE_STATE_DIR``, or ``/var/lib/meterline`` where that exists, or
    ``$XDG_STATE_HOME/meterline`` (``~/.local/state/meterline``). It is not made here.
    """
    if given := os.environ.get(STATE_VARIABLE):
        return Path(given).absolute()
    if SYSTEM_DIR.is_dir():
        return SYSTEM_DIR
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "meterline"


def default_socket() -> Path:
    """Return the Unix socket that the sidecar listens on."""
    return state_dir() / "meterline.sock"


def default_spool_dir() -> Path:
    """Return the directory in which every worker makes its spool."""
    return state_dir() / "spool"
