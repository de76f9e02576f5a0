"""Meters, products and prices at Stripe: what is missing, and making it.

Nothing is changed that somebody else made, and nothing twice: meters are found by
their event name, products by an id that we choose, prices by a lookup key and a hash
of what they charge. A price cannot be changed: a new one takes over its lookup key.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Final

from meterline_pricing import Calendar
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import RetryLater, StripeRefused
from meterline_sidecar.stripe.billed import BilledMeter, billed_meter
from meterline_sidecar.stripe.calls import StripeCalls, in_path, read_all
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.stripe.provision.plan import (
    Provision,
    ProvisionStep,
    WantedPrice,
    active_id,
    billed,
    meter_step,
    price_step,
    wanted_prices,
)
from meterline_sidecar.stripe.provision.prices import INTERVALS

LOOKUP_KEYS_PER_READ: Final = 10
ROUNDS_MAX: Final = 4
BACKOFF: Final = Backoff(first_s=1.0, max_s=5.0)
NOT_FOUND: Final = 404


class Provisioner:
    """Plans and applies what the configuration wants of Stripe."""

    def __init__(
        self,
        stripe: StripeCalls,
        config: Config,
        *,
        clock: Clock,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._stripe = stripe
        self._config = config
        self._clock = clock
        self._backoff = backoff
        self._salt = ""

    async def plan(self) -> Provision:
        """Return what is missing at Stripe, without changing anything.

        Raises:
            StripeRefused: the key may not read.
            RetryLater: Stripe cannot be asked now.
        """
        steps: list[ProvisionStep] = []
        unchanged: list[str] = []
        today = Calendar().day(self._clock.now_ms())
        wanted, problems = wanted_prices(self._config, today=today)
        found = await self._meters()
        for meter in billed(self._config):
            existing = found.get(meter.stripe_event_name, [])
            step, problem = meter_step(billed_meter(meter), existing)
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
            meter_id = active_id(found.get(price.event_name or "", []))
            same_key = prices.get(price.lookup_key)
            step, problem = price_step(price, same_key, meter_id)
            steps += [] if step is None else [step]
            problems += [] if problem is None else [problem]
            if step is None and problem is None:
                unchanged.append(f"price {price.lookup_key}")
        return Provision(tuple(steps), tuple(unchanged), tuple(problems))

    async def meter_problems(self, meters: Iterable[BilledMeter]) -> dict[str, str]:
        """Return what is wrong with those that exist, by event name: one read.

        Args:
            meters: those that Stripe is told of.

        Raises:
            StripeRefused: the key may not read.
            RetryLater: Stripe cannot be asked now.
        """
        found = await self._meters()
        problems: dict[str, str] = {}
        for meter in meters:
            _, problem = meter_step(meter, found.get(meter.event_name, []))
            if problem is not None:
                problems[meter.event_name] = problem
        return problems

    async def apply(self, provision: Provision) -> None:
        """Make every change of a plan without problems, in order.

        What fails in passing is planned anew, as it may have been done, and made with
        other keys, as Stripe repeats a failure that it saved for a day. Repeating all of
        it is safe: what is done already does not show in the next plan.

        Raises:
            StripeRefused: Stripe said no, or a problem has come up meanwhile.
            RetryLater: it still fails after a few rounds.
        """
        for n_round in range(1, ROUNDS_MAX + 1):
            if provision.problems:
                raise StripeRefused(provision.problems[0], status=0, code=None)
            try:
                for step in provision.steps:
                    await self._apply(step)
            except RetryLater:
                if n_round == ROUNDS_MAX:
                    raise
                await asyncio.sleep(self._backoff.wait_s(n_round))
                self._salt = secrets.token_hex(8)
                provision = await self.plan()
            else:
                return

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

    async def _product_step(self, price: WantedPrice) -> ProvisionStep | None:
        try:
            path = f"/v1/products/{in_path(price.product)}"
            product = await self._stripe.call("get", path)
        except StripeRefused as error:
            if error.status != NOT_FOUND:
                raise
            details = {"id": price.product, "name": price.title}
            return ProvisionStep("create", "product", price.product, details)
        if product.get("active") is False:
            return ProvisionStep(
                "reactivate", "product", price.product, existing_id=product["id"]
            )
        return None

    # --- changing

    async def _apply(self, step: ProvisionStep) -> None:
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
                path = f"/v1/{step.kind}s/{in_path(step.existing_id or '')}"
                await self._post(path, {"active": "true"}, again=True)
            case _:
                await self._apply_price(step)

    async def _apply_price(self, step: ProvisionStep) -> None:
        recurring = {**step.details.get("recurring", INTERVALS["month"])}
        if step.event_name is not None:
            meters = await self._meters()
            meter_id = active_id(meters.get(step.event_name, []))
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
        text = f"{path}\n{sorted(details.items(), key=str)}\n{salt}\n{self._salt}"
        key = None if again else "ml-" + hashlib.sha256(text.encode()).hexdigest()
        await self._stripe.call("post", path, details, key=key)
