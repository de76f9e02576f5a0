"""Reads what Stripe says that its meters came to."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from meterline_sidecar.clock import MINUTE_MS
from meterline_sidecar.stripe.calls import StripeCalls, read_all

ZERO: Final = Decimal(0)


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

    def __init__(self, stripe: StripeCalls) -> None:
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
