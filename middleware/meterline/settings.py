"""Where things are unless somebody says otherwise, for the app and the sidecar."""

import contextlib
import os
from typing import Final

STATE_VARIABLE: Final = "METERLINE_STATE_DIR"
SYSTEM_DIR: Final = "/var/lib/meterline"
"""Used when it exists: a packaged installation made it for both sides."""


def state_dir() -> str:
    """Return the directory that the app and the sidecar share on this host.

    ``METERLINE_STATE_DIR``, or ``/var/lib/meterline`` where that exists, or
    ``$XDG_STATE_HOME/meterline`` (``~/.local/state/meterline``). It is not made here,
    and nothing is raised: whoever uses it finds out whether that is possible.
    """
    if given := os.environ.get(STATE_VARIABLE):
        with contextlib.suppress(OSError):  # the working directory is gone
            return os.path.join(os.getcwd(), given)
        return given
    if os.path.isdir(SYSTEM_DIR):
        return SYSTEM_DIR
    if given := os.environ.get("XDG_STATE_HOME"):
        return os.path.join(given, "meterline")
    home = os.path.expanduser("~")
    if home == "~":  # a user without a name and a home, as containers have them
        return SYSTEM_DIR
    return os.path.join(home, ".local", "state", "meterline")


def default_socket() -> str:
    """Return the Unix socket that the sidecar listens on."""
    return os.path.join(state_dir(), "meterline.sock")


def default_spool_dir() -> str:
    """Return the directory in which every worker makes its spool."""
    return os.path.join(state_dir(), "spool")
