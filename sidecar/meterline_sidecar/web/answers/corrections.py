"""What the API takes and answers about corrections."""

from typing import Any, Literal, cast

import msgspec

from meterline_sidecar.web.answers.money import MoneyChange

CorrectionKind = Literal["void", "amend", "add", "revert", "late"]


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

    @property
    def told(self) -> str:
        """What was asked for, in a line."""
        if self.reverts is not None:
            return f"correction {self.reverts} taken back"
        return ", ".join(f"{name} {_said(value)}" for name, value in self.asked.items())

    @property
    def state(self) -> str:
        """Whether it holds, in words."""
        if self.reverted_by is not None:
            return f"taken back by {self.reverted_by}"
        return "holds" if self.is_counted else "not counted yet"


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


def _said(value: object) -> str:
    match value:
        case dict():
            named = cast("dict[str, object]", value)
            return " ".join(f"{name}={_said(of)}" for name, of in named.items())
        case list():
            return " ".join(map(_said, cast("list[object]", value)))
        case _:
            return str(value)
