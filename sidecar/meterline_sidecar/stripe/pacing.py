"""When the next request may go out: the rate, the backoff, the breaker."""

import random
from typing import Final

from msgspec import Struct

BACKOFF_S_FIRST: Final = 0.5
BACKOFF_S_MAX: Final = 60.0
"""Of one row: what concerns them all is the breaker's."""
BREAKER_FAILURES_MAX: Final = 10
BREAKER_S_FIRST: Final = 1.0
BREAKER_S_MAX: Final = 30.0
PROBE_S_FIRST: Final = 10.0
PROBE_S_MAX: Final = 300.0
RATE_SHARE_MIN: Final = 0.02
"""The rate never falls below this share of its ceiling."""
RECOVERY_S: Final = 60.0
"""From the lowest rate back to the ceiling, when nothing is refused."""
EVEN_PER_S: Final = 25.0
CUT_S_MIN: Final = 1.0
"""One burst of refusals cuts the rate once."""


class Backoff(Struct, frozen=True):
    """How long to wait after a failed attempt, in seconds."""

    first_s: float = BACKOFF_S_FIRST
    max_s: float = BACKOFF_S_MAX

    def wait_s(self, attempts: int) -> float:
        """Return a random wait, up to twice as long after each attempt.

        Any wait from zero on ("full jitter"): senders that failed together must not
        come back together.
        """
        ceiling = min(self.max_s, self.first_s * 2.0 ** min(attempts, 32))
        return random.uniform(0, ceiling)  # noqa: S311 - no secret


class Rate:
    """A token bucket that halves when Stripe refuses and grows back slowly.

    Times are seconds of any clock that never goes back.
    """

    def __init__(self, max_per_s: float, now_s: float) -> None:
        self.max_per_s = max_per_s
        self.per_s = max_per_s
        self._tokens = self._room()
        self._at_s = now_s
        self._cut_at_s = now_s - CUT_S_MIN

    def _room(self) -> float:
        # A quarter of a second at once, for rates that our own loop cannot keep evenly;
        # one at a time where the limit is a sandbox's, which counts every second.
        return max(1.0, (self.per_s - EVEN_PER_S) / 4)

    def available(self, now_s: float) -> int:
        """Return how many requests may go out now."""
        passed_s = max(0.0, now_s - self._at_s)
        self._at_s = now_s
        growth = passed_s * self.max_per_s / RECOVERY_S
        self.per_s = min(self.max_per_s, self.per_s + growth)
        self._tokens = min(self._room(), self._tokens + passed_s * self.per_s)
        return int(self._tokens)

    def take(self, n: int) -> None:
        """Use up ``n`` of what ``available`` returned."""
        self._tokens -= n

    def wait_s(self) -> float:
        """Return the seconds until one more request may go out."""
        return max(0.0, 1.0 - self._tokens) / self.per_s

    def refuse(self, now_s: float) -> None:
        """Halve the rate: Stripe said that we are too fast."""
        if now_s - self._cut_at_s >= CUT_S_MIN:
            self._cut_at_s = now_s
            self.per_s = max(self.max_per_s * RATE_SHARE_MIN, self.per_s / 2)
            self._tokens = min(self._tokens, 0.0)


class Breaker:
    """Stops all requests while none of them can succeed; one at a time probes.

    A refused key stops at once, failures when ``BREAKER_FAILURES_MAX`` came in a row.
    """

    def __init__(
        self, *, first_s: float = BREAKER_S_FIRST, max_s: float = BREAKER_S_MAX
    ) -> None:
        self.reason: str | None = None
        """Why it is open; ``None`` while requests flow."""
        self._backoff = Backoff(first_s, max_s)
        self._failures = 0
        self._openings = 0
        self._probe_at_s = 0.0

    def room(self, now_s: float) -> int | None:
        """Return how many may be in flight: ``None`` is any number, 1 a probe."""
        if self.reason is None:
            return None
        return 1 if now_s >= self._probe_at_s else 0

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next probe."""
        return max(0.0, self._probe_at_s - now_s)

    def hurry(self) -> None:
        """Let the next probe go at once, as if it were the first."""
        self._probe_at_s = 0.0
        self._openings = 0

    def takes_another(self) -> bool:
        """Say whether the next probe should be one that was not tried yet.

        The 1st, 2nd, 4th, 8th one ...: a dozen in days, however long all of them fail.
        """
        return self._openings & (self._openings - 1) == 0

    def succeed(self) -> None:
        """Close: Stripe answered as it should."""
        self.reason = None
        self._failures = self._openings = 0

    def fail(self, reason: str, now_s: float, *, at_once: bool = False) -> None:
        """Count a failure of Stripe itself, and open after too many of them."""
        if self.reason is not None and now_s < self._probe_at_s:
            return  # a request from before it opened
        self._failures += 1
        if at_once or self.reason is not None or self._failures >= BREAKER_FAILURES_MAX:
            self.reason = reason
            wait_s = self._backoff.wait_s(self._openings)
            self._probe_at_s = now_s + max(self._backoff.first_s / 2, wait_s)
            self._openings += 1


class Probes:
    """When one row of each event name that no meter has tries again.

    After 10 seconds, then twice as long each time, up to 5 minutes.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[float, int]] = {}

    def begin(self, event_name: str, now_s: float) -> None:
        """Note that no meter has this name, if that is news."""
        self._names.setdefault(event_name, (now_s + PROBE_S_FIRST, 0))

    def take(self, event_name: str, now_s: float) -> bool:
        """Return whether a row may try now, and if so begin the next wait."""
        at_s, n_probes = self._names.get(event_name, (now_s, 0))
        if now_s < at_s:
            return False
        wait_s = min(PROBE_S_MAX, PROBE_S_FIRST * 2.0 ** min(n_probes, 16))
        self._names[event_name] = (now_s + wait_s, n_probes + 1)
        return True

    def end(self, event_name: str) -> bool:
        """Note that a meter has this name; return whether that is news."""
        return self._names.pop(event_name, None) is not None

    def hurry(self) -> None:
        """Let every name try at once."""
        self._names = {name: (0.0, n) for name, (_, n) in self._names.items()}
