"""What the API answers about held events."""

import msgspec

from meterline_sidecar.store.edge.held import State


class ShownHeld(msgspec.Struct, frozen=True, kw_only=True):
    """One event whose time cannot be right."""

    event: int
    """The id under which it came; see ``/v1/events/{event}``."""
    time: str
    """As the app's clock said."""
    learned: str
    """When it was stored."""
    subject: str | None
    customer: str | None
    producer: str
    app: str
    host: str
    pid: int
    state: State
    counted_as: int | None
    """The event that is counted in its place."""
    decided: str | None
    author: str | None
    reason: str | None


class HeldPage(msgspec.Struct, frozen=True, kw_only=True):
    """Held events, a page of them."""

    events: list[ShownHeld]
    next_after: int | None


class HeldDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision was about, or would be."""

    is_accepted: bool
    is_dry_run: bool
    """Nothing was decided: this is what would be."""
    events: int
    subjects: int
    first: str | None
    last: str | None
    """The earliest and the latest of their times, as the apps' clocks said."""
