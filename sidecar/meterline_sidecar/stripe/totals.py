"""Reads what Stripe says that its meters came to."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, cast

from msgspec import Struct

from meterline_sidecar.clock import MINUTE_MS
from meterline_sidecar.errors import RetryLater

PAGE: Final = 100
ZERO: Final = Decimal(0)


class StripeReads(Protocol):
    """The way to Stripe that reconciling needs."""

    async def call(
        self,
        method: Literal["get"],
        path: str,
        params: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """Return the answer of an address.

        Raises:
            StripeRefused: Stripe said no.
            RetryLater: it may say yes later.
        """
        ...


async def read_all(
    stripe: StripeReads, path: str, params: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """Return every object of a list, page by page.

    Raises:
        StripeRefused: Stripe said no.
        RetryLater: it may say yes later, or answered something else than a list.
    """
    found: list[dict[str, Any]] = []
    query: dict[str, object] = {**(params or {}), "limit": PAGE}
    while True:
        page = await stripe.call("get", path, query)
        data: object = page.get("data")
        if not isinstance(data, list):
            raise RetryLater(f"{path}: the answer was no list", after_s=60.0)
        found += cast("list[dict[str, Any]]", data)
        if not page.get("has_more"):
            return found
        query["starting_after"] = found[-1]["id"]


class Span(Struct, frozen=True):
    """One series in a span of whole hours."""

    event_name: str
    stripe_customer: str
    start_ms: int
    end_ms: int


class MeterFacts(Struct, frozen=True):
    """What of a meter at Stripe matters here."""

    id: str
    formula: str


class StripeTotals:
    """Stripe's meters and their totals. Each read counts: Stripe grants so many."""

    def __init__(self, stripe: StripeReads) -> None:
        self._stripe = stripe

    async def meters(self) -> dict[str, MeterFacts]:
        """Return every meter by its event name; an active one goes first."""
        found: dict[str, MeterFacts] = {}
        for meter in await read_all(self._stripe, "/v1/billing/meters"):
            if meter["event_name"] not in found or meter["status"] == "active":
                found[meter["event_name"]] = MeterFacts(
                    meter["id"], meter["default_aggregation"]["formula"]
                )
        return found

    async def total(self, span: Span, meter: MeterFacts) -> Decimal:
        """Return what a series comes to over its whole span: one read."""
        # Stripe's documentation says of the end both that it belongs to the span and
        # that it does not. Our events are stamped on the hour: a minute less is safe.
        end_ms = span.end_ms - MINUTE_MS
        page = await self._summaries(span, meter, span.start_ms, end_ms, {})
        return sum((_decimal(s["aggregated_value"]) for s in page), Decimal(0))

    async def hours(
        self, span: Span, meter: MeterFacts, start_ms: int, end_ms: int
    ) -> dict[int, Decimal]:
        """Return what a series comes to in each hour that has anything."""
        grouping = {"value_grouping_window": "hour"}
        page = await self._summaries(span, meter, start_ms, end_ms, grouping)
        return {
            summary["start_time"] * 1000: _decimal(summary["aggregated_value"])
            for summary in page
            if summary["start_time"] * 1000 < end_ms
        }

    async def _summaries(
        self,
        span: Span,
        meter: MeterFacts,
        start_ms: int,
        end_ms: int,
        grouping: Mapping[str, object],
    ) -> list[dict[str, Any]]:
        params: dict[str, object] = {
            "customer": span.stripe_customer,
            "start_time": start_ms // 1000,
            "end_time": end_ms // 1000,
            **grouping,
        }
        path = f"/v1/billing/meters/{meter.id}/event_summaries"
        return await read_all(self._stripe, path, params)


def _decimal(aggregated: object) -> Decimal:
    return Decimal(str(aggregated))
