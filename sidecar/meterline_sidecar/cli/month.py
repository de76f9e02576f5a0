"""A month's documents for an accountant: tables that add up, and each document.

Called by whoever closes a month; it only reads. A document that is there already is not
written again, unless something of it was paid, credited or made void since: the time of
its file is that of the last thing that happened to it. A command that was stopped goes on.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from meterline_sidecar.cli.client import PAGE, Client
from meterline_sidecar.cli.papers import document_path
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.decimals import added, subtracted
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.pdf import pdf_of
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.web.answers.documents import DocumentAnswer, DocumentPage
from meterline_sidecar.web.documents import focus, sheet

LINES: Final = "lines.csv"
TOTALS: Final = "totals.csv"
FOCUS: Final = "focus.csv"
TAXES: Final = "taxes.csv"
DOCUMENTS: Final = "documents"
TOTAL_COLUMNS: Final = (
    *("document", "kind", "customer", "customer_name", "period", "issued", "due"),
    *("currency", "net", "tax", "total", "adjustments", "amount", "credits"),
    *("adjustments_tax", *sheet.ABOUT_INVOICE),
)
"""``total`` is net with tax, less what credits paid; ``amount`` is that with adjustments:
what is due by the document. They only ever get more, at the end."""
TAX_COLUMNS: Final = (
    *("document", "kind", "customer", "customer_name", "period", "issued", "due"),
    *("currency", "tax", "percent", "base", "amount"),
    *sheet.ABOUT_INVOICE,
)
"""A tax of a document with its adjustments: what it is taken of, and what it comes to."""
ZERO: Final = Decimal(0)
NS: Final = 1_000_000
"""In a millisecond."""
Row = dict[str, object]


class Exported(NamedTuple):
    """What was written."""

    n_documents: int
    due: dict[str, Decimal]
    """By currency, all documents together."""


class _Table:
    """A file of rows, with what they add up to by currency.

    Args:
        amount: the columns of a row's currency and amount.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], *, amount: tuple[str, str]
    ) -> None:
        self.name = path.name
        self.sums: dict[str, Decimal] = defaultdict(Decimal)
        self._amount = amount
        self._file = path.open("w", encoding="utf-8", newline="")
        self._out = csv.DictWriter(self._file, columns, restval="")
        self._out.writeheader()

    def __enter__(self) -> Self:
        """Return this table."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close its file."""
        self._file.close()

    def add(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Write rows; a charge is a part of another row, and adds nothing."""
        currency, amount = self._amount
        for row in rows:
            self._out.writerow(row)
            if row.get("row") != "charge":
                of = str(row[currency]).lower()
                self.sums[of] = added(self.sums[of], Decimal(str(row[amount])))


def export_month(
    client: Client, folder: Path, *, period: str, documents: Literal["pdf", "html"]
) -> Exported:
    """Write all that was invoiced and credited for a period into a folder.

    Args:
        documents: what each of them is written as, into the folder ``documents``.

    Raises:
        NotInstalled: PDF files cannot be made here.
        MeterlineError: the tables do not agree; they are to be thrown away.
    """
    papers = folder / DOCUMENTS
    papers.mkdir(parents=True, exist_ok=True)
    amount = ("currency", "amount")
    n_documents = 0
    credited: dict[str, str] = {}  # when invoices were last credited; notes come first
    with (
        _Table(folder / LINES, sheet.COLUMNS, amount=amount) as lines,
        _Table(folder / TOTALS, TOTAL_COLUMNS, amount=amount) as totals,
        _Table(folder / FOCUS, focus.COLUMNS, amount=focus.AMOUNT) as in_columns,
        _Table(folder / TAXES, TAX_COLUMNS, amount=amount) as taxes,
    ):
        for shown in _documents(client, period):
            n_documents += 1
            lines.add(sheet.rows_of(shown))
            totals.add(_totals(shown))
            in_columns.add(focus.focus_rows(shown))
            taxes.add(_taxes(shown))
            credited.setdefault(shown.invoice, shown.issued_time)
            changed = parse_time_ms(_changed(shown, credited[shown.invoice]))
            _write(client, papers, shown.number, documents, changed_ms=changed)
    for table in (lines, in_columns):
        _check(table, totals)
    return Exported(n_documents, dict(totals.sums))


def _documents(client: Client, period: str) -> Iterator[DocumentAnswer]:
    """Yield the documents of a period, the newest first."""
    before: int | None = None
    while True:
        page = client.get(
            "/v1/invoices", DocumentPage, period=period, before=before, limit=PAGE
        )
        for entry in page.documents:
            yield client.get(document_path(entry.number), DocumentAnswer)
        before = page.next_before
        if before is None:
            return


def _totals(shown: DocumentAnswer) -> Iterator[Row]:
    """Yield a row for what is due in each currency."""
    about = sheet.about_of(shown)
    if shown.bill is not None:
        adjusted: dict[str, Decimal] = defaultdict(Decimal)
        for found in shown.bill.adjustments:
            adjusted[found.currency] = added(adjusted[found.currency], found.amount)
        taxes = {one.currency: one.tax for one in shown.breakdown}
        yield about | _total(
            shown.currency,
            net=shown.bill.net,
            tax=shown.bill.tax,
            total=shown.bill.total,
            adjustments=adjusted[shown.currency],
            adjustments_tax=subtracted(taxes[shown.currency], shown.bill.tax),
        )
        for owed in shown.also_due:
            yield about | _total(
                owed.currency,
                adjustments=adjusted[owed.currency],
                adjustments_tax=taxes[owed.currency],
            )
    elif shown.breakdown:
        for one in shown.breakdown:
            yield about | _total(
                one.currency,
                net=one.net,
                tax=one.tax,
                total=subtracted(one.amount, one.adjustments),
                adjustments=one.adjustments,
            )
    else:  # a credit note that is older than what it says of that
        yield about | _total(shown.currency, net=shown.amount, total=shown.amount)
        for owed in shown.also_due:
            yield about | _total(owed.currency, adjustments=owed.amount)


def _total(
    currency: str,
    *,
    net: Decimal = ZERO,
    tax: Decimal = ZERO,
    total: Decimal = ZERO,
    adjustments: Decimal = ZERO,
    adjustments_tax: Decimal = ZERO,
) -> Row:
    amounts = {
        "net": net,
        "tax": tax,
        "total": total,
        "adjustments": adjustments,
        "amount": added(total, adjustments),
        "credits": subtracted(total, added(net, tax)),
        "adjustments_tax": adjustments_tax,
    }
    row: Row = {name: f"{amount:f}" for name, amount in amounts.items()}
    return row | {"currency": currency}


def _taxes(shown: DocumentAnswer) -> Iterator[Row]:
    """Yield a row for each tax."""
    about = sheet.about_of(shown)
    for one in shown.breakdown:
        for tax in one.taxes:
            yield about | {
                "currency": one.currency,
                "tax": csv_cell(tax.title),
                "percent": "" if tax.percent is None else f"{tax.percent:f}",
                "base": "" if tax.base is None else f"{tax.base:f}",
                "amount": f"{tax.amount:f}",
            }


def _changed(shown: DocumentAnswer, credited: str) -> str:
    """Return when what a document says last changed.

    Args:
        credited: when a credit note to the invoice was last issued, if one was.
    """
    if shown.kind == "credit_note":
        return shown.issued_time
    steps = (step.at for step in shown.steps)
    paid = (payment.recorded for payment in shown.payments)
    return max(shown.issued_time, credited, *steps, *paid)


def _write(
    client: Client,
    folder: Path,
    number: str,
    kind: Literal["pdf", "html"],
    *,
    changed_ms: int,
) -> None:
    """Write a document, unless it is there as it is now."""
    path = folder / f"{number}.{kind}"
    if path.exists() and path.stat().st_mtime_ns // NS == changed_ms:
        return
    html = client.download(document_path(number, ".html"))
    begun = path.with_suffix(".begun")
    begun.write_bytes(pdf_of(html.decode()) if kind == "pdf" else html)
    os.utime(begun, ns=(changed_ms * NS, changed_ms * NS))
    begun.replace(path)


def _check(table: _Table, totals: _Table) -> None:
    for currency, due in totals.sums.items():
        if table.sums[currency] != due:
            raise MeterlineError(
                f"{table.name} adds up to {table.sums[currency]} {currency}, and"
                f" {totals.name} to {due}: this is a bug; do not use these files"
            )
