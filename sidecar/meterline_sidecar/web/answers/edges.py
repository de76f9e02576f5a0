"""What the API answers about edges."""

import msgspec


class ShownEdge(msgspec.Struct, frozen=True, kw_only=True):
    """An edge, as its centre knows it."""

    edge: str
    """The id of its ledger."""
    name: str
    state: str
    """``connected``, ``silent``, ``refused`` or ``retired``."""
    seen: str
    """When it was last heard of, by the centre's clock."""
    seen_ms: int
    low: str | None
    """All of its events from before are at the centre; periods that end later wait."""
    low_ms: int
    forward: str
    """What it sends: its ``events``, or the ``usage`` that they come to."""
    lost: int
    """Events of its workers that were lost or refused, as it said last."""
    held: int
    """Events that wait there for a decision about their time, where it keeps them."""
    counts_again: bool
    """Whether it has not counted by all meters yet that are counted by here."""
    behind: int
    """Batches that were still on the way at its last heartbeat."""
    missing: tuple[str, ...]
    """What it waits for itself, in words."""
    filed: str | None
    """When the last of its events was stored there that is in a file."""
    filed_ms: int
    clock_ms: int
    """Its clock, less the centre's."""
    version: str
    """Of Meterline there."""
    frames: int
    """That came of it since the centre started, heartbeats included."""
    events: int
    """Likewise: events that were new."""
    refusals: int
    """Likewise: how often it was refused."""
    credential: str | None
    """What it comes with: ``token ID``, or ``certificate NAME``."""
    trouble: str | None
    """Why it is refused until somebody decides."""


class EdgeList(msgspec.Struct, frozen=True, kw_only=True):
    """All edges of a centre."""

    edges: tuple[ShownEdge, ...]
    """In the order in which they came first."""


class ShownLeader(msgspec.Struct, frozen=True, kw_only=True):
    """The one of several centres that closes, rates, reports and tells."""

    name: str
    """Its host and process; empty where none leads at the moment."""
    is_here: bool
    """Whether it is the one that answers."""
    election: int
    """Its number; each is higher than those before."""
    since: str
    """When it was elected, by the database's clock."""
    since_ms: int


class Forwarding(msgspec.Struct, frozen=True, kw_only=True):
    """How an edge fares with its centre."""

    centre: str
    edge: str
    """The id of this ledger."""
    name: str
    connected: bool
    acked_batch: int | None
    """Up to here all is at the centre; ``None`` before it first said so."""
    acked: str | None
    """When the centre last acked anything, by our clock."""
    acked_ms: int | None
    behind: int
    """Batches that were not there yet at the last heartbeat."""
    low: str | None
    """All events from before are there."""
    low_ms: int
    filed: str | None
    """When the last event was stored that is in a file; ``None``: none is, or there is
    no ``archive.url``."""
    filed_ms: int
    clock_ms: int
    """The centre's clock, less ours."""
    trouble: str | None
    """Why nothing is sent at the moment."""
