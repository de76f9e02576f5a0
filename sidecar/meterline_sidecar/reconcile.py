"""Compares the ledger with Stripe's own totals, and settles what was in doubt."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from meterline_pricing import Calendar
from meterline_sidecar.clock import HOUR_MS, MINUTE_MS, Clock
from meterline_sidecar.store import outbox, reconciliation
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.reconciliation import Comparison

SETTLE_MS: Final = HOUR_MS
"""Stripe's summaries are complete some time after an event: no promise exists."""
PAGE: Final = 100
HOURS_SHOWN: Final = 24
TOLERANCE: Final = Decimal("1e-12")
"""Stripe's totals are floats: equal within this share, or half a unit."""

WAITING: Final = ("pending", "sending", "parked")
Verdict = Literal["equal", "missing", "extra", "unresolved"]


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


class HourDifference(Struct, frozen=True):
    """An hour in which the two sides differ."""

    hour_ms: int
    ours: int
    theirs: Decimal


class Line(Struct, frozen=True):
    """One customer and meter in a span: here, and at Stripe."""

    customer: str
    stripe_customer: str
    event_name: str
    ours: int
    """What Stripe should have by now."""
    theirs: Decimal
    waiting: int
    """Rows that are still to be sent, or to be let go by a person."""
    unresolved: int
    """Rows of which nobody knows whether they are counted."""
    failed: int
    """Rows that were refused, dropped or too old."""
    verdict: Verdict
    hours: tuple[HourDifference, ...] = ()


class MeterFacts(Struct, frozen=True):
    """What of a meter at Stripe matters here."""

    id: str
    formula: str


class Reconciler:
    """Reads Stripe's totals and compares them with the outbox.

    It holds for event names that nobody else reports: what another program sends
    shows as ``extra``. One read for each series, and more only where they differ;
    Stripe grants at least 10,000 reads a month.
    """

    def __init__(
        self, database: Database, stripe: StripeReads, *, clock: Clock
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._clock = clock

    async def run(self, *, start_ms: int, end_ms: int, quiet_ms: int = 0) -> list[Line]:
        """Return every series with rows in the span, after settling doubts.

        The span is widened to whole hours, and ends with the current one at most.
        What is found is kept when the span begins with a month (UTC).

        Args:
            quiet_ms: leaves out series that were sent something within this time,
                which Stripe may not have added up yet.
        """
        start_ms = start_ms // HOUR_MS * HOUR_MS
        end_ms = min(-(-end_ms // HOUR_MS) * HOUR_MS, self._next_hour_ms())
        if start_ms >= end_ms:
            return []
        async with self._database.reading() as tx:
            pairs = await reconciliation.series(tx, start_ms=start_ms, end_ms=end_ms)
        meters = await self._meters() if pairs else {}
        lines: list[Line] = []
        for event_name, stripe_customer in pairs:
            span = Span(event_name, stripe_customer, start_ms, end_ms)
            if not quiet_ms or await self._is_quiet(span, quiet_ms):
                lines.append(await self._compare(span, meters.get(event_name)))
        return lines

    async def _is_quiet(self, span: "Span", quiet_ms: int) -> bool:
        since_ms = self._clock.now_ms() - quiet_ms
        return all((row.sent_ms or 0) <= since_ms for row in await self._rows(span))

    def _next_hour_ms(self) -> int:
        return (self._clock.now_ms() // HOUR_MS + 1) * HOUR_MS

    async def _meters(self) -> dict[str, MeterFacts]:
        """Return every meter by its event name; an active one goes first."""
        found: dict[str, MeterFacts] = {}
        params: dict[str, object] = {"limit": PAGE}
        while True:
            page = await self._stripe.call("get", "/v1/billing/meters", params)
            for meter in page["data"]:
                if meter["event_name"] not in found or meter["status"] == "active":
                    found[meter["event_name"]] = MeterFacts(
                        meter["id"], meter["default_aggregation"]["formula"]
                    )
            if not page["has_more"]:
                return found
            params["starting_after"] = page["data"][-1]["id"]

    async def _compare(self, span: "Span", meter: MeterFacts | None) -> Line:
        rows = await self._rows(span)
        if meter is not None and any(row.state == "unresolved" for row in rows):
            await self._settle(span, meter, rows)
            rows = await self._rows(span)
        theirs = Decimal(0) if meter is None else await self._total(span, meter)
        formula = "sum" if meter is None else meter.formula
        ours = _expected(rows, formula)
        n_unresolved = sum(row.state == "unresolved" for row in rows)
        verdict: Verdict
        if n_unresolved:
            verdict = "unresolved"
        elif _is_equal(theirs, ours):
            verdict = "equal"
        else:
            verdict = "missing" if theirs < ours else "extra"
        hours: tuple[HourDifference, ...] = ()
        if verdict != "equal" and meter is not None:
            hours = await self._differences(span, meter, rows)
        await self._keep(
            Comparison(
                *(span.start_ms, span.end_ms, span.event_name, span.stripe_customer),
                *(ours, format(theirs, "f"), n_unresolved, verdict),
                self._clock.now_ms(),
            )
        )
        return Line(
            customer=rows[-1].customer,
            stripe_customer=span.stripe_customer,
            event_name=span.event_name,
            ours=ours,
            theirs=theirs,
            waiting=sum(row.state in WAITING for row in rows),
            unresolved=n_unresolved,
            failed=sum(row.state in FAILED for row in rows),
            verdict=verdict,
            hours=hours,
        )

    async def _keep(self, found: Comparison) -> None:
        if Calendar().at(found.start_ms).start == found.start_ms:
            async with self._database.transaction() as tx:
                await reconciliation.save(tx, found)

    async def _rows(self, span: "Span") -> list[OutboxRow]:
        async with self._database.reading() as tx:
            return await reconciliation.rows_of(
                tx,
                span.event_name,
                span.stripe_customer,
                start_ms=span.start_ms,
                end_ms=span.end_ms,
            )

    # --- what Stripe says

    async def _total(self, span: "Span", meter: MeterFacts) -> Decimal:
        # Stripe's documentation says of the end both that it belongs to the span and
        # that it does not. Our events are stamped on the hour: a minute less is safe.
        end_ms = span.end_ms - MINUTE_MS
        page = await self._summaries(span, meter, span.start_ms, end_ms, {})
        return sum((_decimal(s["aggregated_value"]) for s in page), Decimal(0))

    async def _hours(
        self, span: "Span", meter: MeterFacts, start_ms: int, end_ms: int
    ) -> dict[int, Decimal]:
        grouping = {"value_grouping_window": "hour"}
        page = await self._summaries(span, meter, start_ms, end_ms, grouping)
        return {
            summary["start_time"] * 1000: _decimal(summary["aggregated_value"])
            for summary in page
            if summary["start_time"] * 1000 < end_ms
        }

    async def _summaries(
        self,
        span: "Span",
        meter: MeterFacts,
        start_ms: int,
        end_ms: int,
        grouping: Mapping[str, object],
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params: dict[str, object] = {
            "customer": span.stripe_customer,
            "start_time": start_ms // 1000,
            "end_time": end_ms // 1000,
            "limit": PAGE,
            **grouping,
        }
        while True:
            path = f"/v1/billing/meters/{meter.id}/event_summaries"
            page = await self._stripe.call("get", path, params)
            found += page["data"]
            if not page["has_more"]:
                return found
            params["starting_after"] = page["data"][-1]["id"]

    async def _differences(
        self, span: "Span", meter: MeterFacts, rows: Sequence[OutboxRow]
    ) -> tuple[HourDifference, ...]:
        """Return the first hours in which the two sides differ."""
        theirs = await self._hours(span, meter, span.start_ms, span.end_ms)
        ours = {hour_ms: _hour_total(part) for hour_ms, part in _by_hour(rows).items()}
        different = [
            HourDifference(hour_ms, ours.get(hour_ms, 0), theirs.get(hour_ms, ZERO))
            for hour_ms in sorted(ours.keys() | theirs.keys())
            if not _is_equal(theirs.get(hour_ms, ZERO), ours.get(hour_ms, 0))
        ]
        return tuple(different[:HOURS_SHOWN])

    # --- what was in doubt

    async def _settle(
        self, span: "Span", meter: MeterFacts, rows: Sequence[OutboxRow]
    ) -> None:
        """Settle each hour in doubt whose total at Stripe leaves no doubt."""
        for hour_ms, parts in _by_hour(rows).items():
            doubted = [row for row in parts if row.state == "unresolved"]
            if not doubted or not self._has_settled(parts):
                continue
            hours = await self._hours(span, meter, hour_ms, hour_ms + HOUR_MS)
            theirs = hours.get(hour_ms, ZERO)
            known = [row for row in parts if row.state == "confirmed"]
            if _is_equal(theirs, _hour_total([*known, *doubted])):
                async with self._database.transaction() as tx:
                    await reconciliation.confirm(
                        tx, [row.id for row in doubted], now_ms=self._clock.now_ms()
                    )
            elif _is_equal(theirs, _hour_total(known)):
                await self._reissue(doubted)

    def _has_settled(self, parts: Sequence[OutboxRow]) -> bool:
        """Say whether Stripe has had time to count what was sent last."""
        latest_ms = max(row.sent_ms or 0 for row in parts)
        is_quiet = all(row.state != "sending" for row in parts)
        return is_quiet and latest_ms <= self._clock.now_ms() - SETTLE_MS

    async def _reissue(self, doubted: Sequence[OutboxRow]) -> None:
        """Say again, under new identifiers, what Stripe has not counted."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as tx:
            for row in doubted:
                await outbox.replace_row(
                    tx,
                    row,
                    stripe_customer=row.stripe_customer,
                    now_ms=now_ms,
                    reason="not counted: Stripe's own total says so; said again",
                )


class Span(Struct, frozen=True):
    """One series in a span of whole hours."""

    event_name: str
    stripe_customer: str
    start_ms: int
    end_ms: int


ZERO: Final = Decimal(0)
FAILED: Final = ("dead", "expired", "rejected")


def _decimal(aggregated: object) -> Decimal:
    return Decimal(str(aggregated))


def _is_equal(theirs: Decimal, ours: int) -> bool:
    return abs(theirs - ours) <= max(Decimal("0.5"), abs(ours) * TOLERANCE)


def _by_hour(rows: Sequence[OutboxRow]) -> dict[int, list[OutboxRow]]:
    hours: dict[int, list[OutboxRow]] = {}
    for row in rows:
        hours.setdefault(row.hour_ms, []).append(row)
    return hours


def _hour_total(parts: Sequence[OutboxRow]) -> int:
    """Return what an hour's parts amount to at Stripe, when all of them count.

    Rows that are still to be sent are left out: Stripe can not have them.
    """
    sent = [row for row in parts if row.state not in WAITING]
    if not sent:
        return 0
    last = max(sent, key=lambda row: row.part)
    return last.value if last.mode == "set" else sum(row.value for row in sent)


def _expected(rows: Sequence[OutboxRow], formula: str) -> int:
    """Return what Stripe should say about these rows."""
    hours = _by_hour(rows)
    told = [h for h in sorted(hours) if any(r.state not in WAITING for r in hours[h])]
    if formula == "last":
        return _hour_total(hours[told[-1]]) if told else 0
    return sum(_hour_total(hours[hour_ms]) for hour_ms in told)
