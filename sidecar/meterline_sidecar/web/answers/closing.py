"""What the API answers about closing periods."""

from decimal import Decimal

import msgspec

from meterline_sidecar.web.answers.money import ShownAges, ShownBreakdown, ShownOwed


class OpenPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """A period that is over and not final."""

    customer: str
    period: str
    ended: str
    grace_ends: str | None
    """``null``: it is over."""
    why: str | None
    """Why it is not final, and what to do; ``null`` while it waits for its grace."""


class ClosedPeriod(msgspec.Struct, frozen=True, kw_only=True):
    """A period that became final, or would."""

    customer: str
    period: str
    due: Decimal
    currency: str


class CloseRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of closing has come to so far."""

    number: int
    """Counted from the start of the sidecar."""
    author: str
    """``schedule``: nobody asked for it."""
    period: str | None
    customer: str | None
    is_dry: bool
    started: str
    ended: str | None
    """``null`` while it goes on."""
    due: int
    """How many periods were found that are to become final."""
    closed: int
    totals: tuple[ShownOwed, ...]
    """What the invoices of these come to."""
    invoices: tuple[ClosedPeriod, ...]
    """The first thousand of them."""
    n_held: int
    held: tuple[OpenPeriod, ...]
    """The first thousand that could not become final."""
    error: str | None
    """Why it ended early."""


class CloseState(msgspec.Struct, frozen=True, kw_only=True):
    """How closing stands."""

    is_automatic: bool
    grace_hours: int
    """Where no rule says otherwise."""
    running: CloseRun | None
    asked: CloseRun | None
    """The last one that somebody asked for, once it has ended."""
    automatic: CloseRun | None
    """The last one by itself that made anything final."""
    n_in_grace: int
    in_grace: tuple[OpenPeriod, ...]
    n_held: int
    held: tuple[OpenPeriod, ...]
    """What should have become final by itself, and what is left to people; the first
    thousand, as above."""


class ShownHeap(msgspec.Struct, frozen=True, kw_only=True):
    """Invoices of a month that stand alike."""

    state: str
    """`final`, `sent`, `overdue`, `paid`, `uncollectible` or `void`."""
    invoices: int
    amounts: tuple[ShownOwed, ...]
    """By currency: what is left to pay, where that is waited for; else what they are."""


class CollectedMonth(msgspec.Struct, frozen=True, kw_only=True):
    """How the invoices of one month stand."""

    period: str
    states: tuple[ShownHeap, ...]
    documents: tuple[ShownBreakdown, ...] | None
    """What all documents come to, by currency, and what that is made of: net, taxes, what
    credits paid. ``null``: it is still added up; ask again."""


class CollectedMonths(msgspec.Struct, frozen=True, kw_only=True):
    """How the invoices of the last months stand, the newest first."""

    months: tuple[CollectedMonth, ...]
    ages: tuple[ShownAges, ...]
    """What is left to pay of the final and sent invoices of these months, by how long it
    is overdue, each on its customer's calendar; currencies are never added up."""
