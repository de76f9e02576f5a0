"""How long the shipping thread rests between two rounds.

Each round takes the interpreter from the app a few times: so there are as few as what
is promised allows. Usage is there in time, a burst finds the next segment ready, and
the disk has in time what it should have.
"""

from contextlib import suppress
from threading import Lock
from typing import Final

REST_S: Final = 0.25  # oftener than little is committed
POLL_S: Final = 0.1  # while an answer is awaited, or room may get short
BUSY_POLL_S: Final = 0.002  # while there is more to send than fits, or somebody waits
BURST_BYTES_PER_S: Final = 5_000_000  # 100,000 events without a request


def rest_s(*, left_bytes: int, due_s: float) -> float:
    """Return for how many seconds nothing needs the thread.

    Args:
        left_bytes: what can be recorded until another segment must be made.
        due_s: until there is something to do at a certain time.
    """
    lasts_s = max(POLL_S, left_bytes / BURST_BYTES_PER_S)
    return max(BUSY_POLL_S, min(REST_S, lasts_s, due_s))


class Bell:
    """Ends the thread's rest, or the next one.

    An ``Event`` takes a lock as it is set: a signal handler that closes a meter would
    wait for ever for the one whom it has interrupted in that.
    """

    def __init__(self) -> None:
        self._silence = Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """End the rest of whoever rests, or will."""
        with suppress(RuntimeError):  # it has rung already
            self._silence.release()

    def rest(self, rest_s: float) -> None:
        """Rest for so many seconds, or until it rings."""
        self._silence.acquire(timeout=rest_s)
