"""Reads ``meterline.toml``, and the price list it names; tells every mistake at once.

Precedence: a flag, then the environment, then the file, then the default.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from meterline_pricing import Problem
from meterline_pricing.toml.source import Source
from meterline_sidecar.config.across import (
    Known,
    check_alerts,
    check_archive,
    check_collect_rules,
    check_customers,
    check_grace_rules,
    check_meters,
    check_rules,
    check_together,
    check_ways,
    names_in,
)
from meterline_sidecar.config.archive import ArchiveConfig
from meterline_sidecar.config.centre import CentreConfig, check_role
from meterline_sidecar.config.cut import without_customers
from meterline_sidecar.config.places import (
    on_server,
    overridden,
    placed,
    placed_archive,
    placed_sidecar,
)
from meterline_sidecar.config.prices import (
    UNREADABLE,
    PriceList,
    misfits,
    read_price_list,
    shown,
    text_of,
)
from meterline_sidecar.config.shape import Config
from meterline_sidecar.config.sidecar import SidecarConfig
from meterline_sidecar.config.tables import ROOT
from meterline_sidecar.errors import ConfigError

DEFAULT_NAME: Final = "meterline.toml"
NO_PLANS: Final = "an edge has no plans: move this file to the centre"
NOT_A_CENTRE: Final = (
    'a ledger in a database on a server is a centre\'s: write role = "centre", or name'
    " a file here"
)
PRICING_VARIABLE: Final = "METERLINE_PRICING"


def read_config(
    path: Path | None, *, environment: Mapping[str, str] = os.environ
) -> Config:
    """Return what the file says; without a file, the defaults.

    Args:
        path: the file; ``None`` takes ``meterline.toml`` of this directory, if any.
        environment: its ``METERLINE_*`` stand above the file.

    Raises:
        ConfigError: with every problem in both files, a line each.
    """
    return _read(path, environment, is_whole=True)


def read_settings(
    path: Path | None, *, environment: Mapping[str, str] = os.environ
) -> Config:
    """Return what the file says, but for its customers and prices: there are none.

    For who asks the ledger of them, or the sidecar: very many take seconds to read.

    Raises:
        ConfigError: as ``read_config``; what is wrong with those is not looked at.
    """
    try:
        return _read(path, environment, is_whole=False)
    except ConfigError:
        return read_config(path, environment=environment)  # says all that is wrong


def _read(
    path: Path | None, environment: Mapping[str, str], *, is_whole: bool
) -> Config:
    if path is None and Path(DEFAULT_NAME).is_file():
        path = Path(DEFAULT_NAME)
    text = "" if path is None else text_of(path)
    source = Source(text if is_whole else without_customers(text), file=str(path))
    folder = Path.cwd() if path is None else path.absolute().parent
    problems: list[Problem] = []  # of anything but this file
    values: dict[str, Any] = ROOT.read(source.root)
    sidecar = overridden(values.pop("sidecar", SidecarConfig()), environment, problems)
    sidecar, server = on_server(sidecar, folder)
    sidecar = placed_sidecar(sidecar, folder, problems)
    values["centre"] = overridden(
        values.get("centre", CentreConfig()), environment, problems
    )
    archive = placed_archive(values.pop("archive", ArchiveConfig()), folder)
    prices = UNREADABLE
    if is_whole:
        prices = _read_prices(source, sidecar, environment, problems)
    tables: dict[str, Any] = {
        name: value if isinstance(value, tuple) else placed(value, folder)
        for name, value in values.items()
    }
    config = Config(
        file=None if path is None else path.absolute(),
        sidecar=sidecar,
        archive=archive,
        catalogue=prices.catalogue,
        server=server,
        **tables,
    )
    known = Known(
        meters=names_in(source, "meter", "name"),
        customers=names_in(source, "customer", "id") if is_whole else None,
        plans=prices.plans,
    )
    check_meters(source, config.meters)
    check_customers(source, config.customers, known)
    check_together(source, config.customers, config.catalogue)
    check_rules(source, config.customer_rules, known)
    check_alerts(source, config.alert_rules, known)
    check_grace_rules(source, config.grace_rules, known)
    check_collect_rules(source, config.collect_rules, known)
    check_ways(source, config.customers, config.collect_rules, config.meters)
    check_archive(source, config.sidecar.role, config.retention, config.archive)
    check_role(source, config.sidecar.role, config.centre)
    if server is not None and config.sidecar.role != "centre":
        problems.append(Problem(NOT_A_CENTRE, "sidecar.database"))
    if config.is_edge and sidecar.pricing is not None and config.catalogue.plans:
        problems.append(Problem(NO_PLANS, shown(sidecar.pricing)))
    problems += misfits(prices, config.meters, known)
    found = [*sorted(source.problems, key=lambda p: p.line or 0), *problems]
    if found:
        raise ConfigError(found)
    return config


def _read_prices(
    source: Source,
    sidecar: SidecarConfig,
    environment: Mapping[str, str],
    problems: list[Problem],
) -> PriceList:
    """Return the price list; tell who named it where it is not there."""
    path = sidecar.pricing
    if path is None or not _is_missing(path):
        return read_price_list(path, problems)
    message = f"no such file: {shown(path)}"
    if environment.get(PRICING_VARIABLE):
        problems.append(Problem(message, PRICING_VARIABLE))
    else:
        source.report(("sidecar", "pricing"), message)
    return UNREADABLE


def _is_missing(path: Path) -> bool:
    """Tell whether nothing is there; whoever reads it says what else is the matter."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # a name that is too long, or has a zero byte in it
        return False
    return False
