"""What the API takes and answers about corrections."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.web.answers.money import MoneyChange

CorrectionKind = Literal["void", "amend", "add", "revert"]


class ShownCorrection(msgspec.Struct, frozen=True, kw_only=True):
    """What was corrected, by whom and why."""

    correction: int
    kind: CorrectionKind
    events: int
    """How many events it made void, stored, or let count again."""
    asked: dict[str, Any]
    """What was asked for."""
    reverts: int | None
    """The correction that it takes back."""
    reverted_by: int | None
    """The one that takes it back."""
    is_counted: bool
    """Whether usage knows it by now."""
    first_event: int
    """The first event that it stored; they end with its own."""
    event: int
    """Its own event: usage of the events up to there, and invoices made of it, know it."""
    corrected: str
    author: str
    reason: str
    key: str | None


class CorrectionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a correction did, or would do."""

    is_dry_run: bool
    """Nothing was corrected: this is what would be."""
    kind: CorrectionKind
    void: int
    """Events that do not count any more."""
    counting: int
    """Events that count again, or are new."""
    first: str | None
    last: str | None
    """The earliest and the latest time of these events."""
    money: MoneyChange | None
    """What periods would come to; only of a dry run."""
    correction: ShownCorrection | None
    """``null``: it was not made."""


class CorrectionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Corrections, the newest first."""

    corrections: tuple[ShownCorrection, ...]
    next_after: int | None
    """Where what is older goes on."""


Reason = Annotated[str, Meta(min_length=1, max_length=500, description="It is kept.")]
