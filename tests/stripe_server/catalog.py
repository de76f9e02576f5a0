"""Meters, products, prices and totals: what is read and provisioned."""

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from tests.stripe_server import errors
from tests.stripe_server.account import DAY_S, HOUR_S, Account, Meter
from tests.stripe_server.errors import StripeRefusal, answer
from tests.stripe_server.forms import check, is_true, nested
from tests.stripe_server.http import Request, Response
from tests.stripe_server.invoices import Invoices

PRODUCT_FIELDS: Final = ("id", "name", "metadata", "active", "description", "expand")
PRICE_FIELDS: Final = (
    *("currency", "product", "recurring", "billing_scheme", "tiers", "tiers_mode"),
    *("unit_amount", "unit_amount_decimal", "transform_quantity", "lookup_key"),
    *("transfer_lookup_key", "metadata", "nickname", "active", "tax_behavior"),
    *("expand", "currency_options"),
)
PRICE_CHANGES: Final = (
    *("active", "lookup_key", "transfer_lookup_key", "metadata", "nickname"),
    *("tax_behavior", "expand"),
)
METER_FIELDS: Final = (
    *("event_name", "display_name", "default_aggregation", "event_time_window"),
    *("customer_mapping", "value_settings", "expand"),
)
SUMMARY_FIELDS: Final = (
    *("customer", "start_time", "end_time", "value_grouping_window", "limit"),
    *("starting_after", "ending_before", "expand"),
)


@dataclass(slots=True)
class Catalog:
    """Products and prices of an account, and the routes of all that is read."""

    account: Account
    products: dict[str, dict[str, Any]] = field(
        default_factory=dict[str, dict[str, Any]]
    )
    prices: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    invoices: Invoices = field(init=False)

    def __post_init__(self) -> None:
        """Put invoices on the same account."""
        self.invoices = Invoices(self.account)

    def handle(self, request: Request) -> Response | None:
        """Answer a request, ``None`` if its address is none of these."""
        fields = nested(
            request.query
            if request.method == "GET"
            else parse_qsl(request.body.decode(), keep_blank_values=True)
        )
        parts = [unquote(part) for part in request.path.strip("/").split("/")[1:]]
        match request.method, parts:
            case "GET", ["billing", "meters"]:
                meters = [m.content() for m in self.account.meters.values()]
                wanted = fields.get("status")
                found = [m for m in meters if wanted in (None, m["status"])]
                return _page(request.path, found, fields)
            case "POST", ["billing", "meters"]:
                return answer(200, self._create_meter(fields).content())
            case "GET", ["billing", "meters", meter_id]:
                return answer(200, self._meter(meter_id).content())
            case "POST", ["billing", "meters", meter_id]:
                check(fields, known=("display_name", "expand"))
                meter = self._meter(meter_id)
                meter.display_name = fields.get("display_name", meter.display_name)
                return answer(200, meter.content())
            case "POST", ["billing", "meters", meter_id, "deactivate"]:
                return self._switch(meter_id, "inactive")
            case "POST", ["billing", "meters", meter_id, "reactivate"]:
                return self._switch(meter_id, "active")
            case "GET", ["billing", "meters", meter_id, "event_summaries"]:
                return self._summaries(self._meter(meter_id), fields, request.path)
            case "GET", ["subscriptions"] if self.account.subscriptions is None:
                raise StripeRefusal(403, "The key may not read subscriptions.")
            case "GET", ["subscriptions"]:
                listed = [
                    {
                        "id": f"sub_{i}",
                        "object": "subscription",
                        "customer": customer,
                        "items": {"data": [{"price": {"recurring": {"meter": meter}}}]},
                    }
                    for i, (customer, meter) in enumerate(
                        self.account.subscriptions or ()
                    )
                ]
                return _page(request.path, listed, fields)
            case method, ["products", *rest]:
                return self._products(method, rest, fields, request.path)
            case method, ["prices", *rest]:
                return self._prices(method, rest, fields, request.path)
            case method, path:
                shown = self.invoices.handle(method, path, fields)
                if isinstance(shown, list):
                    return _page(request.path, shown, fields)
                return shown

    # --- meters

    def _meter(self, meter_id: str) -> Meter:
        meter = self.account.meters.get(meter_id)
        if meter is None:
            raise errors.missing_resource("billing_meter", meter_id)
        return meter

    def _switch(self, meter_id: str, status: str) -> Response:
        meter = self._meter(meter_id)
        if meter.status == status:
            raise StripeRefusal(400, f"This meter is already {status}.")
        meter.status = status
        return answer(200, meter.content())

    def _create_meter(self, fields: dict[str, Any]) -> Meter:
        check(
            fields,
            known=METER_FIELDS,
            required=("event_name", "display_name", "default_aggregation"),
        )
        event_name = fields["event_name"]
        if self.account.active_meter(event_name) is not None:
            raise StripeRefusal(
                400,
                f"An active meter already exists for event name '{event_name}'.",
                param="event_name",
            )
        formula = fields["default_aggregation"].get("formula")
        if formula not in ("sum", "count", "last"):
            raise StripeRefusal(400, "Invalid default_aggregation[formula]")
        meter = self.account.add_meter(
            event_name, formula=formula, window=fields.get("event_time_window")
        )
        meter.display_name = fields["display_name"]
        mapping = fields.get("customer_mapping", {})
        meter.customer_key = mapping.get("event_payload_key", meter.customer_key)
        values = fields.get("value_settings", {})
        meter.value_key = values.get("event_payload_key", meter.value_key)
        return meter

    def _summaries(self, meter: Meter, fields: dict[str, Any], path: str) -> Response:
        check(
            fields,
            known=SUMMARY_FIELDS,
            required=("customer", "start_time", "end_time"),
        )
        start_s, end_s = int(fields["start_time"]), int(fields["end_time"])
        grouping = fields.get("value_grouping_window")
        step_s = {"hour": HOUR_S, "day": DAY_S, None: 60}[grouping]
        for name, time_s in (("start_time", start_s), ("end_time", end_s)):
            if time_s % step_s:
                raise StripeRefusal(
                    400,
                    f"{name} must be aligned with {grouping or 'minute'} boundaries.",
                    param=name,
                )
        if start_s >= end_s:
            raise StripeRefusal(400, "end_time must be after start_time")
        customers = self.account.customers
        if customers is not None and fields["customer"] not in customers:
            raise errors.missing_resource("customer", fields["customer"])
        hours = self.account.shown_hours(meter.event_name, fields["customer"])
        inside = {s: v for s, v in sorted(hours.items()) if start_s <= s < end_s}
        # As floats, which Stripe adds up: fractions lose a little each time.
        groups: dict[tuple[int, int], float] = {}
        for hour_s, value in inside.items():
            first_s = start_s if grouping is None else hour_s - hour_s % step_s
            span = (first_s, end_s if grouping is None else first_s + step_s)
            before = groups.get(span, 0.0)
            more = float(value)
            groups[span] = more if meter.formula == "last" else before + more
        shown = [
            {
                "id": f"mtrusg_{meter.id}_{first_s}_{last_s}",
                "object": "billing.meter_event_summary",
                "aggregated_value": value,
                "end_time": last_s,
                "livemode": False,
                "meter": meter.id,
                "start_time": first_s,
            }
            # Newest first, as Stripe does.
            for (first_s, last_s), value in sorted(groups.items(), reverse=True)
        ]
        return _page(path, shown, fields)

    # --- products and prices

    def _products(
        self, method: str, rest: list[str], fields: dict[str, Any], path: str
    ) -> Response | None:
        match method, rest:
            case "GET", []:
                return _page(path, list(self.products.values()), fields)
            case "POST", []:
                check(fields, known=PRODUCT_FIELDS, required=("name",))
                product_id = fields.get("id") or self.account.new_id("prod")
                if product_id in self.products:
                    raise StripeRefusal(
                        400, "Product already exists.", code="resource_already_exists"
                    )
                self.products[product_id] = {
                    "object": "product",
                    "active": True,
                    "metadata": {},
                    **fields,
                    "id": product_id,
                }
                return answer(200, self.products[product_id])
            case "GET" | "POST", [product_id]:
                if product_id not in self.products:
                    raise errors.missing_resource("product", product_id)
                if method == "POST":
                    check(fields, known=PRODUCT_FIELDS[1:])
                    self.products[product_id].update(fields)
                return answer(200, self.products[product_id])
            case _:
                return None

    def _prices(
        self, method: str, rest: list[str], fields: dict[str, Any], path: str
    ) -> Response | None:
        match method, rest:
            case "GET", []:
                keys = fields.get("lookup_keys")
                found = [
                    price
                    for price in self.prices.values()
                    if (keys is None or price["lookup_key"] in keys)
                    and fields.get("product") in (None, price["product"])
                    and fields.get("active") in (None, str(price["active"]).lower())
                ]
                return _page(path, found, fields)
            case "POST", []:
                return answer(200, self._create_price(fields))
            case "GET" | "POST", [price_id]:
                if price_id not in self.prices:
                    raise errors.missing_resource("price", price_id)
                price = self.prices[price_id]
                if method == "POST":
                    check(fields, known=PRICE_CHANGES)
                    self._claim_key(fields, price_id)
                    price["metadata"] |= fields.get("metadata", {})
                    if "lookup_key" in fields:
                        price["lookup_key"] = fields["lookup_key"] or None
                    if "active" in fields:
                        price["active"] = is_true(fields["active"])
                return answer(200, price)
            case _:
                return None

    def _claim_key(self, fields: dict[str, Any], price_id: str) -> None:
        """Take a lookup key from whoever has it, if that is asked for."""
        key = fields.get("lookup_key")
        for other in self.prices.values():
            if key and other["lookup_key"] == key and other["id"] != price_id:
                if not is_true(fields.get("transfer_lookup_key")):
                    raise StripeRefusal(
                        400,
                        f"A price (`{other['id']}`) already uses that lookup key.",
                        param="lookup_key",
                    )
                other["lookup_key"] = None

    def _create_price(self, fields: dict[str, Any]) -> dict[str, Any]:
        check(fields, known=PRICE_FIELDS, required=("currency", "product"))
        if fields["product"] not in self.products:
            raise errors.missing_resource("product", fields["product"])
        recurring = fields.get("recurring", {})
        meter = recurring.get("meter")
        if recurring.get("usage_type") == "metered" and meter is None:
            raise errors.missing("recurring[meter]")
        if meter is not None and self._meter(meter).status != "active":
            raise StripeRefusal(400, "The meter is inactive.")
        tiers = fields.get("tiers", [])
        is_tiered = fields.get("billing_scheme") == "tiered"
        if is_tiered:
            _check_tiers(tiers, fields)
        elif "unit_amount" not in fields and "unit_amount_decimal" not in fields:
            raise errors.missing("unit_amount")
        price_id = self.account.new_id("price")
        self._claim_key(fields, price_id)
        price: dict[str, Any] = {
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "metadata": {},
            "lookup_key": None,
            "type": "recurring" if recurring else "one_time",
            **{k: v for k, v in fields.items() if k != "transfer_lookup_key"},
            "id": price_id,
        }
        self.prices[price_id] = price
        return price


def _check_tiers(tiers: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    if not tiers or fields.get("tiers_mode") not in ("graduated", "volume"):
        raise errors.missing("tiers_mode")
    if "transform_quantity" in fields:
        raise StripeRefusal(400, "transform_quantity cannot be used with tiers")
    *limited, last = tiers
    bounds = [int(tier["up_to"]) for tier in limited]
    if last.get("up_to") != "inf" or bounds != sorted(set(bounds)):
        raise StripeRefusal(400, "The last tier must have up_to=inf", param="tiers")
    for tier in tiers:
        amounts = [name for name in tier if name.endswith(("amount", "_decimal"))]
        if not amounts:
            raise StripeRefusal(400, "A tier needs an amount", param="tiers")
        for name in amounts:
            _, _, fraction = str(tier[name]).partition(".")
            if not name.endswith("_decimal") and fraction:
                raise StripeRefusal(400, f"Invalid integer: {tier[name]}")
            if len(fraction) > 12:
                raise StripeRefusal(400, f"Invalid decimal: {tier[name]}")
            if name.startswith("flat") and fraction.strip("0"):
                raise StripeRefusal(400, f"Invalid flat amount: {tier[name]}")


def _page(path: str, objects: list[dict[str, Any]], fields: dict[str, Any]) -> Response:
    limit = int(fields.get("limit", "10"))
    if not 1 <= limit <= 100:
        raise StripeRefusal(400, "Invalid limit", param="limit")
    ids = [found["id"] for found in objects]
    after = fields.get("starting_after")
    start = ids.index(after) + 1 if after else 0
    return answer(
        200,
        {
            "object": "list",
            "url": path,
            "has_more": start + limit < len(objects),
            "data": objects[start : start + limit],
        },
    )
