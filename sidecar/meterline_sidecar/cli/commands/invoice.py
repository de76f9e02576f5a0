"""``meterline invoice``: a customer's invoice, draft or final."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Final
from urllib.parse import quote

import click

from meterline_pricing import Charge, Invoice, Line
from meterline_pricing.charge import explained
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import PERIOD, daemon_options
from meterline_sidecar.cli.output import money, quantity, show_json, tell_freshness
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.config.names import Name, Names
from meterline_sidecar.web.answers.invoices import ShownInvoice

EXPLANATION_CHARS: Final = 64
EXPLANATION_LINES_MAX: Final = 4  # a price of a thousand tiers has listed them above


@click.command()
@click.argument("customer")
@PERIOD
@click.option(
    "--finalize",
    is_flag=True,
    help="Make the invoice final, so that it never changes again. Needs --period, and "
    "the period must have ended.",
)
@click.option(
    "--accept-gap",
    is_flag=True,
    help="Finalize even though events are known to be missing; the invoice lists them.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str,
    period: str | None,
    finalize: bool,
    accept_gap: bool,
) -> None:
    """Show a customer's invoice, or make it final.

    What CUSTOMER owes for a billing month, and why.
    """
    if finalize and period is None:
        raise click.UsageError("--finalize needs --period, such as 2026-10")
    if accept_gap and not finalize:
        raise click.UsageError("--accept-gap goes with --finalize")
    with Client.find(url, config_path) as client:
        path = f"/v1/customers/{quote(customer, safe='')}/invoice"
        if finalize:
            accepted = "true" if accept_gap else None
            answer = client.post(
                f"{path}/finalize", ShownInvoice, period=period, accept_gap=accepted
            )
        else:
            answer = client.get(path, ShownInvoice, period=period)
    if is_json:
        show_json(answer)
        return
    tell_invoice(answer)


def tell_invoice(answer: ShownInvoice) -> None:
    """Print a customer's invoice for people."""
    drawn = answer.invoice
    name = drawn.period.name
    click.echo(f"{answer.customer_name}: {answer.status} invoice for {name}")
    shown = {one.meter: Name(title=one.title, unit=one.unit) for one in answer.usage}
    tell_lines(drawn, Names(shown))
    _tell_adjustments(answer, drawn.currency)
    tell_freshness(answer.fresh_as_of, answer.recounting_percent)


def _tell_adjustments(answer: ShownInvoice, currency: str) -> None:
    for gap in answer.accepted_gaps:
        click.echo(f"\naccepted as missing: {gap}")
    if answer.open_before:
        click.echo(f"\n{open_words(answer)}")
    if not answer.adjustments:
        return
    click.echo()
    table = Table("adjustment of", ">billed", ">comes to now", ">amount")
    for item in answer.adjustments:
        amounts = (item.billed, item.now, item.amount)
        table.add(item.period, *(money(amount, item.currency) for amount in amounts))
    show(table)
    others = (money(owed.amount, owed.currency) for owed in answer.also_due)
    click.echo(f"\ndue: {', and '.join([money(answer.due, currency), *others])}")


def open_words(answer: ShownInvoice) -> str:
    """Return which earlier periods are not final, and what that means."""
    names = ", ".join(answer.open_before)
    if answer.status == "final":
        return f"made final before {names}: what final periods came to since is here"
    return (
        f"not final yet, and earlier: {names}; usually the earliest comes first:"
        f" `meterline invoice {answer.customer} --period {answer.open_before[0]}"
        " --finalize`. Whichever becomes final first has what final periods came to since"
    )


def _explained(line: Line, currency: str) -> Iterator[str]:
    """Yield the charges of a line, then what they do not say: conversion, rounding."""
    said = explained(line.charges)
    rest = line.explanation.removeprefix(said)
    is_plain = rest == f" = {money(line.amount, currency)}"
    if len(line.charges) == 1 and rest != line.explanation and not is_plain:
        yield f"{_tier(line.charges[0])}{line.explanation}"
        return
    for charge in line.charges:
        yield f"{_tier(charge)}{charge.explanation}"
    if not is_plain:
        yield from wrap(
            rest.strip(),
            EXPLANATION_CHARS,
            subsequent_indent="  ",
            max_lines=EXPLANATION_LINES_MAX,
            placeholder=" ...",
        )


def _tier(charge: Charge) -> str:
    return "" if charge.tier is None else f"tier {charge.tier}: "


def tell_lines(drawn: Invoice, names: Names) -> None:
    """Print the lines of an invoice, each with the charges that make it up."""
    click.echo(f"plan {drawn.plan}, version {drawn.version}\n")
    table = Table("line", ">quantity", ">amount")
    for line in drawn.lines:
        unit = names.unit(line.meter)
        used = "" if line.quantity is None else quantity(line.quantity, unit)
        name = names.line(line.description, line.meter)
        table.add(name, used, money(line.amount, drawn.currency))
        for text in _explained(line, drawn.currency):
            table.add(f"  {text}", "", "")
    table.add("total", "", money(drawn.total, drawn.currency))
    show(table)
    if drawn.unpriced:
        titles = ", ".join(names.title(meter) for meter in drawn.unpriced)
        click.echo(f"\nthe plan does not charge for: {titles}")
