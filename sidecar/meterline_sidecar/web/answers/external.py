"""What ``POST /v1/events`` answers."""

from typing import Literal

import msgspec

Verdict = Literal["accepted", "duplicate", "conflict", "refused"]


class EventVerdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one event."""

    verdict: Verdict
    """``duplicate``: it was stored before, and counts once. ``conflict``: its id was
    used for something else, which stays. ``refused``: it can never be taken as it is."""
    source: str | None
    id: str | None
    """As they came, as far as they are texts."""
    event: int | None
    """The event in the ledger that has this source and id: ``/v1/events/{event}``."""
    is_held: bool
    """Whether it is stored and not counted for now: its time cannot be right."""
    reason: str | None
    field: str | None
    """Which field of the event the reason is about."""


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each event, and how many got each verdict."""

    accepted: int
    duplicate: int
    conflict: int
    refused: int
    results: list[EventVerdict]
    """One for each event, in the order in which they came."""
