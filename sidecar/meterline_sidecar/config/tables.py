"""The tables of ``meterline.toml``, and what the keys of one must be to each other."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from msgspec.structs import replace

from meterline_pricing import Calendar, PricingError, Problem
from meterline_pricing.toml.shape import (
    Key,
    Many,
    Nested,
    NestedMany,
    One,
    OneOrMany,
    Others,
    Plain,
)
from meterline_pricing.toml.source import TEXT, one_of
from meterline_sidecar.config.alerts import AlertRule, AlertsConfig
from meterline_sidecar.config.archive import ArchiveConfig, RetentionConfig
from meterline_sidecar.config.billing import BillingConfig, GraceRule, check_grace
from meterline_sidecar.config.centre import CentreConfig
from meterline_sidecar.config.collect import CollectRule, check_collect
from meterline_sidecar.config.filters import (
    ANY,
    DIMENSION,
    METHOD,
    PATTERN,
    PROPERTY,
    STATUSES,
    never_matching,
)
from meterline_sidecar.config.held_plans import HeldPlan, with_first
from meterline_sidecar.config.keys import keys_of
from meterline_sidecar.config.kinds import NAME, VALUE
from meterline_sidecar.config.seller import SellerConfig
from meterline_sidecar.config.shape import (
    Customer,
    CustomerRule,
    MeterConfig,
    PortalConfig,
    PropertiesConfig,
)
from meterline_sidecar.config.sidecar import SidecarConfig
from meterline_sidecar.config.stripe import StripeConfig
from meterline_sidecar.meters import (
    AGGREGATIONS,
    EVENT_VALUES,
    QUANTITY_PREFIX,
    TEXT_VALUES,
    Aggregation,
    Meter,
    usual_mode,
    why_not_billable,
)
from meterline_sidecar.where import KindName, Where

*_FILTERS, _OF_PROPERTY = keys_of(
    Where,
    route=OneOrMany(TEXT),
    method=OneOrMany(METHOD),
    status=One(STATUSES),
    kind=OneOrMany(one_of("kind", get_args(KindName))),
    properties=OneOrMany(PATTERN),
)
WHERE: Final = Plain(
    "where",
    tuple(_FILTERS),
    dict,  # whether `kind` is written matters to the meter
    struct=Where,
    others=Others(replace(_OF_PROPERTY, name=ANY), PROPERTY),
)
MEASURED: Final = keys_of(
    Meter,
    name=One(NAME),
    value=One(VALUE),
    where=Nested(lambda: WHERE),
    group_by=Many(DIMENSION),
)
TOLD: Final = keys_of(MeterConfig)


def _meter(
    *,
    name: str,
    aggregation: Aggregation,
    where: Mapping[str, Any] | None = None,
    **rest: Any,
) -> MeterConfig:
    told = {key.field for key in TOLD}
    taken: dict[str, Any] = {"kind": AGGREGATIONS[aggregation].kinds, **(where or {})}
    usual: dict[str, Any] = {
        "stripe_event_name": name,
        "stripe_mode": usual_mode(aggregation),
    }
    return MeterConfig(
        meter=Meter(
            name,
            aggregation,
            where=Where(**taken),
            **{key: value for key, value in rest.items() if key not in told},
        ),
        **{**usual, **{key: value for key, value in rest.items() if key in told}},
    )


def _check_meter(config: MeterConfig) -> Iterator[Problem]:
    meter = config.meter
    if AGGREGATIONS[meter.aggregation].needs_value and meter.value is None:
        known = ", ".join(EVENT_VALUES)
        yield Problem(
            f"missing: a {meter.aggregation} meter needs one of {known},"
            f" {QUANTITY_PREFIX}NAME",
            "value",
        )
    if meter.value in TEXT_VALUES and not AGGREGATIONS[meter.aggregation].takes_text:
        takers = (f"`{name}`" for name, it in AGGREGATIONS.items() if it.takes_text)
        yield Problem(
            f"`{meter.value}` is a text: only {' and '.join(takers)} meters take it,"
            f" not `{meter.aggregation}`",
            "value",
        )
    if meter.scale and not meter.takes_fractions:
        yield Problem(
            f"only a meter that adds up {QUANTITY_PREFIX}NAME or `units` takes fractions",
            "scale",
        )
    for never in never_matching(meter):
        yield Problem(never, "where")
    if config.bill_through == "meter":
        reason = why_not_billable(meter, config.stripe_mode)
        if reason is not None:
            yield Problem(reason, "bill_through")


def _customer(*, id: str, **rest: Any) -> Customer:  # noqa: A002 - the key's name
    plan, plans = with_first(rest.pop("plan", None), rest.pop("plans", ()))
    return Customer(id=id, name=rest.pop("name", id), plan=plan, plans=plans, **rest)


def _check_customer(customer: Customer) -> Iterator[Problem]:
    try:
        calendar_of(customer)
    except PricingError as error:
        yield Problem(error.problems[0].message, "time_zone")
    if customer.starts and customer.ends and customer.ends < customer.starts:
        yield Problem(f"is before the first day, {customer.starts}", "ends")


def _alert(*, at: tuple[int, ...] = (), **rest: Any) -> AlertRule:
    return AlertRule(at=at, **rest) if at else AlertRule(**rest)


def _check_alert(rule: AlertRule) -> Iterator[Problem]:
    if rule.included:
        if rule.kind != "limit" or rule.meter is None or rule.amount is not None:
            message = "only a limit on a meter can have it, instead of `amount`"
            yield Problem(message, "included")
    elif rule.kind == "limit" and (rule.amount is None or rule.amount <= 0):
        message = "a limit needs an amount above 0, or `included = true`"
        yield Problem(message, "amount")
    if rule.kind != "limit" and rule.meter is None:
        yield Problem(f"missing: a {rule.kind} is of a meter's usage", "meter")


SIDECAR: Final = Plain("sidecar", keys_of(SidecarConfig), SidecarConfig)
CENTRE: Final = Plain("centre", keys_of(CentreConfig), CentreConfig)
METER: Final = Plain(
    "meter", (*MEASURED, *TOLD), _meter, check=_check_meter, struct=MeterConfig
)
HELD_PLAN: Final = Plain("held_plan", keys_of(HeldPlan), HeldPlan)
CUSTOMER: Final = Plain(
    "customer",
    keys_of(Customer, plans=NestedMany(lambda: HELD_PLAN)),
    _customer,
    check=_check_customer,
    struct=Customer,
)
RULE: Final = Plain("customer_rule", keys_of(CustomerRule), CustomerRule)
BILLING: Final = Plain("billing", keys_of(BillingConfig), BillingConfig)
GRACE: Final = Plain("grace", keys_of(GraceRule), GraceRule, check=check_grace)
COLLECT: Final = Plain(
    "collect", keys_of(CollectRule), CollectRule, check=check_collect
)
SELLER: Final = Plain("seller", keys_of(SellerConfig), SellerConfig)
STRIPE: Final = Plain(
    "stripe",
    keys_of(StripeConfig),
    StripeConfig,
    refused={
        "api_key": "a key does not belong into this file; put it into a file that only"
        " the sidecar can read and name that in `api_key_file`"
    },
)
PROPERTIES: Final = Plain("properties", keys_of(PropertiesConfig), PropertiesConfig)
PORTAL: Final = Plain("portal", keys_of(PortalConfig), PortalConfig)
RETENTION: Final = Plain("retention", keys_of(RetentionConfig), RetentionConfig)
ARCHIVE: Final = Plain("archive", keys_of(ArchiveConfig), ArchiveConfig)
ALERTS: Final = Plain("alerts", keys_of(AlertsConfig), AlertsConfig)
ALERT: Final = Plain(
    "alert", keys_of(AlertRule), _alert, check=_check_alert, struct=AlertRule
)
ROOT: Final = Plain(
    "meterline",
    (
        Key("sidecar", Nested(lambda: SIDECAR)),
        Key("centre", Nested(lambda: CENTRE)),
        Key("meter", NestedMany(lambda: METER), field="meters"),
        Key("properties", Nested(lambda: PROPERTIES)),
        Key("customer", NestedMany(lambda: CUSTOMER), field="customers"),
        Key("customer_rule", NestedMany(lambda: RULE), field="customer_rules"),
        Key("billing", Nested(lambda: BILLING)),
        Key("grace", NestedMany(lambda: GRACE), field="grace_rules"),
        Key("collect", NestedMany(lambda: COLLECT), field="collect_rules"),
        Key("seller", Nested(lambda: SELLER)),
        Key("stripe", Nested(lambda: STRIPE)),
        Key("portal", Nested(lambda: PORTAL)),
        Key("retention", Nested(lambda: RETENTION)),
        Key("archive", Nested(lambda: ARCHIVE)),
        Key("alerts", Nested(lambda: ALERTS)),
        Key("alert", NestedMany(lambda: ALERT), field="alert_rules"),
    ),
    dict,  # read.py makes the configuration, once it has the environment and the prices
)
"""All of ``meterline.toml``."""


def calendar_of(customer: Customer) -> Calendar:
    """Return the customer's billing calendar."""
    return Calendar(time_zone=customer.time_zone, starts=customer.starts)
