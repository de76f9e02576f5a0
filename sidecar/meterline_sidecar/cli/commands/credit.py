"""``meterline credit``: money that a customer was given, or paid in advance."""

import re
from datetime import date
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import (
    DAY,
    ID,
    daemon_options,
    is_given,
    reason_option,
)
from meterline_sidecar.cli.output import money, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.web.answers.credits import CustomerCredits, ShownCredit

BELOW_ZERO: Final = re.compile(r"-[0-9.,]")


class AboveZero(click.Command):
    """Takes no amount below zero for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, or say what an amount has to be."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not BELOW_ZERO.match(error.option_name):
                raise
            ctx.fail(
                "an AMOUNT is above 0; to take a credit back, stop using it with `--end"
                " ID` (its id is in `meterline credit CUSTOMER`)"
            )


@click.command(cls=AboveZero)
@click.argument("customer")
@click.argument("amount", required=False)
@reason_option(required=False)
@click.option(
    "--currency", help="The currency of the amount; by default that of their plan."
)
@click.option("--prepaid", is_flag=True, help="The customer has paid it in advance.")
@click.option(
    "--title",
    help="Its name on invoices, for the customer; by default its kind and day, such as"
    " Prepaid credit of 3 November 2026.",
)
@click.option(
    "--starts", type=DAY, metavar="DAY", help="The first day on which it pays."
)
@click.option(
    "--expires", type=DAY, metavar="DAY", help="The last day on which it pays."
)
@click.option(
    "--priority",
    type=click.IntRange(0, 1_000),
    metavar="NUMBER",
    help="From 0 to 1000; the lowest pays first. By default 100.",
)
@click.option(
    "--key",
    help="Your own name for it: granted again with the same key, it counts once.",
)
@click.option("--end", metavar="ID", type=ID, help="Stop using this credit.")
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str,
    amount: str | None,
    end: int | None,
    prepaid: bool,
    reason: str | None,
    **given: str | int | date | None,
) -> None:
    """Grant a customer a credit, or show what is left.

    With an AMOUNT such as 25.00, CUSTOMER is granted a credit, which pays for the
    invoices that become final next, until it is used up. Without, their credits are
    listed.
    """
    if amount is not None and end is not None:
        raise click.UsageError("--end takes no amount")
    if amount is None:
        _refuse_details(prepaid=prepaid, **given)
    is_change = amount is not None or end is not None
    if is_change and not reason:
        raise click.UsageError("say why, with --reason")
    if reason and not is_change:
        raise click.UsageError("--reason goes with an AMOUNT or --end")
    path = f"/v1/customers/{quote(customer, safe='')}/credits"
    with Client.find(url, config_path) as client:
        if amount is not None:
            body: dict[str, object] = {
                name: value for name, value in given.items() if value is not None
            }
            body |= {"amount": amount, "reason": reason}
            body |= {"kind": "prepaid"} if prepaid else {}
            answer = client.send("POST", path, CustomerCredits, body)
        elif end is not None:
            answer = client.post(f"{path}/{end}/end", CustomerCredits, reason=reason)
        else:
            answer = client.get(path, CustomerCredits)
    if is_json:
        show_json(answer)
    else:
        _tell(answer)


def _refuse_details(**given: object) -> None:
    """Refuse what says something of a new credit, where none is granted."""
    for name, value in given.items():
        if is_given(value):
            raise click.UsageError(f"--{name} goes with an AMOUNT")


def _tell(answer: CustomerCredits) -> None:
    if not answer.credits:
        click.echo(f"{answer.customer} has no credit")
        return
    table = Table(
        ">id", "what", ">granted", ">used", ">in draft", ">left", "expires", "reason"
    )
    for one in answer.credits:
        amounts = (one.amount, one.used, one.in_draft, one.left)
        table.add(
            str(one.credit),
            _what(one),
            *(money(amount, one.currency) for amount in amounts),
            "ended" if one.ended else one.expires or "-",
            one.reason,
        )
    show(table)


def _what(one: ShownCredit) -> str:
    is_said = one.kind != "prepaid" or "prepaid" in one.title.lower()
    return one.title if is_said else f"{one.title}, prepaid"
