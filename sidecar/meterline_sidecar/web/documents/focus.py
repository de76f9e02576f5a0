"""Documents as rows of FOCUS, the FinOps Open Cost and Usage Specification.

Every mandatory column of version 1.2, with ``InvoiceId``, ``ChargeFrequency`` and what
was consumed. What customers pay is all that is known here: there is no list price, and
nothing is amortized, so that all costs of a row are what was billed.

Source: focus.finops.org/focus-specification/v1-2, read 2026-11-26.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from meterline_pricing.bill import Kind
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.web.answers.documents import DocumentAnswer, DocumentLine
from meterline_sidecar.web.answers.invoices import ShownAdjustment
from meterline_sidecar.web.documents.sheet import ADJUSTMENTS, CREDITS

COLUMNS: Final = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"),
    *("ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost"),
    *("InvoiceId", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
    *("x_OriginalInvoiceId", "x_InvoiceState", "x_CreditNoteIds"),
)
"""They only ever get more, at the end. FOCUS has no column for what became of an invoice;
those of a provider's own begin with ``x_``."""
AMOUNT: Final = ("BillingCurrency", "BilledCost")
"""The columns by which rows add up."""
CATEGORIES: Final[Mapping[Kind, str]] = {
    "usage": "Usage",
    "overage": "Usage",
    "fee": "Purchase",
    "commitment": "Purchase",
    "minimum": "Adjustment",
    "maximum": "Adjustment",
    "discount": "Adjustment",
    "coupon": "Credit",
    "credit": "Credit",
    "tax": "Tax",
}
UNITS: Final = "Units"
UNNAMED: Final = "Seller"
"""Who sends it, where nobody said: no name in it may be empty."""
Row = dict[str, str]


def focus_rows(shown: DocumentAnswer) -> list[Row]:
    """Return a document's rows: their ``BilledCost`` adds up to what is due."""
    if shown.bill is None:
        return _of_credit(shown)
    lines = [
        _row(shown, line.amount, shown.currency, _of_line(line))
        for line in shown.bill.lines
    ]
    return lines + [
        _row(shown, found.amount, found.currency, _correction(_words(found)))
        for found in shown.bill.adjustments
    ]


def _of_credit(shown: DocumentAnswer) -> list[Row]:
    """Return the rows of a credit note: its net, and all else that it takes back."""
    whole = _correction(shown.reason)
    if not shown.breakdown:  # older than what it says of that
        owed = ((shown.amount, shown.currency),)
        others = ((one.amount, one.currency) for one in shown.also_due)
        return [
            _row(shown, amount, currency, whole)
            for amount, currency in (*owed, *others)
        ]
    found: list[Row] = []
    for one in shown.breakdown:
        currency = one.currency
        found.append(_row(shown, one.net, currency, whole))
        for tax in one.taxes:
            row = _correction(tax.title) | {"ChargeCategory": "Tax"}
            found.append(_row(shown, tax.amount, currency, row))
        if one.credits:
            row = _correction(CREDITS) | {"ChargeCategory": "Credit"}
            found.append(_row(shown, one.credits, currency, row))
        if one.adjustments:
            row = _correction(ADJUSTMENTS)
            found.append(_row(shown, one.adjustments, currency, row))
    return found


def _row(shown: DocumentAnswer, cost: Decimal, currency: str, more: Row) -> Row:
    seller = csv_cell(shown.seller.name or UNNAMED)
    start, end = (_time(text) for text in (shown.span.start_time, shown.span.end_time))
    plan = "" if shown.bill is None else shown.bill.plan
    return {
        **dict.fromkeys(COLUMNS, ""),
        **dict.fromkeys(
            ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), f"{cost:f}"
        ),
        **dict.fromkeys(("BillingPeriodStart", "ChargePeriodStart"), start),
        **dict.fromkeys(("BillingPeriodEnd", "ChargePeriodEnd"), end),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), seller),
        "BillingAccountId": csv_cell(shown.customer),
        "BillingAccountName": csv_cell(shown.customer_name),
        "BillingCurrency": currency.upper(),
        "InvoiceId": csv_cell(shown.number),
        "ServiceCategory": "Other",
        "ServiceName": csv_cell(plan or seller),
        "x_OriginalInvoiceId": csv_cell(shown.invoice),
        "x_InvoiceState": shown.invoice_state,
        "x_CreditNoteIds": csv_cell(" ".join(shown.credit_notes)),
        **more,
    }


def _of_line(line: DocumentLine) -> Row:
    category = CATEGORIES[line.kind]
    row = {
        "ChargeCategory": category,
        "ChargeDescription": csv_cell(line.title),
        "ChargeFrequency": "Usage-Based" if category == "Usage" else "Recurring",
    }
    if category not in ("Usage", "Purchase"):
        return row
    unit = csv_cell(line.unit or UNITS)
    quantity = "1" if line.quantity is None else f"{line.quantity:f}"
    row |= {"PricingQuantity": quantity, "PricingUnit": unit}
    if line.quantity is not None and category == "Usage":
        row |= {"ConsumedQuantity": quantity, "ConsumedUnit": unit}
    return row


def _correction(words: str) -> Row:
    return {
        "ChargeCategory": "Adjustment",
        "ChargeClass": "Correction",
        "ChargeDescription": csv_cell(words),
        "ChargeFrequency": "One-Time",
    }


def _words(found: ShownAdjustment) -> str:
    return f"Adjustment of {found.period}"


def _time(text: str) -> str:
    """Return a time as FOCUS writes it: to the second."""
    return f"{text[:19]}Z"
