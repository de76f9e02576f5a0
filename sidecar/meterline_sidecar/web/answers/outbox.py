"""What the API answers about the outbox, and about the comparison with Stripe."""

import msgspec

from meterline_sidecar.decimals import Number
from meterline_sidecar.problems.problem import Found
from meterline_sidecar.store.outbox import State
from meterline_sidecar.store.stripe_calls import CallState, Step
from meterline_sidecar.stripe.comparison import (
    ByHand,
    ReconciledInvoice,
    ReconciledSeries,
)


class ShownRow(msgspec.Struct, frozen=True, kw_only=True):
    """One part of one hour of a customer's usage, as Stripe is told."""

    id: int
    state: State
    customer: str
    stripe_customer: str | None
    meter: str
    event_name: str
    mode: str
    hour: str
    part: int
    value: Number
    identifier: str
    idempotency_key: str
    """Under which it was sent last, or goes next."""
    attempts: int
    last_sent: str | None
    in_doubt_since: str | None
    request_id: str | None
    reason: str | None
    replaced_by: int | None


class OutboxPage(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of the outbox, a page of them."""

    mode: str
    """``dry_run``: nothing is sent."""
    rows: list[ShownRow]
    next_after: int | None


class ReportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The outbox after a run."""

    mode: str
    outbox: dict[State, int]
    problems: list[Found]


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger against Stripe's own totals."""

    start: str
    end: str
    is_equal: bool
    lines: list[ReconciledSeries]
    invoices: list[ReconciledInvoice] = []
    """Final invoices that are collected through Stripe, whose period ends in the span."""
    by_hand: list[ByHand] = []
    """What Stripe will not bill by itself, whether it knows of it or not."""


class ShownCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call by which Stripe is told of a final invoice."""

    step: Step
    what: str
    """The line or the credit note that it is of; empty of the invoice itself."""
    state: CallState
    attempts: int
    in_doubt_since: str | None
    stripe_id: str | None
    """What Stripe made of it."""
    reason: str | None


class InvoiceCalls(msgspec.Struct, frozen=True, kw_only=True):
    """What Stripe is told of one final invoice, in order."""

    invoice: str
    calls: tuple[ShownCall, ...]
    """Empty where it is not collected through Stripe."""
