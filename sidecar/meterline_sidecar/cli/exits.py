"""The exit codes that every command keeps to, and the errors that stand for them."""

from typing import Final

from meterline_sidecar.errors import MeterlineError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
"""A wrong command line; click's own."""
EXIT_FOUND: Final = 3
"""A check did its work, and found problems."""
EXIT_UNREACHABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h


class Interrupted(MeterlineError):
    """Somebody pressed Ctrl-C; the text says what there is to know then."""


class NoSidecar(MeterlineError):
    """No sidecar answers where it was looked for; the text says where that was."""


class Refused(MeterlineError):
    """The sidecar answered that it will not, or cannot, and why."""


class NotFound(Refused):
    """The sidecar knows nothing by this name."""


class NotNow(Refused):
    """The sidecar cannot take it now; the same may be taken later."""

    def __init__(self, message: str, *, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class OtherVersion(MeterlineError):
    """The sidecar's answer has another shape than this command reads."""
