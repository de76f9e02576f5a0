"""``meterline invoices``: final invoices and credit notes, as a list."""

import csv
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final, TextIO, get_args

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.names import check_customer
from meterline_sidecar.cli.options import daemon_options, not_with, period_option
from meterline_sidecar.cli.output import money, show_json, writing
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.web.answers.documents import (
    DocumentEntry,
    DocumentKind,
    DocumentPage,
    DocumentState,
)
from meterline_sidecar.web.answers.money import ShownBreakdown

PER_PAGE: Final = 200
COLUMNS: Final = (
    *("number", "kind", "customer", "customer_name", "period", "issued", "due"),
    *("state", "overdue", "currency", "net", "tax", "credits", "adjustments"),
    *("amount", "left", "stripe_state", "stripe_id", "invoice", "invoice_state"),
)
"""They only ever get more, at the end."""
AT_STRIPE: Final = {
    "done": "told",
    "pending": "waits",
    "sending": "waits",
    "held": "held up",
    "dropped": "taken back",
}
ZERO: Final = Decimal(0)
UNKNOWN: Final = ""
"""In place of net and tax, where an old credit note does not say them."""


@click.command()
@click.option("--customer", metavar="ID", help="Only this customer's.")
@period_option(
    "Only for this billing period, or for all that begin in a month or a year:"
    " 2026-11-23, 2026-11, 2026, `current` or `last`.",
    takes_year=True,
)
@click.option(
    "--state",
    type=click.Choice(get_args(DocumentState)),
    help="Only invoices in this state.",
)
@click.option(
    "--kind",
    type=click.Choice(get_args(DocumentKind)),
    help="Only invoices, or only credit notes.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Show at most this many, the newest; by default all.",
)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write them as CSV, with exact amounts; `-` prints it.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    limit: int | None,
    csv_path: Path | None,
    **filters: str | None,
) -> None:
    """List final invoices and credit notes, the newest first.

    With the amount of each before and after taxes, its state, what is left to pay, and
    its state at Stripe. Drafts have no number: `meterline invoice CUSTOMER` shows them.
    """
    if csv_path is not None:
        not_with("csv", json=is_json)
    with Client.find(url, config_path) as client:
        found = list(_read(client, limit, filters))
        if not found:
            check_customer(client, filters["customer"])
    if is_json:
        show_json(found)
    elif csv_path == Path("-"):
        _write(sys.stdout, found)
    elif csv_path is not None:
        with (
            writing(csv_path),
            csv_path.open("w", encoding="utf-8", newline="") as file,
        ):
            _write(file, found)
        click.echo(f"{csv_path}: {len(found):,} rows")
    else:
        _tell(found)


def _read(
    client: Client, limit: int | None, filters: dict[str, str | None]
) -> Iterator[DocumentEntry]:
    """Yield documents, the newest first."""
    before: int | None = None
    left = limit
    while left is None or left > 0:
        size = PER_PAGE if left is None else min(PER_PAGE, left)
        page = client.get(
            "/v1/invoices", DocumentPage, before=before, limit=size, **filters
        )
        yield from page.documents
        before = page.next_before
        if before is None:
            return
        left = None if left is None else left - len(page.documents)


def _tell(found: list[DocumentEntry]) -> None:
    if not found:
        click.echo(
            "no such invoice is final; `meterline close --list grace` shows what is"
            " waiting"
        )
        return
    is_at_stripe = any(one.stripe for one in found)
    table = Table(
        *("number", "customer", "period", "issued", "due", "state"),
        *(">net", ">tax", ">amount", ">left", *(["stripe"] if is_at_stripe else ())),
    )
    for one in found:
        stands = (
            *(one.number, one.customer, one.period, str(one.issued)),
            *("" if one.due is None else str(one.due), _state(one)),
        )
        left = {owed.currency: owed.amount for owed in one.left}
        at = [AT_STRIPE[one.stripe.state] if one.stripe else ""]
        for part in _parts(one):
            currency = part.currency
            is_said = bool(one.breakdown)
            table.add(
                *stands,
                *(
                    money(n, currency) if is_said else UNKNOWN
                    for n in (part.net, part.tax)
                ),
                money(part.amount, currency),
                money(left[currency], currency) if left.get(currency) else "",
                *(at if is_at_stripe else ()),
            )
    show(table)
    _tell_totals(found)


def _tell_totals(found: list[DocumentEntry]) -> None:
    """Print what all of them come to, by currency."""
    amounts: dict[str, Decimal] = {}
    left: dict[str, Decimal] = {}
    theirs: dict[str, Decimal] = {}
    void: dict[str, Decimal] = {}
    for one in found:
        for part in _parts(one):
            amounts[part.currency] = amounts.get(part.currency, ZERO) + part.amount
            if one.invoice_state == "void":
                void[part.currency] = void.get(part.currency, ZERO) + part.amount
        for owed in one.left if one.state != "void" else ():
            heap = theirs if owed.amount < 0 else left
            if owed.amount < 0 or one.state in ("final", "sent"):
                heap[owed.currency] = heap.get(owed.currency, ZERO) + owed.amount
    click.echo()
    for currency, amount in sorted(amounts.items()):
        unpaid = money(left.get(currency, ZERO), currency)
        back = theirs.get(currency, ZERO)
        more = f", {money(-back, currency)} in customers' favour" if back else ""
        if taken_back := void.get(currency, ZERO):
            more += (
                f"; {money(taken_back, currency)} of it is on void invoices, without all"
                " of the credit notes that took them back"
            )
        click.echo(f"{money(amount, currency)} in all, {unpaid} left to pay{more}")


def _state(one: DocumentEntry) -> str:
    if one.kind == "credit_note":
        return "credit note"
    return "overdue" if one.is_overdue else one.state or ""


def _parts(one: DocumentEntry) -> tuple[ShownBreakdown, ...]:
    """Return what a document comes to, by currency."""
    if one.breakdown:
        return one.breakdown
    nothing = ZERO
    return tuple(
        ShownBreakdown(
            currency=currency,
            net=nothing,
            tax=nothing,
            taxes=(),
            credits=nothing,
            adjustments=nothing,
            amount=amount,
        )
        for currency, amount in (
            (one.currency, one.amount),
            *((owed.currency, owed.amount) for owed in one.also_due),
        )
    )


def _write(file: TextIO, found: list[DocumentEntry]) -> None:
    """Write a row for each document and currency."""
    table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for one in found:
        left = {owed.currency: owed.amount for owed in one.left}
        for part in _parts(one):
            row: dict[str, object] = {
                "number": csv_cell(one.number),
                "kind": one.kind,
                "customer": csv_cell(one.customer),
                "customer_name": csv_cell(one.customer_name),
                "period": one.period,
                "issued": one.issued,
                "due": one.due or "",
                "state": one.state or "",
                "invoice": csv_cell(one.invoice),
                "invoice_state": one.invoice_state,
                "overdue": "yes" if one.is_overdue else "",
                "currency": part.currency,
                "amount": f"{part.amount:f}",
                "left": f"{left[part.currency]:f}" if part.currency in left else "",
            }
            if one.breakdown:
                for name in ("net", "tax", "credits", "adjustments"):
                    row[name] = f"{getattr(part, name):f}"
            if one.stripe is not None:
                row["stripe_state"] = one.stripe.state
                row["stripe_id"] = one.stripe.stripe_id or ""
            table.writerow(row)
