"""What the API answers about raw events of edges, and the files that hold them."""

import msgspec

from meterline_sidecar.decimals import Number
from meterline_sidecar.web.answers.archive import ArchiveFile, EdgeFiled
from meterline_sidecar.web.answers.events import ShownEvent


class EdgeFile(ArchiveFile, frozen=True, kw_only=True):
    """A file that an edge wrote of events that are in its ledger."""

    edge: str | None
    """Which edge; ``null``: this sidecar itself."""
    learned: str
    """When its last batch was stored there."""


class EdgeFilePage(msgspec.Struct, frozen=True, kw_only=True):
    """Files of edges in the order in which they are noted here, a page of them."""

    files: list[EdgeFile]
    next_after: int | None


class EdgeEvent(ShownEvent, frozen=True, kw_only=True):
    """A raw event of an edge; its id is the one that it has there."""

    file: str
    counted: Number | None = None
    """What a line counts of it, where one was asked for."""


class EdgeEventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Raw events of edges, file by file, a page of them. It may be empty, and not the
    last."""

    events: tuple[EdgeEvent, ...]
    next_after: int | None
    edges: tuple[EdgeFiled, ...]
    """All that forward usage."""
