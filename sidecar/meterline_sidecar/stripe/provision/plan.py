"""What the configuration wants of Stripe, and what that means for what is there. Pure."""

import datetime
from collections.abc import Iterable
from typing import Any, Final, Literal

from msgspec import Struct

from meterline_pricing import Plan, PricingError, RateCard
from meterline_sidecar.config.shape import Config, MeterConfig
from meterline_sidecar.meters import AGGREGATIONS
from meterline_sidecar.stripe.billed import BilledMeter
from meterline_sidecar.stripe.provision.agreements import (
    long_keys,
    override_problems,
    plan_problems,
    repeated_keys,
)
from meterline_sidecar.stripe.provision.prices import (
    NotSayable,
    content_hash,
    known_fields,
    price_fields,
    recurring_fields,
)

CUSTOMER_KEY: Final = "stripe_customer_id"
VALUE_KEY: Final = "value"
HASH_AT: Final = "metadata"
HASH: Final = "meterline_hash"

Verb = Literal["create", "reactivate", "replace"]
ObjectKind = Literal["meter", "product", "price"]


class ProvisionStep(Struct, frozen=True):
    """One change at Stripe."""

    verb: Verb
    kind: ObjectKind
    name: str
    """The event name, the product's id, or the price's lookup key."""
    details: dict[str, Any] = {}
    """What is created."""
    former: dict[str, Any] = {}
    """What is replaced, as far as it is known."""
    existing_id: str | None = None
    """What is reactivated or replaced."""
    event_name: str | None = None
    """The meter of a price."""


class Provision(Struct, frozen=True):
    """The difference between the configuration and Stripe."""

    steps: tuple[ProvisionStep, ...]
    unchanged: tuple[str, ...]
    problems: tuple[str, ...]
    """What cannot be mended here; nothing is changed while there are any."""


class WantedPrice(Struct, frozen=True):
    """A price that Stripe should have."""

    lookup_key: str
    product: str
    title: str
    fields: dict[str, Any]
    event_name: str | None

    @property
    def hash(self) -> str:
        """What the price charges, in short."""
        return content_hash(self.fields, self.event_name)


def wanted_prices(
    config: Config, *, today: datetime.date
) -> tuple[list[WantedPrice], list[str]]:
    """Return the prices of every plan that charges for billed meters, and problems."""
    meters = {m.meter.name: m for m in billed(config)}
    wanted: list[WantedPrice] = []
    problems: list[str] = []
    named: list[tuple[str, str]] = []
    for name in config.catalogue.names:
        try:
            plan = config.catalogue.plan(name, at=today)
        except PricingError:
            continue  # its first version is not effective yet
        owns = _as_customers_have_it(config, name, today=today)
        if not any(c.meter in meters for p in (plan, *owns.values()) for c in p.prices):
            continue
        problems += plan_problems(plan)
        for customer, own in owns.items():
            problems += override_problems(plan, own, customer=customer, meters=meters)
        for card in plan.prices:
            if card.meter is not None and card.meter not in meters:
                continue
            what = f"plan {name}, price {card.name}"
            try:
                price = _wanted_price(plan, card, meters.get(card.meter or ""))
            except NotSayable as error:
                problems.append(f"{what}: Stripe's prices have no {error}")
                continue
            wanted.append(price)
            named.append((price.lookup_key, what))
    return wanted, [*problems, *repeated_keys(named), *long_keys(named)]


def _wanted_price(plan: Plan, card: RateCard, meter: MeterConfig | None) -> WantedPrice:
    key = f"meterline_{plan.name}_{card.name}"
    # A flat price is due once: of a meter, it would be due for each of its units.
    event_name = (
        None if meter is None or card.price.is_fixed else meter.stripe_event_name
    )
    return WantedPrice(
        lookup_key=key,
        product=key,
        title=f"{plan.name}: {card.description}",
        fields={**price_fields(card, plan.currency), **recurring_fields(plan)},
        event_name=event_name,
    )


def _as_customers_have_it(
    config: Config, plan: str, *, today: datetime.date
) -> dict[str, Plan]:
    """Return a plan as each customer who overrides it has it."""
    return {
        override.customer: config.catalogue.plan(
            plan, at=today, customer=override.customer
        )
        for override in config.catalogue.overrides
        if override.plan == plan
    }


def billed(config: Config) -> Iterable[MeterConfig]:
    """Return the meters that Stripe prices."""
    return (meter for meter in config.meters if meter.bill_through == "meter")


def active_id(meters: Iterable[dict[str, Any]]) -> str | None:
    """Return the id of the active one of meters with the same event name."""
    return next((m["id"] for m in meters if m["status"] == "active"), None)


def meter_step(
    meter: BilledMeter, existing: list[dict[str, Any]]
) -> tuple[ProvisionStep | None, str | None]:
    """Return what a meter needs, or what is wrong with the one that exists."""
    hourly = AGGREGATIONS[meter.aggregation].hourly
    assert hourly is not None, "`check` refuses to bill such a meter through Stripe"
    formula = hourly.formula
    is_set = meter.mode == "set" and formula == "sum"
    window = "hour" if is_set else None
    name = meter.event_name
    if not existing:
        details: dict[str, Any] = {
            "event_name": name,
            "display_name": meter.name,
            "default_aggregation": {"formula": formula},
            "customer_mapping": {"type": "by_id", "event_payload_key": CUSTOMER_KEY},
            "value_settings": {"event_payload_key": VALUE_KEY},
        }
        if window is not None:
            details["event_time_window"] = window
        return ProvisionStep("create", "meter", name, details), None
    found = next((m for m in existing if m["status"] == "active"), existing[0])
    wanted = {
        "default_aggregation.formula": formula,
        "event_time_window": window,
        "customer_mapping.event_payload_key": CUSTOMER_KEY,
        "value_settings.event_payload_key": VALUE_KEY,
    }
    differences = [
        f"{field} is {_at(found, field)!r}, not {value!r}"
        for field, value in wanted.items()
        if _at(found, field) != value
    ]
    if differences:
        return None, (
            f"meter {name} ({found['id']}): {'; '.join(differences)}. A meter cannot be"
            " changed: set stripe_mode to what it is, or choose another"
            " stripe_event_name"
        )
    if found["status"] != "active":
        return ProvisionStep("reactivate", "meter", name, existing_id=found["id"]), None
    return None, None


def _at(content: dict[str, Any], path: str) -> Any:
    value: Any = content
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return value


def price_step(
    wanted: WantedPrice, existing: dict[str, Any] | None, meter_id: str | None
) -> tuple[ProvisionStep | None, str | None]:
    """Return what a price needs, or what is wrong with the one that has its key."""
    names = {
        "product": wanted.product,
        "lookup_key": wanted.lookup_key,
        "nickname": wanted.title,
    }
    details = {**wanted.fields, **names, HASH_AT: {HASH: wanted.hash}}
    if existing is None:
        step = ProvisionStep(
            "create", "price", wanted.lookup_key, details, event_name=wanted.event_name
        )
        return step, None
    known_hash = _at(existing, f"{HASH_AT}.{HASH}")
    if known_hash is None:
        return None, (
            f"price {existing['id']} has our lookup key {wanted.lookup_key} and was not"
            " made by Meterline: give it another lookup key, or rename the plan"
        )
    is_same = bool(known_hash == wanted.hash)
    is_same_meter = _at(existing, "recurring.meter") == meter_id
    if is_same and is_same_meter:
        if existing.get("active") is False:
            step = ProvisionStep(
                "reactivate", "price", wanted.lookup_key, existing_id=existing["id"]
            )
            return step, None
        return None, None
    step = ProvisionStep(
        verb="replace",
        kind="price",
        name=wanted.lookup_key,
        details=details,
        former={
            **known_fields(existing, wanted.fields),
            **names,
            HASH_AT: {HASH: known_hash},
        },
        existing_id=existing["id"],
        event_name=wanted.event_name,
    )
    return step, None
