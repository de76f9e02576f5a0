"""What is said once and counted always: nobody needs a line of log for each request."""

import contextlib
from collections import Counter
from typing import Final

from meterline.logs import Log

REASONS_MAX: Final = 64  # different ones that are logged and counted by themselves
OTHER_REASONS: Final = "other"

log = Log(__name__)


class Complaints:
    """Counts what was left out, or went wrong; each reason is logged the first time."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, reason: str, *, exc_info: bool = False) -> None:
        """Count one of ``reason``, a text without any data of a request in it.

        Raises nothing, whatever the app's handlers of logs do.
        """
        if reason not in self.counts and len(self.counts) >= REASONS_MAX:
            reason = OTHER_REASONS
        self.counts[reason] += 1  # first: a handler may record, and come here again
        if self.counts[reason] == 1:
            with contextlib.suppress(Exception):
                # Most apps set up no logging: then the text stands alone on stderr.
                log.warning(
                    "meterline: %s; further ones are only counted",
                    reason,
                    exc_info=exc_info,
                )


def words(error: BaseException) -> str:
    """Return what went wrong, without names of files: they differ each time."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__


troubles: Final = Complaints()
"""What went wrong in this process outside of its requests: files, threads, sockets."""
