"""``meterline invoice``: an invoice, draft or final, and the document of one."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import date
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from meterline_pricing import Invoice, Line
from meterline_sidecar.billing.explained import words_under
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import NotFound
from meterline_sidecar.cli.options import DAY, PERIOD, daemon_options, not_with
from meterline_sidecar.cli.output import (
    money,
    quantity,
    show_json,
    shown_name,
    tell_freshness,
)
from meterline_sidecar.cli.papers import (
    NUMBER,
    document_path,
    find_document,
    number_of_final,
    step_of,
    tell_document,
    tell_left,
    write_files,
)
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.config.names import Name, Names
from meterline_sidecar.web.answers.documents import DocumentAnswer
from meterline_sidecar.web.answers.invoices import ShownInvoice

F = TypeVar("F", bound=Callable[..., Any])

EXPLANATION_CHARS: Final = 64
EXPLANATION_LINES_MAX: Final = 4  # a price of a thousand tiers has listed them above


def _file(kind: str, text: str) -> Callable[[F], F]:
    return click.option(
        f"--{kind}",
        f"{kind}_path",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=text,
    )


@click.command()
@click.argument("target", metavar="NUMBER|CUSTOMER")
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
@click.option(
    "--credit",
    metavar="AMOUNT",
    help="Issue a credit note of this amount, taxes included, for the invoice with"
    " NUMBER.",
)
@click.option("--sent", is_flag=True, help="Record that the customer has the invoice.")
@click.option(
    "--paid",
    metavar="AMOUNT",
    help="Record a payment of part or all of what is left of an invoice.",
)
@click.option(
    "--refund",
    metavar="AMOUNT",
    help="Record that this amount was given back, or never arrived.",
)
@click.option(
    "--on",
    "day",
    type=DAY,
    metavar="DAY",
    help="When it was paid or given back; by default today.",
)
@click.option("--reference", help="The bank's reference for the payment.")
@click.option(
    "--key",
    help="Your own name for the payment: recorded again with the same key, it counts"
    " once.",
)
@click.option(
    "--currency", help="The currency of the payment; by default that of the invoice."
)
@click.option(
    "--uncollectible",
    is_flag=True,
    help="Record that the invoice is not expected to be paid.",
)
@click.option(
    "--void",
    is_flag=True,
    help="Take the invoice back completely: what is left of it is credited, and its"
    " period can be invoiced again.",
)
@click.option("--reason", help="Why; it is kept, and shown on a credit note.")
@_file("pdf", "Write the document as a PDF. Needs the extra `pdf`.")
@_file("html", "Write the document as a self-contained HTML file.")
@_file("csv", "Write the document as CSV: its lines, charges, taxes and adjustments.")
@click.option(
    "--appendix",
    is_flag=True,
    help="For a document: include the usage behind it, by day and by group.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    target: str,
    period: str | None,
    finalize: bool,
    accept_gap: bool,
    appendix: bool,
    reason: str | None,
    pdf_path: Path | None,
    html_path: Path | None,
    csv_path: Path | None,
    **given: str | bool | date | None,
) -> None:
    """Show an invoice, write it to a file, or record what became of it.

    Shows the document with a NUMBER such as INV-0001, or what a CUSTOMER owes for a
    billing period, and why. The options that record something (--finalize, --sent,
    --paid and so on) are used one at a time. An AMOUNT is written as 25.00.
    """
    if finalize and period is None:
        raise click.UsageError("--finalize needs --period, such as 2026-10")
    if accept_gap and not finalize:
        raise click.UsageError("--accept-gap goes with --finalize")
    step = step_of(given, reason)
    if step is not None:
        not_with(step.option, finalize=finalize, period=period)
    answer: ShownInvoice | None = None
    document: DocumentAnswer | None = None
    credited: DocumentAnswer | None = None
    paths = {"pdf": pdf_path, "html": html_path, "csv": csv_path}
    files = {kind: path for kind, path in paths.items() if path is not None}
    with Client.find(url, config_path) as client:
        if finalize:
            with _as_customer(target):
                answer = client.post(
                    f"{_path(target)}/finalize",
                    ShownInvoice,
                    period=period,
                    accept_gap="true" if accept_gap else None,
                )
        elif step is not None:
            path = document_path(target, f"/{step.path}")
            document = client.send("POST", path, DocumentAnswer, step.body)
            if document.kind == "credit_note":
                credited = client.get(document_path(document.invoice), DocumentAnswer)
        elif period is None:
            document = find_document(client, target, is_with_usage=appendix)
        if document is None and (files or appendix):
            number = number_of_final(client, target, period)
            document = find_document(client, number, is_with_usage=appendix)
        if document is not None:
            write_files(client, document.number, files, is_with_usage=appendix)
        elif answer is None:
            with _as_customer(target):
                answer = client.get(_path(target), ShownInvoice, period=period)
    _tell(document or answer, files.values(), is_json=is_json)
    if credited is not None and not is_json:
        tell_left(credited)


@contextlib.contextmanager
def _as_customer(target: str) -> Generator[None]:
    """Say of what looks like a number that it has its own period."""
    try:
        yield
    except NotFound as error:
        if not NUMBER.fullmatch(target):
            raise
        raise NotFound(
            f"no customer {target!r}; if it is the number of a document, leave out"
            " --period and --finalize"
        ) from error


def _path(customer: str) -> str:
    return f"/v1/customers/{quote(customer, safe='')}/invoice"


def _tell(
    shown: DocumentAnswer | ShownInvoice | None,
    files: Iterable[Path],
    *,
    is_json: bool,
) -> None:
    """Print what was asked for, or which files were written of it."""
    assert shown is not None, "a document or an invoice was found"
    written = [str(path) for path in files]
    if is_json:
        show_json(shown)
    elif written and isinstance(shown, DocumentAnswer):
        click.echo(f"{shown.number}: {', '.join(written)}")
    elif isinstance(shown, DocumentAnswer):
        tell_document(shown)
    else:
        tell_invoice(shown)


def tell_invoice(answer: ShownInvoice) -> None:
    """Print a customer's invoice for people."""
    drawn = answer.invoice
    name = shown_name(drawn.period)
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
        " --finalize`. Adjustments of final periods go on whichever becomes final first"
    )


def _explained(line: Line, currency: str) -> Iterator[str]:
    """Yield the charges of a line, then what they do not say: conversion, rounding."""
    charges, rest = words_under(line, currency)
    yield from charges
    yield from wrap(
        rest,
        EXPLANATION_CHARS,
        subsequent_indent="  ",
        max_lines=EXPLANATION_LINES_MAX,
        placeholder=" ...",
    )


def tell_lines(drawn: Invoice, names: Names) -> None:
    """Print the lines of an invoice, each with the charges that make it up."""
    click.echo(f"plan {drawn.plan}, version {drawn.version}\n")
    table = Table("line", ">quantity", ">amount")
    for line in drawn.lines_to_show:
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
