"""Meters, products and prices at Stripe: what is missing, and making it.

Nothing is changed that somebody else made, and nothing twice: meters are found by
their event name, products by an id that we choose, prices by a lookup key and a hash
of what they charge. A price can not be changed: a new one takes over its lookup key.
"""

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from meterline_pricing import PricingError
from meterline_sidecar.config import Config, MeterConfig
from meterline_sidecar.errors import StripeRefused
from meterline_sidecar.stripe_prices import (
    NotSayable,
    charged,
    content_hash,
    price_fields,
)
from meterline_sidecar.stripe_totals import read_all

LOOKUP_KEYS_PER_READ: Final = 10
CUSTOMER_KEY: Final = "stripe_customer_id"
VALUE_KEY: Final = "value"
HASH_AT: Final = "metadata"
HASH: Final = "meterline_hash"
NOT_FOUND: Final = 404

Verb = Literal["create", "reactivate", "replace"]
Kind = Literal["meter", "product", "price"]


class StripeCalls(Protocol):
    """The way to Stripe that provisioning needs."""

    async def call(
        self,
        method: Literal["get", "post"],
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Return the answer of an address.

        Raises:
            StripeRefused: Stripe said no.
            RetryLater: it may say yes later.
        """
        ...


class Step(Struct, frozen=True):
    """One change at Stripe."""

    verb: Verb
    kind: Kind
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

    steps: tuple[Step, ...]
    unchanged: tuple[str, ...]
    problems: tuple[str, ...]
    """What can not be mended here; nothing is changed while there are any."""


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
    billed = {m.meter.name: m for m in _billed(config)}
    wanted: list[WantedPrice] = []
    problems: list[str] = []
    for name in config.catalogue.names:
        try:
            plan = config.catalogue.plan(name, at=today)
        except PricingError:
            continue  # its first version is not effective yet
        if not any(card.meter in billed for card in plan.prices):
            continue
        for card in plan.prices:
            if card.meter is not None and card.meter not in billed:
                continue
            try:
                fields = price_fields(card, plan.currency)
            except NotSayable as error:
                problems.append(
                    f"plan {name}, price {card.name}: Stripe's prices have no {error}"
                )
                continue
            key = f"meterline_{name}_{card.name}"
            meter = billed.get(card.meter or "")
            event_name = None if meter is None else meter.stripe_event_name
            title = f"{name}: {card.description}"
            wanted.append(WantedPrice(key, key, title, fields, event_name))
    return wanted, problems


class Provisioner:
    """Plans and applies what the configuration wants of Stripe."""

    def __init__(
        self, stripe: StripeCalls, config: Config, *, today: datetime.date
    ) -> None:
        self._stripe = stripe
        self._config = config
        self._today = today

    async def plan(self) -> Provision:
        """Return what is missing at Stripe, without changing anything.

        Raises:
            StripeRefused: the key may not read.
            RetryLater: Stripe can not be asked now.
        """
        steps: list[Step] = []
        unchanged: list[str] = []
        wanted, problems = wanted_prices(self._config, today=self._today)
        found = await self._meters()
        for meter in _billed(self._config):
            step, problem = _meter_step(meter, found.get(meter.stripe_event_name, []))
            steps += [] if step is None else [step]
            problems += [] if problem is None else [problem]
            if step is None and problem is None:
                unchanged.append(f"meter {meter.stripe_event_name}")
        prices = await self._prices([price.lookup_key for price in wanted])
        for price in wanted:
            product = await self._product_step(price)
            steps += [] if product is None else [product]
            if product is None:
                unchanged.append(f"product {price.product}")
            meter_id = _active_id(found.get(price.event_name or "", []))
            existing = prices.get(price.lookup_key)
            step, problem = _price_step(price, existing, meter_id)
            steps += [] if step is None else [step]
            problems += [] if problem is None else [problem]
            if step is None and problem is None:
                unchanged.append(f"price {price.lookup_key}")
        return Provision(tuple(steps), tuple(unchanged), tuple(problems))

    async def drift(self) -> list[str]:
        """Return what is wrong with the meters that exist: one read of all of them.

        Raises:
            StripeRefused: the key may not read.
            RetryLater: Stripe can not be asked now.
        """
        found = await self._meters()
        steps = (
            _meter_step(meter, found.get(meter.stripe_event_name, []))
            for meter in _billed(self._config)
        )
        return [problem for _, problem in steps if problem is not None]

    async def apply(self, provision: Provision) -> None:
        """Make every change of a plan without problems, in order.

        Repeating it after a failure half way is safe: each change has a key, and
        what is done already does not show in the next plan.
        """
        assert not provision.problems, "nothing is changed while there are problems"
        for step in provision.steps:
            await self._apply(step)

    # --- reading

    async def _meters(self) -> dict[str, list[dict[str, Any]]]:
        """Return every meter, active or not, by its event name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for meter in await read_all(self._stripe, "/v1/billing/meters"):
            found.setdefault(meter["event_name"], []).append(meter)
        return found

    async def _prices(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), LOOKUP_KEYS_PER_READ):
            some = keys[start : start + LOOKUP_KEYS_PER_READ]
            params = {"lookup_keys": some, "expand": ["data.tiers"]}
            prices = await read_all(self._stripe, "/v1/prices", params)
            found |= {price["lookup_key"]: price for price in prices}
        return found

    async def _product_step(self, price: WantedPrice) -> Step | None:
        try:
            path = f"/v1/products/{price.product}"
            product = await self._stripe.call("get", path)
        except StripeRefused as error:
            if error.status != NOT_FOUND:
                raise
            details = {"id": price.product, "name": price.title}
            return Step("create", "product", price.product, details)
        if product.get("active") is False:
            return Step(
                "reactivate", "product", price.product, existing_id=product["id"]
            )
        return None

    # --- changing

    async def _apply(self, step: Step) -> None:
        match step.kind, step.verb:
            case "meter", "create":
                await self._post("/v1/billing/meters", step.details)
            case "meter", _:
                await self._post(
                    f"/v1/billing/meters/{step.existing_id}/reactivate", {}, again=True
                )
            case "product", "create":
                await self._post("/v1/products", step.details)
            case "product" | "price", "reactivate":
                path = f"/v1/{step.kind}s/{step.existing_id}"
                await self._post(path, {"active": "true"}, again=True)
            case _:
                await self._apply_price(step)

    async def _apply_price(self, step: Step) -> None:
        recurring: dict[str, object] = {"interval": "month"}
        if step.event_name is not None:
            meters = await self._meters()
            meter_id = _active_id(meters.get(step.event_name, []))
            recurring |= {"usage_type": "metered", "meter": meter_id}
        details: dict[str, object] = {
            **step.details,
            "recurring": recurring,
            "transfer_lookup_key": "true",
        }
        await self._post("/v1/prices", details, salt=step.existing_id or "")
        if step.existing_id is not None:
            # Subscriptions that have the old price keep it; no new one can take it.
            await self._post(
                f"/v1/prices/{step.existing_id}", {"active": "false"}, again=True
            )

    async def _post(
        self,
        path: str,
        details: dict[str, object],
        *,
        salt: str = "",
        again: bool = False,
    ) -> None:
        """Send a change; ``again`` is for one that may be needed twice in a day."""
        text = f"{path}\n{sorted(details.items(), key=str)}\n{salt}"
        key = None if again else "ml-" + hashlib.sha256(text.encode()).hexdigest()
        await self._stripe.call("post", path, details, key=key)


def _billed(config: Config) -> Iterable[MeterConfig]:
    return (meter for meter in config.meters if meter.bill_through == "meter")


def _active_id(meters: Iterable[dict[str, Any]]) -> str | None:
    return next((m["id"] for m in meters if m["status"] == "active"), None)


def _meter_step(
    meter: MeterConfig, existing: list[dict[str, Any]]
) -> tuple[Step | None, str | None]:
    """Return what a meter needs, or what is wrong with the one that exists."""
    formula = "last" if meter.meter.aggregation == "latest" else "sum"
    is_set = meter.stripe_mode == "set" and formula == "sum"
    window = "hour" if is_set else None
    name = meter.stripe_event_name
    if not existing:
        details: dict[str, Any] = {
            "event_name": name,
            "display_name": meter.meter.name,
            "default_aggregation": {"formula": formula},
            "customer_mapping": {"type": "by_id", "event_payload_key": CUSTOMER_KEY},
            "value_settings": {"event_payload_key": VALUE_KEY},
        }
        if window is not None:
            details["event_time_window"] = window
        return Step("create", "meter", name, details), None
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
            f"meter {name} ({found['id']}): {'; '.join(differences)}. A meter can not be"
            " changed: set stripe_mode to what it is, or choose another"
            " stripe_event_name"
        )
    if found["status"] != "active":
        return Step("reactivate", "meter", name, existing_id=found["id"]), None
    return None, None


def _at(content: dict[str, Any], path: str) -> Any:
    value: Any = content
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return value


def _price_step(
    wanted: WantedPrice, existing: dict[str, Any] | None, meter_id: str | None
) -> tuple[Step | None, str | None]:
    """Return what a price needs, or what is wrong with the one that has its key."""
    names = {
        "product": wanted.product,
        "lookup_key": wanted.lookup_key,
        "nickname": wanted.title,
    }
    details = {**wanted.fields, **names, HASH_AT: {HASH: wanted.hash}}
    if existing is None:
        step = Step(
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
            step = Step(
                "reactivate", "price", wanted.lookup_key, existing_id=existing["id"]
            )
            return step, None
        return None, None
    step = Step(
        *("replace", "price", wanted.lookup_key, details),
        former={
            **charged(existing, wanted.fields),
            **names,
            HASH_AT: {HASH: known_hash},
        },
        existing_id=existing["id"],
        event_name=wanted.event_name,
    )
    return step, None
