"""What the API takes and answers about imports: files of events that are read in."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.decimals import Number
from meterline_sidecar.store.edge.imports import State
from meterline_sidecar.web.answers.money import MoneyChange

ImportName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[\w.:@-]+$",
        description="What whoever began an import calls it.",
    ),
]


class NewImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An import to begin, or to go on with."""

    name: ImportName
    file: Annotated[str, Meta(min_length=1, max_length=200)]
    """What the file is called, for people."""
    reason: Annotated[str, Meta(max_length=500)] = ""


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is left out."""

    line: int
    verdict: Literal["refused", "conflict"]
    """``refused``: it can never be taken as it is. ``conflict``: its id is that of
    another event, which stays."""
    source: str | None
    id: str | None
    field: str | None
    """Which field of the event the reason is about."""
    reason: str


class ShownImport(msgspec.Struct, frozen=True, kw_only=True):
    """An import, how far it is, and what it came to."""

    name: str
    file: str
    state: State
    """``loading``: the file is not whole yet; ``staged``: it is kept aside;
    ``committing``: its events are being counted; ``committed`` and ``discarded``: it is
    over."""
    since: str
    """When it came to this state."""
    begun: str
    author: str
    """Who began it."""
    decided_by: str
    """Who brought it to this state."""
    reason: str
    lines: int
    events: int
    """That could be read."""
    bad: int
    """Lines that are left out because of what stands in them."""
    accepted: int
    """Events that are stored by now."""
    duplicates: int
    """Events that were stored before; they count once."""
    conflicts: int
    """Events whose id another one has; they are left out."""
    trouble: str | None
    """Why committing does not go on at the moment."""
    left_out: tuple[LeftOut, ...] = ()
    """The first 1,000 lines that are left out; empty in lists."""


class ImportPage(msgspec.Struct, frozen=True, kw_only=True):
    """Imports, the newest first."""

    page: tuple[ShownImport, ...]
    next_after: int | None


class LinesTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What lines of a file came to."""

    lines: int
    events: int
    bad: int
    is_known: bool
    """Whether they were there already."""


class ChangedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer's usage of a month is, and what it would be."""

    customer: str
    meter: str
    month: str
    """In UTC."""
    before: Number
    after: Number


class ImportDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What committing an import would change; nothing is changed yet."""

    name: str
    events: int
    """That would be accepted."""
    duplicates: int
    conflicts: int
    bad: int
    without_subject: int
    """Events that name nobody."""
    without_customer: int
    """Events whose subject nobody pays for, and those without one."""
    usage: tuple[ChangedUsage, ...]
    money: MoneyChange
