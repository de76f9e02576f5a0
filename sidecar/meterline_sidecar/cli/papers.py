"""Invoices and credit notes by their numbers: on a terminal, and as files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import NotFound
from meterline_sidecar.cli.options import is_given
from meterline_sidecar.cli.output import money, quantity, writing
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.pdf import pdf_of
from meterline_sidecar.terms.period_names import WORDS
from meterline_sidecar.web.answers.customers import ShownCustomer
from meterline_sidecar.web.answers.documents import (
    DocumentAnswer,
    DocumentBill,
    DocumentPage,
)
from meterline_sidecar.web.documents.sheet import ADJUSTMENTS, CREDITS, tax_words

NUMBER: Final = re.compile(r".*\D\d+")
"""What a number of a document looks like; customers may be called so as well."""


STEPS: Final = {
    "credit": "credit",
    "sent": "sent",
    "paid": "payments",
    "refund": "refunds",
    "uncollectible": "uncollectible",
    "void": "void",
}
"""What becomes of an invoice, by option: where it is noted."""
DETAILS: Final = ("day", "reference", "key", "currency")
"""What is said of a payment."""


def document_path(number: str, ending: str = "") -> str:
    """Return where a document is, or a file of it."""
    return f"/v1/invoices/{quote(number, safe='')}{ending}"


class Step(NamedTuple):
    """What became of an invoice, to be noted at the sidecar."""

    option: str
    path: str
    body: dict[str, object]


def step_of(given: Mapping[str, object], reason: str | None) -> Step | None:
    """Return the one step that options ask for; ``None``: they ask for none.

    Raises:
        UsageError: they ask for several, or one lacks something.
    """
    asked = [option for option in STEPS if is_given(given[option])]
    details = {name: given[name] for name in DETAILS if given[name] is not None}
    if len(asked) > 1:
        raise click.UsageError(
            f"--{asked[0]} and --{asked[1]} are two steps: take one at a time"
        )
    if not asked:
        if details:
            name = "on" if "day" in details else next(iter(details))
            raise click.UsageError(f"--{name} goes with --paid or --refund")
        if reason is not None:
            options = ", ".join(f"--{option}" for option in STEPS)
            raise click.UsageError(f"--reason goes with one of {options}")
        return None
    option = asked[0]
    body: dict[str, object] = {} if reason is None else {"reason": reason}
    if option == "sent":
        body.setdefault("reason", "sent")
    elif option != "paid" and not reason:
        raise click.UsageError(f"--{option} needs --reason")
    if option in ("paid", "refund"):
        body |= details
    elif details:
        raise click.UsageError(f"--{next(iter(details))} goes with --paid or --refund")
    if isinstance(given[option], str):
        body["amount"] = given[option]
    return Step(option, STEPS[option], body)


def find_document(
    client: Client, target: str, *, is_with_usage: bool
) -> DocumentAnswer | None:
    """Return the document of that number; ``None``: it is a customer's id.

    Raises:
        NotFound: it looks like a number, and is neither.
    """
    if not NUMBER.fullmatch(target):
        return None
    try:
        return client.get(
            document_path(target), DocumentAnswer, appendix=_flag(is_with_usage)
        )
    except NotFound as error:
        check_customer(client, target, error)
        return None


def check_customer(client: Client, target: str, error: NotFound) -> None:
    """Make sure that what is no document's number is a customer's id.

    Raises:
        NotFound: it is none either: ``error``, since it looks like a number.
    """
    try:
        client.get(f"/v1/customers/{quote(target, safe='')}", ShownCustomer)
    except NotFound:
        raise error from None


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
    named = [
        one
        for one in found.documents
        if period in (None, one.period, *WORDS)  # not any that begins in a month
    ]
    if not named:
        when = "" if period is None else f" for {period}"
        raise NotFound(
            f"there is no document {customer!r}, and no final invoice of such a"
            f" customer{when}: only what is final has a number; see `meterline invoice"
            " CUSTOMER --period PERIOD --finalize`"
        )
    return named[0].number


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
        made = pdf_of(content.decode()) if kind == "pdf" else content
        with writing(path):
            path.write_bytes(made)


def _flag(is_set: bool) -> str | None:
    return "true" if is_set else None


def tell_document(shown: DocumentAnswer) -> None:
    """Print a document for people."""
    what = "credit note" if shown.kind == "credit_note" else "invoice"
    is_void = shown.state == "void"
    due = "" if shown.due is None or is_void else f", due {shown.due}"
    click.echo(
        f"{shown.customer_name}: {'VOID ' if is_void else ''}{what} {shown.number} of"
        f" {shown.issued}{due}, for {shown.first_day} to {shown.last_day}\n"
    )
    table = Table("line", ">quantity", ">amount")
    if shown.bill is None:
        _add_credit(table, shown)
    else:
        _add_bill(table, shown.bill, shown.currency)
    total = "total" if is_void else "due"
    table.add(total, "", money(shown.amount, shown.currency))
    for owed in shown.also_due:
        table.add(f"also {total}", "", money(owed.amount, owed.currency))
    show(table)
    if shown.credit_notes:
        click.echo(f"\ncredited by {', '.join(shown.credit_notes)}")
    _tell_steps(shown)
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


def _add_credit(table: Table, shown: DocumentAnswer) -> None:
    own = next(iter(shown.breakdown), None)
    amount = shown.amount if own is None else own.net
    table.add(f"credit of {shown.invoice}", "", money(amount, shown.currency))
    table.add(f"  {shown.reason}", "", "")
    for one in shown.breakdown:
        if one is not own:
            table.add("net", "", money(one.net, one.currency))
        for tax in one.taxes:
            table.add(tax.title, "", money(tax.amount, one.currency))
            table.add(f"  {tax_words(tax, one.currency)}", "", "")
        if one.credits:
            table.add(CREDITS.lower(), "", money(one.credits, one.currency))
        if one.adjustments:
            table.add(ADJUSTMENTS.lower(), "", money(one.adjustments, one.currency))


def _tell_steps(shown: DocumentAnswer) -> None:
    """Print what became of an invoice, and what is left of it."""
    if shown.steps:
        click.echo()
    for step in shown.steps:
        click.echo(f"{step.state} since {step.at}, by {step.author}: {step.cause}")
    for paid in shown.payments:
        what = "paid" if paid.amount > 0 else "given back"
        said = f": {paid.reference}" if paid.reference else ""
        click.echo(
            f"{money(abs(paid.amount), paid.currency)} {what} on {paid.day}{said}"
        )
    tell_left(shown)


def tell_left(shown: DocumentAnswer) -> None:
    """Print what is left to pay of an invoice, or is owed to the customer, if any."""
    if shown.state == "void":
        click.echo("\nvoid: there is nothing to pay")
    if shown.state in (None, "void"):
        return
    number = shown.number
    left = [money(one.amount, one.currency) for one in shown.left if one.amount > 0]
    if left:
        late = ", overdue" if shown.is_overdue else ""
        click.echo(f"\nleft to pay: {', and '.join(left)}{late}")
        if any(paid.amount < 0 for paid in shown.payments):
            click.echo(
                "  -> if what was given back is not to be paid again, credit it:"
                f" `meterline invoice {number} --credit AMOUNT --reason ...`"
            )
    for one in shown.left:
        if one.amount < 0:
            amount = money(-one.amount, one.currency)
            click.echo(
                f"\nin the customer's favour: {amount}\n  -> give it back, and note that:"
                f" `meterline invoice {number} --refund {-one.amount:f} --reason ...`"
            )


def _add_bill(table: Table, bill: DocumentBill, currency: str) -> None:
    for line in bill.lines:
        if line.is_idle:
            continue
        used = "" if line.quantity is None else quantity(line.quantity, line.unit)
        table.add(line.title, used, money(line.amount, currency))
        for text in line.words:
            table.add(f"  {text}", "", "")
    for found in bill.adjustments:
        amount = money(found.amount, found.currency)
        table.add(f"adjustment of {found.period}", "", amount)
        for tax in () if found.breakdown is None else found.breakdown.taxes:
            part = money(tax.amount, found.currency)
            table.add(f"  {tax.title} of it: {part}", "", "")
