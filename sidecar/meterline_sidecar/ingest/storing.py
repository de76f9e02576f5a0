"""Whether events can be stored, as the last try said."""

import logging
import time
from collections.abc import Callable
from typing import Final

TRY_AGAIN_S: Final = 10.0
"""Who is told that nothing can be stored sends nothing, and a load balancer sends nobody:
without a new try nobody would ever know that it can be again."""

log = logging.getLogger(__name__)


class Storing:
    """What the last try to store something came to.

    Args:
        now_s: a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self.trouble: str | None = None
        """Why nothing can be stored at the moment, in words."""
        self._failed_s = 0.0

    @property
    def is_worth_a_try(self) -> bool:
        """Whether something may come: nothing failed, or not of late."""
        return self.trouble is None or self._now_s() - self._failed_s >= TRY_AGAIN_S

    def failed(self, error: BaseException) -> None:
        """Note why nothing can be stored; say so when that begins, not at each try."""
        if self.trouble is None:
            log.error("cannot commit, the apps keep their events: %s", error)
        self.trouble, self._failed_s = str(error), self._now_s()

    def succeeded(self) -> None:
        """Note that something was stored."""
        if self.trouble is not None:
            log.info("events are stored again")
        self.trouble = None
