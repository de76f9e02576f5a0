"""What the API answers about documents: invoices and credit notes under numbers."""

from datetime import date
from decimal import Decimal
from typing import Literal

import msgspec

from meterline_pricing import Charge
from meterline_pricing.bill import Kind as LineKind
from meterline_sidecar.decimals import Number
from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.store.stripe_calls import CallState
from meterline_sidecar.web.answers.collection import InvoiceStep, ShownPayment
from meterline_sidecar.web.answers.invoices import ShownAdjustment
from meterline_sidecar.web.answers.money import ShownAges, ShownBreakdown, ShownOwed
from meterline_sidecar.web.answers.usage import ShownGroup, ShownPeriod

DocumentKind = Literal["invoice", "credit_note"]
DocumentState = Literal["final", "sent", "overdue", "paid", "uncollectible", "void"]
AccountKind = Literal["invoice", "credit_note", "payment", "refund"]


class ShownParty(msgspec.Struct, frozen=True, kw_only=True):
    """A seller or a buyer, as they stand on a document; empty where nobody knows."""

    name: str
    address: tuple[str, ...]
    """Line by line."""
    tax_id: str
    email: str


class DocumentAtStripe(msgspec.Struct, frozen=True, kw_only=True):
    """How far Stripe is told of a final invoice that it collects."""

    state: CallState
    """``done``: of all of it; ``held``: it waits for a person."""
    stripe_id: str | None
    """The invoice at Stripe; ``null`` until there is one."""
    reason: str | None
    """Why it goes no further, or not yet."""


class DocumentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A document in a list."""

    number: str
    kind: DocumentKind
    customer: str
    customer_name: str
    period: str
    currency: str
    amount: Decimal
    """What is due by it; of a credit note below zero."""
    also_due: tuple[ShownOwed, ...]
    """In other currencies, besides."""
    issued: date
    """In the time zone of the document, as every day of it."""
    due: date | None
    """``None`` of a credit note, and of an invoice that is older than documents."""
    state: State | None
    """Of an invoice; ``null`` of a credit note."""
    invoice: str
    """The number of the invoice that it is, or that it credits."""
    invoice_state: State
    """Of that invoice: ``void`` also of the credit notes that took it back."""
    is_overdue: bool
    """Whether an invoice should be paid by now, and is not."""
    left: tuple[ShownOwed, ...]
    """What of an invoice is still to be paid, by currency: below zero it is in the
    customer's favour."""
    breakdown: tuple[ShownBreakdown, ...]
    """Net, taxes and what they come to, by currency, its own first. Empty on a credit
    note that is older than this."""
    stripe: DocumentAtStripe | None
    """``null`` of a credit note, and of what is not collected through Stripe."""


class DocumentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Documents, a page of them, the newest first."""

    documents: list[DocumentEntry]
    next_before: int | None


class DocumentLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an invoice, as people read it."""

    kind: LineKind
    name: str
    title: str
    meter: str | None
    unit: str
    quantity: Decimal | None
    charges: tuple[Charge, ...]
    words: tuple[str, ...]
    """The charges in words, each with its tier, and a conversion or a rounding."""
    amount: Decimal
    is_idle: bool
    """Of a part of the period in which nothing was used and nothing is charged, where
    another part follows: documents for people leave it out."""


class DayQuantity(msgspec.Struct, frozen=True):
    """What was used on a day of the customer's calendar."""

    date: date
    quantity: Number | None
    """``None`` on a day without a value, where that is no 0."""


class AppendixMeter(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of a meter behind an invoice."""

    meter: str
    title: str
    unit: str
    shown_as: str
    """What the quantity is: the total, or the highest, lowest or last value."""
    quantity: Number
    """As it was invoiced."""
    days: tuple[DayQuantity, ...]
    """As it is counted now; empty of a meter that is not there any more."""
    counted: Number | None
    """What the days come to; ``None`` where they are not added up."""
    groups: tuple[ShownGroup, ...]
    """By what the meter is told apart, the largest first, as it was invoiced."""


class DocumentBill(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice is made of."""

    plan: str
    lines: tuple[DocumentLine, ...]
    """Taxes are lines as well."""
    adjustments: tuple[ShownAdjustment, ...]
    """Differences of earlier periods that were final."""
    subtotal: Decimal
    """Usage, fees, minimums and discounts: all but coupons, credits and tax."""
    coupons: Decimal
    credits: Decimal
    net: Decimal
    """Before taxes, and before what credits paid, unless they lower the taxes."""
    tax: Decimal
    total: Decimal
    """Of the lines; with the adjustments in its currency it is the amount."""
    accepted_gaps: tuple[str, ...]
    counted_up_to_event: int
    known_correction: int
    """The last correction that it knows, and with it all before; 0: none."""


class DocumentAnswer(DocumentEntry, frozen=True, kw_only=True):
    """An invoice or a credit note, whole."""

    issued_time: str
    seller: ShownParty
    payment: tuple[str, ...]
    """How to pay, line by line."""
    buyer: ShownParty
    time_zone: str
    span: ShownPeriod
    first_day: date
    last_day: date
    credit_notes: tuple[str, ...]
    """The numbers of those to this invoice."""
    reason: str
    """Why something is credited."""
    bill: DocumentBill | None
    """``None`` on a credit note."""
    appendix: tuple[AppendixMeter, ...] | None
    """``None`` where nobody asked for it."""
    steps: tuple[InvoiceStep, ...]
    """What became of the invoice, the first step first."""
    payments: tuple[ShownPayment, ...]
    """Of the invoice, in the order in which they were recorded."""


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a document or a payment changes about what a customer owes in a currency."""

    day: date
    number: str
    """Of the document, or of the invoice that was paid."""
    kind: AccountKind
    period: str
    due: date | None
    currency: str
    amount: Decimal
    """Below zero where it lowers what is owed."""
    balance: Decimal
    """What is owed in this currency after it."""
    reference: str
    """Of a payment, what the bank says."""
    breakdown: ShownBreakdown | None
    """What the amount of a document is made of; a payment has none."""


class AccountStatement(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's account: what was invoiced, credited and paid, in order."""

    customer: str
    customer_name: str
    locale: str | None
    """How amounts and days are written for the customer, such as ``de-DE``: their own
    or the seller's; here they are as ever."""
    brought_forward: tuple[ShownOwed, ...]
    """What was owed before the first entry that is shown, by currency."""
    entries: tuple[AccountEntry, ...]
    """The oldest first."""
    balances: tuple[ShownOwed, ...]
    """What is owed after the last one, by currency; currencies are never added up."""
    ages: tuple[ShownAges, ...]
    """What is left to pay of invoices, by how long it is overdue, on the customer's
    calendar; currencies are never added up."""
