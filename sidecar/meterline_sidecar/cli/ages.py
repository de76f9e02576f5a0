"""How long what is left of invoices is overdue, as a table of the terminal."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.web.answers.money import ShownAges


def tell_ages(ages: Sequence[ShownAges], money: Callable[[Decimal, str], str]) -> None:
    """Print what is left to pay by days since its due day, a row for each currency.

    Args:
        money: how an amount of a currency is written.
    """
    table = Table(
        "left to pay",
        *(">not due", ">1-30 days", ">31-60", ">61-90", ">over 90", ">total"),
    )
    for one in ages:
        amounts = (
            *(one.not_due, one.days_1_30, one.days_31_60, one.days_61_90),
            *(one.days_over_90, one.total),
        )
        table.add(one.currency, *(money(amount, one.currency) for amount in amounts))
    show(table)
