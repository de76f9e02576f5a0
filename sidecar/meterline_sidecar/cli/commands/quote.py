"""``meterline quote``: what a quantity costs, without a sidecar or any usage."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

import click

from meterline_pricing import (
    Amounts,
    Catalogue,
    Group,
    Groups,
    Plan,
    Price,
    PricingError,
    Usage,
    invoice,
)
from meterline_pricing.combined import combined
from meterline_pricing.errors import unknown
from meterline_pricing.tools import curve, draw_svg, draw_text, findings, quantity_of
from meterline_sidecar.cli.commands.invoice import tell_lines
from meterline_sidecar.cli.options import CONFIG, DAY, JSON, SETTINGS_FILE
from meterline_sidecar.cli.output import show_json, writing
from meterline_sidecar.config.names import Names
from meterline_sidecar.config.prices import read_prices
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError, MeterlineError
from meterline_sidecar.typed import NotTyped, number_typed

QUANTITY: Final = re.compile(r"([^=\[]+)(?:\[([^\]]*)\])?=(.+)")
THOUSANDS: Final = re.compile("[1-9][0-9]{0,2}(,[0-9]{3})+")
"""What is read as one number, and as the amounts of several events."""
EXPECTED: Final = (
    "expected METER=QUANTITY such as api_calls=120000, METER[DIMENSION=VALUE]=QUANTITY,"
    " or METER=AMOUNT,AMOUNT for a price that needs each event"
)


@click.command()
@click.argument("plan")
@click.argument("quantities", metavar="[METER=QUANTITY]...", nargs=-1)
@click.option(
    "--at",
    type=DAY,
    metavar="DAY",
    help="Use the plan's version of this day; by default the newest.",
)
@click.option(
    "--curve",
    "curve_meter",
    metavar="METER",
    help="Draw the cost of this meter, up to the quantity given.",
)
@click.option(
    "--svg",
    "svg_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the curve to an SVG file.",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="PLAN",
    help="A further plan, such as an add-on; repeat it for each.",
)
@click.option(
    "--pricing",
    type=SETTINGS_FILE,
    metavar="FILE",
    help="Use this price list instead of the configured one.",
)
@CONFIG
@JSON
def command(
    plan: str,
    quantities: tuple[str, ...],
    beside: tuple[str, ...],
    at: date | None,
    curve_meter: str | None,
    svg_path: Path | None,
    pricing: Path | None,
    config_path: Path | None,
    is_json: bool,
) -> None:
    """Show what quantities cost under a plan.

    Tier by tier, without a sidecar or any usage. For example: meterline quote starter
    api_calls=120000
    """
    if svg_path is not None and curve_meter is None:
        raise click.UsageError("--svg draws the curve of a meter; add --curve METER")
    usage = _usage(quantities)
    try:
        catalogue = _catalogue(pricing, config_path)
        version = combined([catalogue.plan(name, at=at) for name in (plan, *beside)])
        for meter, used in usage.items():
            _check_shape(meter, used, version.price_of(meter).price)
        if curve_meter is not None:
            up_to = None if not usage else quantity_of(usage.get(curve_meter, 0))
            name = _names(config_path).title(curve_meter)
            _draw(version, curve_meter, up_to, svg_path, name=name, is_json=is_json)
            return
        drawn = invoice(version, usage)
    except PricingError as error:
        raise MeterlineError(str(error)) from error
    if is_json:
        show_json(drawn)
        return
    tell_lines(drawn, _names(config_path))


def _names(config_path: Path | None) -> Names:
    """Return what the meters are called, as far as the configuration can be read.

    A price list can be looked at without one.
    """
    try:
        return read_config(config_path).names
    except ConfigError:
        return Names({})


def _draw(
    plan: Plan,
    meter: str,
    up_to: Decimal | None,
    path: Path | None,
    *,
    name: str,
    is_json: bool,
) -> None:
    """Draw what a meter costs, up to a quantity, and say what is odd about it."""
    price = plan.price_of(meter)
    points = curve(price, up_to=up_to)
    found = findings(price, currency=plan.currency)
    title = f"{name}, plan {plan.name}, version {plan.version}"
    if path is not None:
        svg = draw_svg(points, currency=plan.currency, title=title, findings=found)
        with writing(path):
            path.write_text(svg, encoding="utf-8")
    if is_json:
        show_json({"meter": meter, "points": points, "findings": found})
    elif path is not None:
        click.echo(f"wrote {path}")
    else:
        click.echo(f"{title}\n\n{draw_text(points, currency=plan.currency)}")
        for finding in found:
            click.echo(f"! {finding.message}")


def _catalogue(pricing: Path | None, config_path: Path | None) -> Catalogue:
    if pricing is not None:
        return read_prices(pricing)
    catalogue = read_config(config_path).catalogue
    if not catalogue.plans:
        raise MeterlineError(
            "there is no price list here: name one with --pricing FILE, or create one"
            " with `meterline init`"
        )
    return catalogue


def _usage(quantities: Iterable[str]) -> dict[str, Usage]:
    """Return what the arguments say was used, by meter."""
    usage: dict[str, Usage] = {}
    groups: dict[str, list[Group]] = {}
    for text in quantities:
        match = QUANTITY.fullmatch(text)
        if match is None:
            raise click.BadParameter(f"{EXPECTED}, not {text!r}")
        meter, labels, number = match.groups()
        if THOUSANDS.fullmatch(number):
            raise click.BadParameter(_two_ways(number, text))
        values = tuple(_number(part, text) for part in number.split(","))
        quantity = values[0] if len(values) == 1 else Amounts(values)
        if meter in usage and (labels is None or meter not in groups):
            raise click.BadParameter(f"{meter} is given twice")
        if labels is None:
            usage[meter] = quantity
        else:
            groups.setdefault(meter, []).append(Group(_named(labels, text), quantity))
            usage[meter] = Groups(tuple(groups[meter]))
    return usage


def _named(labels: str, argument: str) -> dict[str, str]:
    """Return the dimension values of ``region=eu,size=xl``."""
    named: dict[str, str] = {}
    for label in labels.split(","):
        name, _, value = (part.strip() for part in label.partition("="))
        if not name or not value:
            raise click.BadParameter(f"{EXPECTED}, not {argument!r}")
        named[name] = value
    return named


def _check_shape(meter: str, used: Usage, price: Price) -> None:
    """Refuse what would be rated, but hardly as it was meant."""
    if isinstance(used, Amounts) and not price.takes_amounts:
        raise MeterlineError(
            f"{meter} counts units: write {meter}=120000 without a comma, which"
            " separates the amounts of events"
        )
    if known := price.grouped_by:
        groups = used.groups if isinstance(used, Groups) else ()
        for name in {name for group in groups for name in group.values}:
            if name not in known:
                raise MeterlineError(unknown("dimension", name, known))


def _two_ways(number: str, argument: str) -> str:
    """Return why ``120,000`` is refused: it may be meant as one number, or as two."""
    amounts = ",".join(f"{int(part)}.00" for part in number.split(","))
    return (
        f"{argument}: `{number}` can be read as {number.replace(',', '')} and as the"
        f" amounts of {number.count(',') + 1} events: write the former without a comma,"
        f" and the latter as {amounts}"
    )


def _number(text: str, argument: str) -> Decimal:
    try:
        return number_typed(text)
    except NotTyped as error:
        raise click.BadParameter(f"{argument}: {error}; {EXPECTED}") from error
