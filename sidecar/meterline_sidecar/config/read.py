"""Reads ``meterline.toml``, and the price list it names; tells every mistake at once.

Precedence: a flag, then the environment, then the file, then the default.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from meterline_pricing import PricingError
from meterline_pricing.errors import unknown
from meterline_pricing.period import Calendar
from meterline_pricing.toml.source import DATE, TEXT, Source, Table
from meterline_sidecar.config.alerts import read_alert_rules, read_alerts, read_portal
from meterline_sidecar.config.kinds import (
    AGGREGATION,
    BILL_THROUGH,
    DIMENSION,
    EVERY_S,
    KIND,
    NAME_KIND,
    PER_S,
    SELDOM_S,
    SEND_MODE,
    SETTLE_S,
    STATUSES,
    STRIPE_MODE,
    URL,
    VALUE,
)
from meterline_sidecar.config.prices import misfits, read_price_list, text_of
from meterline_sidecar.config.shape import (
    STRIPE_API,
    STRIPE_METER_EVENTS,
    BillThrough,
    Config,
    Customer,
    MeterConfig,
    StripeConfig,
)
from meterline_sidecar.config.sidecar import read_sidecar
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.meters import (
    AGGREGATIONS,
    EVENT_VALUES,
    QUANTITY_PREFIX,
    TEXT_VALUES,
    Aggregation,
    KindName,
    Meter,
    Where,
    usual_mode,
    why_not_billable,
)

DEFAULT_NAME: Final = "meterline.toml"


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
    if path is None and Path(DEFAULT_NAME).is_file():
        path = Path(DEFAULT_NAME)
    source = Source("" if path is None else text_of(path), file=str(path))
    folder = Path.cwd() if path is None else path.absolute().parent
    root = source.root
    sidecar, problems = read_sidecar(root.table("sidecar"), folder, environment)
    prices = read_price_list(sidecar.pricing, problems)
    meters = _read_meters(root.tables("meter"))
    customers = _read_customers(root.tables("customer"), prices.plans)
    config = Config(
        file=None if path is None else path.absolute(),
        sidecar=sidecar,
        meters=meters,
        customers=customers,
        stripe=_read_stripe(root.table("stripe"), folder),
        portal=read_portal(root.table("portal"), folder),
        alerts=read_alerts(root.table("alerts"), folder),
        alert_rules=read_alert_rules(
            root.tables("alert"),
            meters=[config.meter.name for config in meters],
            customers=[customer.id for customer in customers],
            plans=prices.catalogue.names,
        ),
        catalogue=prices.catalogue,
    )
    root.close()
    problems += misfits(prices, meters, customers)
    found = [*sorted(source.problems, key=lambda p: p.line or 0), *problems]
    if found:
        raise ConfigError(found)
    return config


def _read_meters(tables: Iterable[Table]) -> tuple[MeterConfig, ...]:
    meters: list[MeterConfig] = []
    for table in tables:
        meter = _read_meter(table)
        if meter.meter.name and any(m.meter.name == meter.meter.name for m in meters):
            table.report("name", f"a second meter is called `{meter.meter.name}`")
        if meter.bill_through == "meter" and any(
            m.bill_through == "meter" and m.stripe_event_name == meter.stripe_event_name
            for m in meters
        ):
            table.report(
                "stripe_event_name",
                f"a second meter is `{meter.stripe_event_name}` at Stripe, which would"
                " add them up as one",
            )
        meters.append(meter)
    return tuple(meters)


def _read_meter(table: Table) -> MeterConfig:
    name = table.need("name", NAME_KIND)
    aggregation = table.need("aggregation", AGGREGATION)
    value = table.take("value", VALUE, None)
    if table.is_sound("aggregation") and table.is_sound("value"):
        _check_value(table, aggregation, value)
    config = MeterConfig(
        meter=Meter(
            name,
            aggregation,
            value,
            _read_where(table.table("where"), aggregation),
            table.items("group_by", DIMENSION),
        ),
        bill_through=_read_bill_through(table),
        stripe_event_name=table.take("stripe_event_name", NAME_KIND, name),
        stripe_mode=table.take("stripe_mode", STRIPE_MODE, usual_mode(aggregation)),
    )
    if config.bill_through == "meter" and table.is_sound("aggregation"):
        reason = why_not_billable(aggregation, config.stripe_mode)
        if reason is not None:
            table.report("bill_through", reason)
    table.close()
    return config


def _check_value(table: Table, aggregation: Aggregation, value: str | None) -> None:
    row = AGGREGATIONS[aggregation]
    if row.needs_value and value is None:
        known = ", ".join(EVENT_VALUES)
        table.report(
            None,
            f"missing key `value`: a {aggregation} meter needs one of {known},"
            f" {QUANTITY_PREFIX}NAME",
        )
    if value in TEXT_VALUES and not row.takes_text:
        takers = (f"`{name}`" for name, it in AGGREGATIONS.items() if it.takes_text)
        table.report(
            "value",
            f"`{value}` is a text: only {' and '.join(takers)} meters take it,"
            f" not `{aggregation}`",
        )


def _read_where(table: Table, aggregation: Aggregation) -> Where:
    kinds: tuple[KindName, ...] = table.items("kind", KIND)
    if not kinds and "kind" not in table:
        kinds = AGGREGATIONS[aggregation].kinds
    where = Where(
        route=table.items("route", TEXT),
        method=table.items("method", TEXT),
        status=table.take("status", STATUSES, ()),
        kind=kinds,
    )
    table.close()
    return where


def _read_bill_through(table: Table) -> BillThrough:
    if table.data.get("bill_through") == "invoice":
        table.take("bill_through", TEXT, "none")
        table.report(
            "bill_through",
            "`invoice` is reserved for invoices that are priced here, which are not"
            " sent to Stripe yet; use `meter` or `none`",
        )
        return "none"
    return table.take("bill_through", BILL_THROUGH, "none")


def _read_customers(
    tables: Iterable[Table], plans: tuple[str, ...] | None
) -> tuple[Customer, ...]:
    customers: list[Customer] = []
    taken: dict[tuple[str, str], str] = {}
    for table in tables:
        customer = _read_customer(table, plans)
        unique = [("id", customer.id), ("stripe_customer", customer.stripe_customer)]
        unique += [("subjects", subject) for subject in customer.subjects]
        for key, text in unique:
            if text and (key, text) in taken:
                owner = taken[key, text]
                table.report(key, f"`{text}` is of customer `{owner}` already")
            elif text:
                taken[key, text] = customer.id
        customers.append(customer)
    return tuple(customers)


def _read_customer(table: Table, plans: tuple[str, ...] | None) -> Customer:
    customer_id = table.need("id", NAME_KIND)
    plan = table.take("plan", TEXT, None)
    # Without a price list that can be read, any plan may be meant.
    if plan and plans is not None and plan not in plans:
        table.report("plan", unknown("plan", plan, plans))
    time_zone = table.take("time_zone", TEXT, "UTC")
    try:
        Calendar(time_zone=time_zone)
    except PricingError as error:
        table.report("time_zone", error.problems[0].message)
    customer = Customer(
        id=customer_id,
        name=table.take("name", TEXT, customer_id),
        subjects=table.items("subjects", TEXT),
        plan=plan,
        stripe_customer=table.take("stripe_customer", TEXT, None),
        time_zone=time_zone,
        starts=table.take("starts", DATE, None),
    )
    table.close()
    return customer


def _read_stripe(table: Table, folder: Path) -> StripeConfig:
    key_file = table.take("api_key_file", TEXT, None)
    secret_file = table.take("webhook_secret_file", TEXT, None)
    config = StripeConfig(
        mode=table.take("mode", SEND_MODE, "dry_run"),
        api_key_file=None if key_file is None else folder / key_file,
        api_base=table.take("api_base", URL, STRIPE_API),
        meter_events_base=table.take("meter_events_base", URL, STRIPE_METER_EVENTS),
        webhook_secret_file=None if secret_file is None else folder / secret_file,
        rate_per_s=table.take("rate_per_s", PER_S, None),
        stream_above_per_s=table.take("stream_above_per_s", PER_S, None),
        settle_s=table.take("settle_s", SETTLE_S, 60),
        report_every_s=table.take("report_every_s", EVERY_S, 5),
        reconcile_every_s=table.take("reconcile_every_s", SELDOM_S, 86_400),
    )
    if "api_key" in table:
        table.take("api_key", TEXT, None)
        table.report(
            "api_key",
            "a key does not belong into this file; put it into a file that only the"
            " sidecar can read and name that in `api_key_file`",
        )
    table.close()
    return config
