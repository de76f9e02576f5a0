"""``meterline quote``: what a quantity costs, without a sidecar or any usage."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from meterline_pricing import Catalogue, PricingError, invoice
from meterline_sidecar.cli.invoice import tell_lines
from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.config_file import read_config, read_prices
from meterline_sidecar.errors import MeterlineError


@click.command()
@click.argument("plan")
@click.argument("quantities", metavar="[METER=QUANTITY]...", nargs=-1)
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The plan as of this day; its newest version by default.",
)
@click.option(
    "--pricing",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A price list to try, instead of the configuration's.",
)
@CONFIG
@JSON
def command(
    plan: str,
    quantities: tuple[str, ...],
    at: datetime | None,
    pricing: Path | None,
    config_path: Path | None,
    is_json: bool,
) -> None:
    """Show what these quantities cost under PLAN, tier by tier.

    For example: meterline quote starter api_calls=120000
    """
    usage = dict(map(_quantity, quantities))
    day = None if at is None else at.date()
    try:
        version = _catalogue(pricing, config_path).plan(plan, at=day)
        for meter in usage:
            version.price_of(meter)  # a misspelt one would cost nothing
        drawn = invoice(version, usage)
    except PricingError as error:
        raise MeterlineError(str(error)) from error
    if is_json:
        show_json(drawn)
        return
    tell_lines(drawn)


def _catalogue(pricing: Path | None, config_path: Path | None) -> Catalogue:
    if pricing is not None:
        return read_prices(pricing)
    return read_config(config_path).catalogue


def _quantity(text: str) -> tuple[str, Decimal]:
    meter, equals, number = text.partition("=")
    try:
        quantity = Decimal(number)
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not (meter and equals and quantity.is_finite() and quantity >= 0):
        raise click.BadParameter(
            f"expected METER=QUANTITY such as api_calls=120000, not {text!r}"
        )
    return meter, quantity
