"""What the API answers about how an invoice came about."""

from decimal import Decimal
from typing import Any, Literal

import msgspec

from meterline_pricing import Charge
from meterline_sidecar.decimals import Number
from meterline_sidecar.web.answers.archive import EdgeFiled
from meterline_sidecar.web.answers.collection import InvoiceStep
from meterline_sidecar.web.answers.events import ShownEvent
from meterline_sidecar.web.answers.invoices import ShownAdjustment
from meterline_sidecar.web.answers.money import ShownOwed
from meterline_sidecar.web.answers.usage import ShownPeriod


class UsedOnDay(msgspec.Struct, frozen=True, kw_only=True):
    """What was used on one day of the customer's calendar."""

    date: str
    start: str
    """Where it begins within the time of its line."""
    end: str
    quantity: Number


class UsedBySubject(msgspec.Struct, frozen=True, kw_only=True):
    """What one subject used."""

    subject: str
    quantity: Number


class UsedInWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What was used in a window of 15 minutes, or in the part of one that was theirs."""

    start: str
    quantity: Number


class LineEvents(msgspec.Struct, frozen=True, kw_only=True):
    """The events that a line was counted from."""

    n_events: int | None
    """How many, where the meter counts events; else nobody knows without reading them."""
    first: int | None
    """`null` where it left for the archive, or is not found soon."""
    last: int | None
    late_after: int
    """What was learned behind this event came when the period was over."""
    late_hours: int
    """In how many hours of the period events came so late."""
    list: str
    """The path of the API that lists exactly these, page by page."""


class LineEvent(ShownEvent, frozen=True, kw_only=True):
    """An event, and what a line counts of it."""

    counted: Number
    """Of one that counts different values, 1."""


class LineEventPage(msgspec.Struct, frozen=True, kw_only=True):
    """The events that a line was counted from, a page of them."""

    customer: str
    period: str
    line: str
    meter: str
    up_to_event: int
    """The last that is counted, whoever's it was."""
    events: tuple[LineEvent, ...]
    next_after: int | None
    archived: tuple[str, ...]
    """The first files of the archive that hold events of this time."""
    edges: tuple[EdgeFiled, ...] = ()
    """Where raw events are of which only usage came here."""


class ExplainedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line, and what stands behind it."""

    line: str
    ref: str
    """What to ask for it by: its name, or its number on the invoice where others have
    that name."""
    description: str
    """What people call it."""
    kind: str
    quantity: Decimal | None
    """What was billed."""
    amount: Decimal
    explanation: str
    charges: tuple[Charge, ...]
    """The tiers, and what else makes it up."""
    meter: dict[str, Any] | None
    """What its meter counts, as in ``meterline.toml``."""
    counted_now: Number | None
    """What is counted by now; another number than ``quantity`` where events of a final
    period came later. ``null`` where that is not added up."""
    days: tuple[UsedOnDay, ...]
    """Only those on which something was used."""
    subjects: tuple[UsedBySubject, ...]
    """The 50 that used most."""
    n_subjects: int
    windows: tuple[UsedInWindow, ...]
    """Those of the day that was asked for."""
    events: LineEvents | None
    """`null` where more than one line is asked for, or nothing is counted."""


class PlanPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the period, and the plan that held in it."""

    start: str
    end: str
    plan: str | None
    version: int | None


class EventsBehind(msgspec.Struct, frozen=True, kw_only=True):
    """The raw events of the period."""

    first: int | None
    """The first of this customer that is in the ledger."""
    last: int | None
    """The last one that is counted."""
    list: str
    """The path of the API that lists them, page by page."""
    archived: tuple[str, ...]
    """The first files of the archive that hold some of them."""
    edges: tuple[EdgeFiled, ...] = ()
    """Where raw events are of which only usage came here."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Where the ledger's chains have what the invoice was made from."""

    event: int
    """The last that it counts, whoever's it was."""
    batch: int
    batch_mac: str
    """The link of the chain over all events up to there, in hex."""
    journal_link: int | None
    """``null`` for a draft."""
    journal_mac: str | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How an invoice came about, from its lines down to the events."""

    number: str | None
    """Of its document; ``null`` for a draft."""
    customer: str
    customer_name: str
    period: ShownPeriod
    time_zone: str
    """The customer's, by which days begin."""
    status: Literal["draft", "final"]
    currency: str
    due: Decimal
    counted_up_to_event: int
    parts: tuple[PlanPart, ...]
    lines: tuple[ExplainedLine, ...]
    adjustments: tuple[ShownAdjustment, ...]
    """What it bills of earlier periods, which `meterline explain CUSTOMER --period PERIOD`
    explains; none where one line is asked for."""
    billed_elsewhere: tuple[ShownOwed, ...]
    """What other invoices have billed of the final period, as adjustments, by currency."""
    pending: Decimal | None
    """What the final period came to since, and no invoice has billed; ``null`` for
    nothing."""
    steps: tuple[InvoiceStep, ...]
    events: EventsBehind
    proof: Proof | None
    """``null`` where that event left for the archive, or there is none."""
