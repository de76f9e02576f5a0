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

    file: str | None
    """``null``: in none yet, the edge was asked for it."""
    counted: Number | None = None
    """What a line counts of it, where one was asked for."""


class Untold(msgspec.Struct, frozen=True, kw_only=True):
    """What is not listed of an edge."""

    edge: str
    why: str
    is_filed: bool = False
    """`true`: all from a file on, which `why` names; `false`: what it has in no file."""


class EdgeEventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Raw events of edges, edge by edge: file by file, then those that are in none. It
    may be empty, and not the last page."""

    events: tuple[EdgeEvent, ...]
    next_after: int | None
    edges: tuple[EdgeFiled, ...]
    """All that forward usage."""
    untold: tuple[Untold, ...] = ()
    """Those whose turn came on this page, and of which not all is listed."""
