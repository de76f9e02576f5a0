"""What the API answers about raw events."""

from decimal import Decimal
from typing import Final, get_args

import msgspec

from meterline.events import UNCOUNTED, Flag
from meterline_sidecar.web.answers.archive import EdgeFiled
from meterline_sidecar.where import KindName

KINDS: Final[tuple[KindName, ...]] = get_args(KindName)
"""In the order of ``meterline.events.Kind``: an event's number is its place here."""
_FLAGS: Final = {
    name.lower(): flag
    for name, flag in vars(Flag).items()
    if name.isupper() and flag.bit_count() == 1
}


def named_flags(flags: int) -> list[str]:
    """Return what the flags of an event are called."""
    return [name for name, flag in _FLAGS.items() if flag & flags]


_UNCOUNTED: Final = frozenset(named_flags(UNCOUNTED))
(_REPEATED,) = named_flags(Flag.REPEATED)


class ShownPart(msgspec.Struct, frozen=True, kw_only=True):
    """What of a quantity was recorded with properties of its own."""

    quantity: str
    amount: int | str
    properties: dict[str, str]


class ShownRolledUp(msgspec.Struct, frozen=True, kw_only=True):
    """What events come to that an edge has counted, and keeps."""

    events: int
    """How many there are of this subject in the window of this time, since the event
    like it before; said once of all groups."""
    group: dict[str, str]
    totals: dict[str, int | Decimal]
    """By meter."""
    distinct: dict[str, int]
    """Different values by meter; some may have been told before."""


class ShownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One usage event."""

    id: int
    event: str
    """The producer's id and the event's number there: unique for ever."""
    time: str
    kind: KindName
    subject: str | None
    customer: str | None
    method: str | None
    route: str | None
    status: int | None
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: list[str]
    quantities: dict[str, int | str]
    """Totals by name, with what was recorded with properties of its own."""
    properties: dict[str, str]
    """Of the whole event."""
    parts: list[ShownPart]
    """Their properties go over the event's."""
    source: str | None
    """Who sent it over HTTP; ``null`` for all others."""
    external_id: str | None
    """What it is called there."""
    voided_by: int | None = None
    """The correction by which it does not count; see `/v1/corrections`."""
    edge: str | None = None
    """The edge that sent it; ``null`` for those of this host."""
    usage: ShownRolledUp | None = None
    """What it stands for, where the edge keeps the events themselves."""

    @property
    def doubt(self) -> str:
        """Why it does not count, or not for every meter; empty if it does."""
        why = [flag for flag in self.flags if flag in _UNCOUNTED]
        if why:
            return f"not counted: {', '.join(why)}"
        if self.voided_by is not None:
            return f"void by correction {self.voided_by}"
        return _REPEATED if _REPEATED in self.flags else ""


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Raw events, a page of them."""

    events: list[ShownEvent]
    next_after: int | None
    archived: tuple[str, ...] = ()
    """Files of the archive that hold events of this time, the first 20; or the one of
    this `external_id`."""
    edges: tuple[EdgeFiled, ...] = ()
    """At a centre: where raw events are of which only usage came here."""


class WholeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One usage event with all that is known of how it came here."""

    event: ShownEvent
    producer: str
    app: str
    host: str
    pid: int
    batch: int
    """Which committed batch it is in: what the ledger's chain covers."""
    learned: str
    """When it was stored."""
    mac: str
    """The chain's link over its batch, in hex."""
