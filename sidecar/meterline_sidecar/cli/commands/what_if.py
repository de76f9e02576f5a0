"""``meterline what-if``: what every customer would pay under other prices."""

import sys
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import click
import msgspec
from msgspec.structs import replace

from meterline_pricing import Catalogue, PricingError
from meterline_pricing.combined import combined, names_in
from meterline_pricing.models import Credit
from meterline_pricing.tools import Difference, difference_of, ranked
from meterline_sidecar.billing.balances import Balances
from meterline_sidecar.billing.credits import name_of
from meterline_sidecar.billing.drafts import charged, priced
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import EXIT_FOUND, Refused
from meterline_sidecar.cli.options import DAY, PERIOD, SETTINGS_FILE, daemon_options
from meterline_sidecar.cli.output import money, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.config.prices import read_prices
from meterline_sidecar.decimals import added
from meterline_sidecar.store.invoices import NewUse
from meterline_sidecar.usage.customer_usage import MeterUsage
from meterline_sidecar.web.answers.credits import CustomerCredits
from meterline_sidecar.web.answers.customers import CustomerPage, ShownCustomer
from meterline_sidecar.web.answers.invoices import ShownInvoice

ZERO = Decimal(0)


@click.command()
@click.option(
    "--pricing",
    "--plan",
    "prices_path",
    type=SETTINGS_FILE,
    metavar="FILE",
    required=True,
    help="The price list to try; its plans replace those with the same name.",
)
@click.option(
    "--at",
    type=DAY,
    metavar="DAY",
    help="Use the versions of its plans on this day; by default the newest.",
)
@PERIOD
@daemon_options
def command(
    prices_path: Path,
    at: date | None,
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    period: str | None,
) -> None:
    """Show what every customer would pay under other prices.

    For a period, without changing anything; the largest increase first. Exits with 3 if
    a customer had to be left out.
    """
    prices = read_prices(prices_path)
    differences: list[Difference] = []
    left_out: dict[str, str] = {}
    with Client.find(url, config_path) as client:
        pages = client.pages("/v1/customers", CustomerPage)
        for customer in (customer for page in pages for customer in page.customers):
            try:
                differences.append(_difference(client, customer, period, prices, at))
            except (PricingError, Refused) as error:
                left_out[customer.id] = str(error)
    if is_json:
        show_json({"customers": ranked(differences), "left_out": left_out})
    else:
        _tell(ranked(differences), left_out)
    if left_out:
        sys.exit(EXIT_FOUND)


def _difference(
    client: Client,
    customer: ShownCustomer,
    period: str | None,
    prices: Catalogue,
    day: date | None,
) -> Difference:
    """Return what one customer would pay instead, by the prices of ``day``.

    Raises:
        PricingError: the other prices have no such plan, or cannot rate the usage.
        Refused: there is no invoice for this customer.
    """
    path = f"/v1/customers/{quote(customer.id, safe='')}/invoice"
    answer = client.get(path, ShownInvoice, period=period)
    before = answer.invoice
    usage = priced(
        msgspec.convert(answer.usage, tuple[MeterUsage, ...], from_attributes=True)
    )
    assert before.period is not None, "the API names it"
    names = [before.plan] if before.plan in prices.names else names_in(before.plan)
    plan = combined([prices.plan(name, at=day, customer=customer.id) for name in names])
    credits_ = client.get(
        f"/v1/customers/{quote(customer.id, safe='')}/credits", CustomerCredits
    )
    plan = _balances(credits_).applied_to(plan, before.period, customer.time_zone)
    paid = {line.name: -line.amount for line in before.lines if line.kind == "credit"}
    if paid or not before.total:
        plan = replace(plan, credits=(*plan.credits, *_granted(credits_, answer, paid)))
    after = charged(
        plan,
        usage,
        before.period,
        time_zone=customer.time_zone,
        anchor=customer.anchor,
    )
    return difference_of(customer.id, before, after)


def _balances(known: CustomerCredits) -> Balances:
    """Return what final invoices used of the credits and coupons of plans."""
    return Balances(
        NewUse(
            customer=known.customer,
            kind=use.kind,
            name=use.name,
            currency=use.currency,
            period=use.period,
            invoice_id=0,
            amount=str(use.amount),
        )
        for use in known.uses
    )


def _granted(
    known: CustomerCredits, answer: ShownInvoice, paid: Mapping[str, Decimal]
) -> Iterator[Credit]:
    """Yield what a customer was granted, as it would pay for other amounts, too.

    Args:
        paid: what each credit paid of the invoice as it is.
    """
    for one in known.credits:
        name = name_of(one.credit, one.title)
        # What a final invoice used up is not left any more.
        before = paid.get(name, ZERO) if answer.status == "final" else ZERO
        if one.currency == answer.invoice.currency and (one.left or before):
            yield Credit(
                name=name,
                amount=added(one.left, before),
                starts=None if one.starts is None else date.fromisoformat(one.starts),
                expires=None
                if one.expires is None
                else date.fromisoformat(one.expires),
                priority=one.priority,
            )


def _tell(differences: tuple[Difference, ...], left_out: dict[str, str]) -> None:
    table = Table("customer", ">before", ">after", ">difference", "lines that differ")
    for one in differences:
        table.add(
            one.customer,
            *(
                money(amount, one.currency)
                for amount in (one.before, one.after, one.difference)
            ),
            ", ".join(line.name for line in one.lines),
        )
    _add_totals(table, differences)
    show(table, none="there is no customer whose prices could differ")
    for one in differences:
        if one.unpriced:
            meters = ", ".join(one.unpriced)
            click.echo(f"! {one.customer}: nothing would be charged for {meters}")
    for customer, why in left_out.items():
        click.echo(f"! left out {customer}: {why}")


def _add_totals(table: Table, differences: tuple[Difference, ...]) -> None:
    """Add a row of what all customers of a currency pay together."""
    for currency in sorted({one.currency for one in differences}):
        ours = [one for one in differences if one.currency == currency]
        sums = (
            sum((getattr(one, column) for one in ours), Decimal(0))
            for column in ("before", "after", "difference")
        )
        table.add("total", *(money(amount, currency) for amount in sums), "")
