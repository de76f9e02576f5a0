"""Where things are unless somebody says otherwise, for the app and the sidecar."""

import contextlib
import os
from pathlib import Path
from typing import Final

STATE_VARIABLE: Final = "METERLINE_STATE_DIR"
SYSTEM_DIR: Final = Path("/var/lib/meterline")
"""Used when it exists: a packaged installation made it for both sides."""


def state_dir() -> Path:
    """Return the directory that the app and the sidecar share on this host.

    ``METERLINE_STATE_DIR``, or ``/var/lib/meterline`` where that exists, or
    ``$XDG_STATE_HOME/meterline`` (``~/.local/state/meterline``). It is not made here,
    and nothing is raised: whoever uses it finds out whether that is possible.
    """
    if given := os.environ.get(STATE_VARIABLE):
        with contextlib.suppress(OSError):  # the working directory is gone
            return Path(given).absolute()
        return Path(given)
    # Not Path.is_dir(), which raises where we may not look.
    if os.path.isdir(SYSTEM_DIR):  # noqa: PTH112
        return SYSTEM_DIR
    if given := os.environ.get("XDG_STATE_HOME"):
        return Path(given) / "meterline"
    try:
        return Path.home() / ".local" / "state" / "meterline"
    except RuntimeError:  # a user without a name and a home, as containers have them
        return SYSTEM_DIR


def default_socket() -> Path:
    """Return the Unix socket that the sidecar listens on."""
    return state_dir() / "meterline.sock"


def default_spool_dir() -> Path:
    """Return the directory in which every worker makes its spool."""
    return state_dir() / "spool"
