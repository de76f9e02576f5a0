"""What goes wrong between a client and Stripe, on order or at random."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from random import Random


class Fault(Enum):
    """One way a request can fail; BEFORE: it was not executed, AFTER: it was."""

    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    HALF_BODY = "half_body"
    """Executed; half of the answer arrives."""
    SLOW = "slow"
    """Executed, and answered only after ``FaultPlan.slow_s``."""
    HANG = "hang"
    """Executed, and never answered."""
    LIMIT_GLOBAL_RATE = "global-rate"
    LIMIT_ENDPOINT_RATE = "endpoint-rate"
    LIMIT_GLOBAL_CONCURRENCY = "global-concurrency"
    LIMIT_ENDPOINT_CONCURRENCY = "endpoint-concurrency"
    LIMIT_RESOURCE = "resource-specific"
    LOCK_TIMEOUT = "lock_timeout"
    """A 429 without a reason: somebody holds a lock."""
    PLAIN_429 = "plain_429"
    """A 429 without reason and without code."""
    KEY_IN_USE = "key_in_use"
    CONFLICT = "conflict"
    SAVED_500_BEFORE = "saved_500_before"
    """Not executed; the 500 is replayed under the same key for a day."""
    SAVED_500_AFTER = "saved_500_after"
    UNSAVED_500_BEFORE = "unsaved_500_before"
    UNSAVED_500_AFTER = "unsaved_500_after"
    HTML_502_BEFORE = "html_502_before"
    HTML_502_AFTER = "html_502_after"
    GARBAGE_200_BEFORE = "garbage_200_before"
    GARBAGE_200_AFTER = "garbage_200_after"
    EMPTY_200_AFTER = "empty_200_after"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    REFUSED = "refused"
    """A 400 for a reason of its own."""
    REJECT_LATER = "reject_later"
    """Accepted, then dropped by the asynchronous validation, which reports it."""
    SILENT_LOSS = "silent_loss"
    """Accepted, and never counted or reported."""


PASSING = tuple(
    fault
    for fault in Fault
    if fault
    not in (
        Fault.HANG,
        Fault.UNAUTHORIZED,
        Fault.FORBIDDEN,
        Fault.REFUSED,
        Fault.REJECT_LATER,
        Fault.SILENT_LOSS,
    )
)
"""The faults after which patience alone delivers every event exactly once."""


@dataclass(slots=True)
class FaultPlan:
    """Says which fault the next meter event meets."""

    queued: deque[Fault | None] = field(default_factory=deque[Fault | None])
    """Used up first, one for each request; ``None`` lets one pass."""
    every: Fault | None = None
    """Then this one, for every request, while it is set."""
    rate: float = 0.0
    """Then one of ``kinds``, with this probability."""
    kinds: tuple[Fault, ...] = PASSING
    slow_s: float = 0.05
    dice: Random = field(default_factory=lambda: Random(0))

    def next(self) -> Fault | None:
        """Return the fault for one request, ``None`` where all goes well."""
        if self.queued:
            return self.queued.popleft()
        if self.every is not None:
            return self.every
        if self.rate and self.dice.random() < self.rate:
            return self.dice.choice(self.kinds)
        return None
