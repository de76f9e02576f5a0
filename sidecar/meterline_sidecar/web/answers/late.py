"""What the API answers about late usage."""

from typing import Literal

import msgspec


class ShownLate(msgspec.Struct, frozen=True, kw_only=True):
    """Usage that came when its period was final, and is not billed by itself."""

    late: int
    """Its id: the correction by which its events do not count."""
    customer: str
    period: str
    events: int
    state: Literal["waiting", "accepted", "rejected"]
    held_back: str
    author: str | None
    """Who decided, and why; ``null`` while it waits."""
    reason: str | None


class LatePage(msgspec.Struct, frozen=True, kw_only=True):
    """Late usage, the newest first."""

    late: tuple[ShownLate, ...]
    next_after: int | None
    """Where what is older goes on."""
