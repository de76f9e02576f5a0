"""Reads the price list, and checks that meters and customers fit it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from meterline_pricing import (
    Catalogue,
    Override,
    Plan,
    PricingError,
    Problem,
    load,
)
from meterline_pricing.models import PriceModel
from meterline_pricing.toml.lines import KeyPath
from meterline_pricing.toml.load import read_catalogue
from meterline_pricing.toml.source import Source
from meterline_sidecar.config.across import (
    Known,
    WrittenNames,
    names_in,
    tables_of,
)
from meterline_sidecar.config.llm_prices import fill_in
from meterline_sidecar.config.shape import MeterConfig
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.meters import Meter
from meterline_sidecar.small_file import read_small_file

FILE_BYTES_MAX: Final = 32 << 20  # 100,000 customers with ten lines each


class PriceList(NamedTuple):
    """The price list of a configuration, as far as it could be read."""

    catalogue: Catalogue
    """Empty where the file has mistakes."""
    plans: WrittenNames | None
    source: Source | None


UNREADABLE: Final = PriceList(Catalogue(), None, None)
"""A price list that is there, or should be, and of which nothing is known."""


def read_prices(path: Path) -> Catalogue:
    """Return the plans of a price list alone.

    Raises:
        ConfigError: with every problem in it, a line each.
    """
    try:
        return load(text_of(path), file=shown(path), prepare=fill_in)
    except PricingError as error:
        raise ConfigError(error.problems) from error


def read_price_list(path: Path | None, problems: list[Problem]) -> PriceList:
    """Return the price list; note what is wrong with it in ``problems``."""
    if path is None:
        return PriceList(Catalogue(), WrittenNames(()), None)
    try:
        text = text_of(path)
    except ConfigError as error:
        problems += error.problems
        return UNREADABLE
    source = Source(text, file=shown(path))
    fill_in(source)
    catalogue = read_catalogue(source)
    if source.problems:
        problems += sorted(source.problems, key=lambda problem: problem.line or 0)
        catalogue = Catalogue()
    if not source.is_toml:
        return UNREADABLE
    source.problems.clear()  # they were told already
    return PriceList(catalogue, names_in(source, "plan", "name"), source)


def misfits(
    prices: PriceList, meters: Sequence[MeterConfig], known: Known
) -> list[Problem]:
    """Return a problem for everything in the price list that cannot be charged for.

    What nobody measures, customers that nobody knows, and prices that need more than
    the totals that a meter keeps.
    """
    source = prices.source
    if source is None:
        return []
    measured = {config.meter.name: config for config in meters}
    for path, meter in _mentions(source.root.data):
        if known.meters is not None and meter not in known.meters:
            source.report(path, known.meters.unknown("meter", meter))
    for path, override in tables_of(source.root.data, "override"):
        customer = override.get("customer")
        named = known.customers
        if isinstance(customer, str) and named is not None and customer not in named:
            source.report((*path, "customer"), named.unknown("customer", customer))
    for key, i, holder in _holders(prices.catalogue):
        for j, card in enumerate(holder.prices):
            if card.meter in measured:
                for message in unmet(card.price, measured[card.meter].meter):
                    source.report((key, i, "price", j), message)
    return sorted(source.problems, key=lambda problem: problem.line or 0)


def _holders(catalogue: Catalogue) -> Iterator[tuple[str, int, Plan | Override]]:
    """Yield what has prices, with its key in the file."""
    for i, plan in enumerate(catalogue.plans):
        yield "plan", i, plan
    for i, override in enumerate(catalogue.overrides):
        yield "override", i, override


def unmet(price: PriceModel, meter: Meter) -> Iterator[str]:
    """Yield what a price needs and a meter does not give."""
    name, groups = meter.name, meter.group_by
    if price.needs_events:
        yield (
            f"`{name}` is a total, and this price needs the amount of every event:"
            " leave out fixed, free_events, minimum and maximum"
        )
    yield from _ungrouped(price.grouped_by or (), name, groups)
    for inner in price.inner:
        yield from unmet(inner, meter)


def _ungrouped(
    dimensions: Sequence[str], meter: str, groups: Sequence[str]
) -> Iterator[str]:
    for dimension in dimensions:
        if dimension not in groups:
            yield f"`{dimension}` is not in the group_by of meter `{meter}`"


def _mentions(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield every meter that a price names, and where."""
    for key in ("plan", "override"):
        for path, holder in tables_of(data, key):
            for at, price in tables_of(holder, "price"):
                for name in ("meter", "tier_by"):
                    if isinstance(meter := price.get(name), str):
                        yield (*path, *at, name), meter


def text_of(path: Path) -> str:
    """Return what stands in a file of the configuration.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        # Some editors begin each file with a byte order mark, which nobody sees.
        content = read_small_file(path, bytes_max=FILE_BYTES_MAX)
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{shown(path)}: no such file; `meterline init` writes a first one"
        ) from error
    except PermissionError as error:
        raise ConfigError(
            f"{shown(path)}: cannot be read: permission denied; let this user read it,"
            " and enter the directories above it"
        ) from error
    except OSError as error:
        reason = str(error.strerror).lower()
        raise ConfigError(f"{shown(path)}: cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown(path)}: not UTF-8 at byte {error.start}") from error


def shown(path: Path) -> str:
    """Return a path as people read it: relative where it is below this directory.

    Below the root everything is, as in a container: there it is shown whole.
    """
    here = Path.cwd()
    is_below = here != here.parent and path.is_relative_to(here)
    return str(path.relative_to(here) if is_below else path)
