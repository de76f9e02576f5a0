"""``meterline statement``: what was invoiced, credited and paid, and what is owed."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import click

from meterline_sidecar.cli.ages import tell_ages
from meterline_sidecar.cli.client import PAGE, Client
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import money, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.local import local_day, local_money, written_for
from meterline_sidecar.web.answers.documents import AccountStatement


@click.command()
@click.argument("customer")
@daemon_options
def command(
    config_path: Path | None, url: str | None, is_json: bool, customer: str
) -> None:
    """Show a customer's invoices, credit notes and payments, and what is owed.

    What CUSTOMER owes after each of them, by currency, the oldest first, and how long
    unpaid amounts are overdue; written in their locale, or the seller's, if there is one.
    """
    with Client.find(url, config_path) as client:
        path = f"/v1/customers/{quote(customer, safe='')}/statement"
        found = client.get(path, AccountStatement, limit=PAGE)
    if is_json:
        show_json(found)
    else:
        with written_for(found.locale):
            tell_statement(found)


def tell_statement(found: AccountStatement) -> None:
    """Print a customer's account for people."""
    click.echo(f"{found.customer_name}: statement of account\n")
    if not found.entries:
        click.echo("no invoice is final yet, so there is nothing to list")
        return
    table = Table(
        "day", "document", "period", "due", ">net", ">tax", ">amount", ">balance"
    )
    for owed in found.brought_forward:
        balance = _money(owed.amount, owed.currency)
        table.add("", "brought forward", "", "", "", "", "", balance)
    for entry in found.entries:
        due = "" if entry.due is None else _day(entry.due)
        made = entry.breakdown
        parts = (None, None) if made is None else (made.net, made.tax)
        changed = (
            "" if n is None else _money(n, entry.currency)
            for n in (*parts, entry.amount, entry.balance)
        )
        is_paid = entry.kind in ("payment", "refund")
        what = f"{entry.kind} of {entry.number}" if is_paid else entry.number
        table.add(_day(entry.day), what, entry.period, due, *changed)
    show(table)
    theirs = [one for one in found.balances if one.amount < 0]
    amounts = [
        _money(one.amount, one.currency) for one in found.balances if one.amount >= 0
    ]
    click.echo()
    if amounts or not theirs:
        click.echo(f"owed: {', and '.join(amounts) or 'nothing'}")
    for one in theirs:
        amount = _money(-one.amount, one.currency)
        click.echo(f"in the customer's favour: {amount}")
    if found.ages:
        click.echo()
        tell_ages(found.ages, _money)


def _money(amount: Decimal, currency: str) -> str:
    text = local_money(amount, currency) or money(amount, currency)
    # A terminal is shown no space but the plain one.
    return text.replace("\N{NO-BREAK SPACE}", " ").replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )


def _day(day: date) -> str:
    return local_day(day) or str(day)
