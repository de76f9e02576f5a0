"""What the API answers about the archive."""

from collections.abc import Sequence

import msgspec


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file that holds events which left the ledger."""

    file: str
    bytes: int
    digest: str
    """SHA-256 of the file, in hex."""
    first_batch: int
    last_batch: int
    first_event: int
    last_event: int
    events: int
    losses: int
    start: str | None
    end: str | None
    """The span of the events that count; ``null`` where none of them does."""
    moved: str


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """What is away, a page of its files, and what holds up the rest."""

    place: str | None
    """Where files lie; ``null`` where the configuration says none."""
    retention: str | None
    """How long events stay in the ledger; ``null``: for ever."""
    files: int
    events: int
    bytes: int
    page: list[ArchiveFile]
    """In the order of the chain."""
    next_after: int | None
    waits: str | None
    """Why something that is old enough stays, as it was found last."""
    trouble: str | None
    """Why a file cannot be written."""
    edge_files: int = 0
    """How many files of edges are noted; at an edge, its own."""
    edges_place: str | None = None
    """Where this centre reads the files of its edges; ``null``: nowhere."""
    unreadable: str | None = None
    """Which files are not where they were put, as it was found last."""


class ArchiveStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did: each moves one file."""

    moved: ArchiveFile | None
    """``null``: nothing was left to do."""
    is_done: bool
    """Whether another step would do nothing."""
    waits: str | None
    is_copy: bool = False
    """Whether what is in the file is in the ledger still: at an edge."""


class EdgeFiled(msgspec.Struct, frozen=True, kw_only=True):
    """How far the raw events of an edge that forwards usage are in files."""

    edge: str
    files: tuple[str, ...]
    """The first 20 that hold some of the time that was asked for."""
    filed_to: str | None
    """When the last was stored there that is in a file; what came later is only there.
    ``null``: so is all of it."""


def left_for(files: Sequence[str]) -> str:
    """Return in words where events of a time are, and how they come back.

    Args:
        files: those that hold them, the oldest first: with it all newer ones come back.
    """
    return (
        f"events of this time left the ledger for {', '.join(files)};"
        f" `meterline archive restore {files[0]}` brings them back"
    )
