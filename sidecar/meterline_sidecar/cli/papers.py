"""Invoices and credit notes by their numbers: on a terminal, and as files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import NotFound
from meterline_sidecar.cli.output import money, quantity
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.pdf import pdf_of
from meterline_sidecar.web.answers.documents import (
    DocumentAnswer,
    DocumentBill,
    DocumentPage,
)

NUMBER: Final = re.compile(r".*\D\d+")
"""What a number of a document looks like; customers may be called so as well."""


def document_path(number: str, ending: str = "") -> str:
    """Return where a document is, or a file of it."""
    return f"/v1/invoices/{quote(number, safe='')}{ending}"


def find_document(
    client: Client, target: str, *, is_with_usage: bool
) -> DocumentAnswer | None:
    """Return the document of that number; ``None``: it is none, but maybe a customer."""
    if not NUMBER.fullmatch(target):
        return None
    try:
        return client.get(
            document_path(target), DocumentAnswer, appendix=_flag(is_with_usage)
        )
    except NotFound:
        return None


def number_of_final(client: Client, customer: str, period: str | None) -> str:
    """Return the number of a customer's final invoice; by default of the newest.

    Raises:
        NotFound: there is none; the text says what to do.
    """
    found = client.get(
        "/v1/invoices",
        DocumentPage,
        customer=customer,
        period=period,
        kind="invoice",
        limit=1,
    )
    if not found.documents:
        when = "" if period is None else f" for {period}"
        raise NotFound(
            f"there is no document {customer!r}, and no final invoice of such a"
            f" customer{when}: only what is final has a number; see `meterline invoice"
            " CUSTOMER --period PERIOD --finalize`"
        )
    return found.documents[0].number


def write_files(
    client: Client, number: str, files: Mapping[str, Path], *, is_with_usage: bool
) -> None:
    """Write files of a document.

    Args:
        files: by what they are: ``pdf``, ``html``, ``csv``.

    Raises:
        NotInstalled: a PDF cannot be made here.
    """
    for kind, path in files.items():
        appendix = None if kind == "csv" else _flag(is_with_usage)
        # A PDF is made here: the sidecar has better things to do.
        ending = ".csv" if kind == "csv" else ".html"
        content = client.download(document_path(number, ending), appendix=appendix)
        path.write_bytes(pdf_of(content.decode()) if kind == "pdf" else content)


def _flag(is_set: bool) -> str | None:
    return "true" if is_set else None


def tell_document(shown: DocumentAnswer) -> None:
    """Print a document for people."""
    what = "credit note" if shown.kind == "credit_note" else "invoice"
    due = "" if shown.due is None else f", due {shown.due}"
    click.echo(
        f"{shown.customer_name}: {what} {shown.number} of {shown.issued}{due},"
        f" for {shown.first_day} to {shown.last_day}\n"
    )
    table = Table("line", ">quantity", ">amount")
    if shown.bill is None:
        table.add(f"credit of {shown.invoice}", "", money(shown.amount, shown.currency))
        table.add(f"  {shown.reason}", "", "")
    else:
        _add_bill(table, shown.bill, shown.currency)
    table.add("due", "", money(shown.amount, shown.currency))
    for owed in shown.also_due:
        table.add("also due", "", money(owed.amount, owed.currency))
    show(table)
    if shown.credit_notes:
        click.echo(f"\ncredited by {', '.join(shown.credit_notes)}")
    for meter in shown.appendix or ():
        click.echo(f"\n{meter.title}: {quantity(meter.quantity, meter.unit)}")
        usage = Table("", ">quantity")
        for group in meter.groups:
            usage.add(", ".join(group.labels.values()), quantity(group.quantity))
        for day in meter.days:
            usage.add(
                str(day.date), "" if day.quantity is None else quantity(day.quantity)
            )
        show(usage)


def _add_bill(table: Table, bill: DocumentBill, currency: str) -> None:
    for line in bill.lines:
        used = "" if line.quantity is None else quantity(line.quantity, line.unit)
        table.add(line.title, used, money(line.amount, currency))
        for text in line.words:
            table.add(f"  {text}", "", "")
    for found in bill.adjustments:
        amount = money(found.amount, found.currency)
        table.add(f"adjustment of {found.period}", "", amount)
