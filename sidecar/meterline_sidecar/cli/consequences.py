"""Prints what a change does to money."""

from typing import Final

import click

from meterline_sidecar.cli.output import money
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.money import MoneyChange, ShownOwed

PERIODS_SHOWN: Final = 40


def tell_consequences(found: MoneyChange) -> None:
    """Print which periods come to something else, and all of them by currency."""
    if found.periods:
        table = Table("customer", "period", "invoice", ">now", ">then")
        for one in found.periods[:PERIODS_SHOWN]:
            amounts = (_text(one.before), _text(one.after))
            table.add(one.customer, one.period, one.status, *amounts)
        click.echo()
        show(table)
        n_more = found.n_periods - len(found.periods[:PERIODS_SHOWN])
        if n_more > 0:
            click.echo(f"and {n_of(n_more, 'more period')}")
    for line in found.summary:
        click.echo(line)


def _text(owed: ShownOwed | None) -> str:
    return "no invoice" if owed is None else money(owed.amount, owed.currency)
