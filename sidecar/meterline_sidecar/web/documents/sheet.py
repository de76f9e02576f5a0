"""A document as a table for spreadsheets: exact decimals, and no formulas."""

import csv
import io
from decimal import Decimal
from typing import Final

from meterline_sidecar.decimals import readable
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.web.answers.documents import DocumentAnswer, DocumentLine
from meterline_sidecar.web.answers.invoices import ShownAdjustment

COLUMNS: Final = (
    *("document", "kind", "customer", "customer_name", "period", "issued", "due"),
    *("row", "line", "adjusts", "meter", "unit", "tier", "quantity", "unit_amount"),
    *("amount", "currency", "explanation"),
)
"""They only ever get more, at the end."""
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
        rows.append(_of_credit(shown))
    else:
        for line in shown.bill.lines:
            rows += _of_line(line, shown.currency)
        rows += map(_of_adjustment, shown.bill.adjustments)
    about = about_of(shown)
    return [about | row for row in rows]


def about_of(shown: DocumentAnswer) -> Row:
    """Return what each row about a document begins with."""
    return {
        "document": csv_cell(shown.number),
        "kind": shown.kind,
        "customer": csv_cell(shown.customer),
        "customer_name": csv_cell(shown.customer_name),
        "period": shown.period,
        "issued": shown.issued,
        "due": "" if shown.due is None else shown.due,
    }


def _of_credit(shown: DocumentAnswer) -> Row:
    return {
        "row": "credit_note",
        "line": csv_cell(f"Credit of {shown.invoice}"),
        "amount": _exact(shown.amount),
        "currency": shown.currency,
        "explanation": csv_cell(shown.reason),
    }


def _of_adjustment(found: ShownAdjustment) -> Row:
    return {
        "row": "adjustment",
        "line": f"Adjustment of {found.period}",
        "adjusts": found.period,
        "amount": _exact(found.amount),
        "currency": found.currency,
        "explanation": f"was {found.billed:f}, is {found.now:f}",
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
