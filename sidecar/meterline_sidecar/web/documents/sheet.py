"""A document as a table for spreadsheets: exact decimals, and no formulas."""

import csv
import io
from decimal import Decimal
from typing import Final

from meterline_pricing.tools import currency_of, money_text, number_text
from meterline_sidecar.decimals import readable
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.web.answers.documents import DocumentAnswer, DocumentLine
from meterline_sidecar.web.answers.invoices import ShownAdjustment
from meterline_sidecar.web.answers.money import ShownTax

ABOUT_INVOICE: Final = ("invoice", "invoice_state", "credit_notes")
"""The invoice that a document is or credits, what became of it, and what credits it: of
one that is void and was invoiced again, with its credit notes, nothing is left to count."""
COLUMNS: Final = (
    *("document", "kind", "customer", "customer_name", "period", "issued", "due"),
    *("row", "line", "adjusts", "meter", "unit", "tier", "quantity", "unit_amount"),
    *("amount", "currency", "explanation"),
    *ABOUT_INVOICE,
)
"""They only ever get more, at the end."""
CREDITS: Final = "Paid by credits"
ADJUSTMENTS: Final = "Adjustments of earlier periods"
Row = dict[str, object]


def csv_of(shown: DocumentAnswer) -> str:
    """Return a document as CSV, with its header."""
    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS, restval="")
    table.writeheader()
    table.writerows(rows_of(shown))
    return out.getvalue()


def rows_of(shown: DocumentAnswer) -> list[Row]:
    """Return a document's rows.

    What stands in rows called ``line``, ``tax``, ``adjustment`` and ``credit_note``
    adds up, by currency, to what is due. A ``charge`` is a part of the line above it,
    before that is rounded.
    """
    rows: list[Row] = []
    if shown.bill is None:
        rows += _of_credit(shown)
    else:
        for line in shown.bill.lines:
            rows += _of_line(line, shown.currency)
        rows += map(_of_adjustment, shown.bill.adjustments)
    about = about_of(shown)
    return [about | row for row in rows]


def about_of(shown: DocumentAnswer) -> Row:
    """Return what each row about a document has."""
    return {
        "document": csv_cell(shown.number),
        "kind": shown.kind,
        "customer": csv_cell(shown.customer),
        "customer_name": csv_cell(shown.customer_name),
        "period": shown.period,
        "issued": shown.issued,
        "due": "" if shown.due is None else shown.due,
        "invoice": csv_cell(shown.invoice),
        "invoice_state": shown.invoice_state,
        "credit_notes": csv_cell(" ".join(shown.credit_notes)),
    }


def _of_credit(shown: DocumentAnswer) -> list[Row]:
    """Return the rows of a credit note: its net, and all else that it takes back."""
    title = csv_cell(f"Credit of {shown.invoice}")
    reason = csv_cell(shown.reason)
    found: list[tuple[str, str, Decimal, str, str]] = []
    for one in shown.breakdown:
        currency = one.currency
        found.append(("credit_note", title, one.net, currency, reason))
        for tax in one.taxes:
            words = tax_words(tax, currency)
            found.append(("tax", csv_cell(tax.title), tax.amount, currency, words))
        if one.credits:
            found.append(("line", CREDITS, one.credits, currency, ""))
        if one.adjustments:
            found.append(("adjustment", ADJUSTMENTS, one.adjustments, currency, ""))
    if not shown.breakdown:  # older than what it says of that
        found = [
            ("credit_note", title, amount, currency, reason)
            for amount, currency in (
                (shown.amount, shown.currency),
                *((owed.amount, owed.currency) for owed in shown.also_due),
            )
        ]
    return [
        {
            "row": row,
            "line": line,
            "amount": _exact(amount),
            "currency": currency,
            "explanation": words,
        }
        for row, line, amount, currency, words in found
    ]


def tax_words(tax: ShownTax, currency: str) -> str:
    """Return how a tax came about, as an invoice says it: ``19% of -$4.20``."""
    if tax.percent is None or tax.base is None:
        return ""
    base = money_text(tax.base, currency_of(currency))
    return f"{number_text(tax.percent)}% of {base}"


def _of_adjustment(found: ShownAdjustment) -> Row:
    taxes = "".join(
        f"; {tax.title} {_exact(tax.amount)}"
        for tax in (() if found.breakdown is None else found.breakdown.taxes)
    )
    return {
        "row": "adjustment",
        "line": f"Adjustment of {found.period}",
        "adjusts": found.period,
        "amount": _exact(found.amount),
        "currency": found.currency,
        "explanation": csv_cell(f"was {found.billed:f}, is {found.now:f}{taxes}"),
    }


def _of_line(line: DocumentLine, currency: str) -> list[Row]:
    shared: Row = {
        "line": csv_cell(line.title),
        "meter": csv_cell(line.meter or ""),
        "currency": currency,
    }
    whole: Row = {
        "row": "tax" if line.kind == "tax" else "line",
        "unit": csv_cell(line.unit),
        "quantity": "" if line.quantity is None else _exact(line.quantity),
        "amount": _exact(line.amount),
        "explanation": csv_cell("; ".join(line.words)),
    }
    charges: list[Row] = [
        {
            "row": "charge",
            "tier": "" if charge.tier is None else charge.tier,
            "quantity": "" if charge.quantity is None else _exact(charge.quantity),
            "unit_amount": ""
            if charge.unit_amount is None
            else _exact(charge.unit_amount),
            "amount": _exact(charge.amount),
            "explanation": csv_cell(readable(charge.explanation)),
        }
        for charge in line.charges
    ]
    return [shared | row for row in (whole, *charges)]


def _exact(number: Decimal) -> str:
    """Return a number with all its digits, and never as 1E+3."""
    return f"{number:f}"
