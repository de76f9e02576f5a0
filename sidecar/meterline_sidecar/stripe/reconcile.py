"""Compares the ledger with Stripe's own totals, and settles what was in doubt."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from meterline_pricing import Calendar
from meterline_sidecar.clock import DAY_MS, HOUR_MS, Clock, format_time_ms
from meterline_sidecar.store import reconciliation
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.reconciliation import Comparison
from meterline_sidecar.stripe.calls import StripeCalls
from meterline_sidecar.stripe.comparison import (
    HourDifference,
    ReconciledSeries,
    Verdict,
)
from meterline_sidecar.stripe.replace import replace_row
from meterline_sidecar.stripe.states import FAILED, ON_THE_WAY, WAITING
from meterline_sidecar.stripe.totals import (
    ZERO,
    MeterFacts,
    Span,
    StripeTotals,
)

SETTLE_MS: Final = HOUR_MS
"""Stripe's summaries are complete some time after an event: no promise exists."""
FINAL_MS: Final = DAY_MS
"""What is equal this long after its end is not compared again by itself."""
HOURS_SHOWN: Final = 24
TOLERANCE: Final = Decimal("1e-12")
"""Stripe's totals are floats: equal within this share, or half a unit."""


class Reconciler:
    """Reads Stripe's totals and compares them with the outbox.

    It holds for event names that nobody else reports: what another program sends
    shows as ``extra``. One read for each series, and more only where they differ;
    Stripe grants at least 10,000 reads a month.
    """

    def __init__(
        self, database: Database, stripe: StripeCalls, *, clock: Clock
    ) -> None:
        self._database = database
        self._totals = StripeTotals(stripe)
        self._clock = clock

    async def run(self, *, start_ms: int, end_ms: int) -> list[ReconciledSeries]:
        """Return every series with rows in the span, after settling doubts.

        The span is widened to whole hours, and ends before the current one: what is
        open has no row yet, and Stripe need not answer for the future.
        What is found is kept when the span begins with a month (UTC).
        """
        start_ms = start_ms // HOUR_MS * HOUR_MS
        end_ms = min(-(-end_ms // HOUR_MS), self._clock.now_ms() // HOUR_MS) * HOUR_MS
        if start_ms >= end_ms:
            return []
        async with self._database.reading() as tx:
            pairs = await reconciliation.series(tx, start_ms=start_ms, end_ms=end_ms)
            unmapped = await reconciliation.unmapped(
                tx, start_ms=start_ms, end_ms=end_ms
            )
        meters = await self._totals.meters() if pairs else {}
        compared = [
            await self._compare(
                _span(pair, start_ms=start_ms, end_ms=end_ms), meters.get(pair[0])
            )
            for pair in pairs
        ]
        return compared + _unmapped(unmapped)

    async def watch(self, *, start_ms: int, end_ms: int, series_max: int) -> int:
        """Compare the series of a span that were compared longest ago.

        Left out are those on which something is on its way, or was so recently that
        Stripe may not have added it up; and those that were equal well after the
        span's end. Returns how many were compared.

        Args:
            start_ms: the start of a month (UTC), so that what is found is kept.
        """
        async with self._database.reading() as tx:
            pairs = await reconciliation.series(tx, start_ms=start_ms, end_ms=end_ms)
            known = await reconciliation.kept(tx, start_ms=start_ms)
        checked = {pair: found.checked_ms for pair, found in known.items()}
        spans = [
            _span(pair, start_ms=start_ms, end_ms=end_ms)
            for pair in sorted(pairs, key=lambda pair: checked.get(pair, 0))
            if not _is_final(known.get(pair), end_ms)
        ]
        chosen = [span for span in spans if await self._is_quiet(span)][:series_max]
        meters = await self._totals.meters() if chosen else {}
        for span in chosen:
            await self._compare(span, meters.get(span.event_name))
        return len(chosen)

    async def _is_quiet(self, span: Span) -> bool:
        since_ms = self._clock.now_ms() - SETTLE_MS
        return all(
            row.state not in WAITING and (row.sent_ms or 0) <= since_ms
            for row in await self._rows(span)
        )

    async def _compare(self, span: Span, meter: MeterFacts | None) -> ReconciledSeries:
        rows = await self._rows(span)
        if meter is not None and any(row.state == "unresolved" for row in rows):
            await self._settle(span, meter, rows)
            rows = await self._rows(span)
        theirs = Decimal(0) if meter is None else await self._totals.total(span, meter)
        formula = "sum" if meter is None else meter.formula
        ours = _expected(rows, formula)
        n_unresolved = sum(row.state == "unresolved" for row in rows)
        is_in_doubt = any(row.state in WAITING and row.doubt_ms for row in rows)
        verdict: Verdict
        if n_unresolved or (is_in_doubt and not _is_equal(theirs, ours)):
            verdict = "unresolved"
        else:
            verdict = _verdict(theirs, ours)
        hours: tuple[HourDifference, ...] = ()
        if verdict != "equal" and meter is not None:
            hours = await self._differences(span, meter, rows)
        await self._keep(
            Comparison(
                start_ms=span.start_ms,
                end_ms=span.end_ms,
                event_name=span.event_name,
                stripe_customer=span.stripe_customer,
                ours=ours,
                theirs=format(theirs, "f"),
                unresolved=n_unresolved,
                verdict=verdict,
                checked_ms=self._clock.now_ms(),
            )
        )
        return ReconciledSeries(
            customer=rows[-1].customer,
            stripe_customer=span.stripe_customer,
            event_name=span.event_name,
            ours=ours,
            theirs=theirs,
            waiting=sum(row.state in WAITING for row in rows),
            unresolved=n_unresolved,
            failed=sum(row.state in FAILED for row in rows),
            verdict=verdict,
            is_fresh=not self._has_settled(rows),
            hours=hours,
        )

    async def _keep(self, found: Comparison) -> None:
        if Calendar().at(found.start_ms).start == found.start_ms:
            async with self._database.transaction() as tx:
                await reconciliation.save(tx, found)

    async def _rows(self, span: Span) -> list[OutboxRow]:
        async with self._database.reading() as tx:
            return await reconciliation.rows_of(
                tx,
                span.event_name,
                span.stripe_customer,
                start_ms=span.start_ms,
                end_ms=span.end_ms,
            )

    async def _differences(
        self, span: Span, meter: MeterFacts, rows: Sequence[OutboxRow]
    ) -> tuple[HourDifference, ...]:
        """Return the first hours in which the two sides differ."""
        theirs = await self._totals.hours(span, meter, span.start_ms, span.end_ms)
        ours = {hour_ms: _hour_total(part) for hour_ms, part in _by_hour(rows).items()}
        different = [
            HourDifference(
                hour=format_time_ms(hour_ms),
                ours=ours.get(hour_ms, 0),
                theirs=theirs.get(hour_ms, ZERO),
            )
            for hour_ms in sorted(ours.keys() | theirs.keys())
            if not _is_equal(theirs.get(hour_ms, ZERO), ours.get(hour_ms, 0))
        ]
        return tuple(different[:HOURS_SHOWN])

    async def _settle(
        self, span: Span, meter: MeterFacts, rows: Sequence[OutboxRow]
    ) -> None:
        """Settle each hour in doubt whose total at Stripe leaves no doubt."""
        for hour_ms, parts in _by_hour(rows).items():
            doubted = [row for row in parts if row.state == "unresolved"]
            if not doubted or not self._has_settled(parts):
                continue
            hours = await self._totals.hours(span, meter, hour_ms, hour_ms + HOUR_MS)
            theirs = hours.get(hour_ms, ZERO)
            known = [row for row in parts if row.state == "confirmed"]
            if _is_equal(theirs, _hour_total([*known, *doubted])):
                async with self._database.transaction() as tx:
                    await reconciliation.confirm(
                        tx,
                        [row.id for row in doubted],
                        reason="counted: Stripe's own total says so",
                        now_ms=self._clock.now_ms(),
                    )
            elif _is_equal(theirs, _hour_total(known)):
                await self._replace(doubted)

    def _has_settled(self, parts: Sequence[OutboxRow]) -> bool:
        """Say whether Stripe has had time to count what was sent last."""
        latest_ms = max(row.sent_ms or 0 for row in parts)
        is_quiet = all(row.state != "sending" for row in parts)
        return is_quiet and latest_ms <= self._clock.now_ms() - SETTLE_MS

    async def _replace(self, doubted: Sequence[OutboxRow]) -> None:
        """Say again, under new identifiers, what Stripe has not counted."""
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as tx:
            for row in doubted:
                await replace_row(
                    tx,
                    row,
                    stripe_customer=row.stripe_customer,
                    now_ms=now_ms,
                    reason="not counted, according to Stripe's own total; sent again",
                )


def _span(pair: tuple[str, str], *, start_ms: int, end_ms: int) -> Span:
    event_name, stripe_customer = pair
    return Span(
        event_name=event_name,
        stripe_customer=stripe_customer,
        start_ms=start_ms,
        end_ms=end_ms,
    )


def _is_equal(theirs: Decimal, ours: int) -> bool:
    return abs(theirs - ours) <= max(Decimal("0.5"), abs(ours) * TOLERANCE)


def _verdict(theirs: Decimal, ours: int) -> Verdict:
    if _is_equal(theirs, ours):
        return "equal"
    return "missing" if theirs < ours else "extra"


def _is_final(known: Comparison | None, end_ms: int) -> bool:
    """Say whether a span was found equal, well after its end."""
    return (
        known is not None
        and known.verdict == "equal"
        and known.end_ms == end_ms
        and known.checked_ms > end_ms + FINAL_MS
    )


def _unmapped(rows: Sequence[OutboxRow]) -> list[ReconciledSeries]:
    """Return the series of customers who have no Stripe customer."""
    series: dict[tuple[str, str], list[OutboxRow]] = {}
    for row in rows:
        series.setdefault((row.customer, row.event_name), []).append(row)
    return [
        ReconciledSeries(
            customer=customer,
            stripe_customer=None,
            event_name=event_name,
            ours=(ours := sum(_hour_total(p) for p in _by_hour(found).values())),
            theirs=ZERO,
            waiting=sum(row.state in WAITING for row in found),
            unresolved=0,
            failed=sum(row.state in FAILED for row in found),
            verdict=_verdict(ZERO, ours),
        )
        for (customer, event_name), found in series.items()
    ]


def _by_hour(rows: Sequence[OutboxRow]) -> dict[int, list[OutboxRow]]:
    hours: dict[int, list[OutboxRow]] = {}
    for row in rows:
        hours.setdefault(row.hour_ms, []).append(row)
    return hours


def _hour_total(parts: Sequence[OutboxRow]) -> int:
    """Return what an hour's parts amount to at Stripe, when all of them count.

    Rows that are on their way are left out: Stripe need not have them.
    """
    sent = [row for row in parts if row.state not in ON_THE_WAY]
    if not sent:
        return 0
    last = max(sent, key=lambda row: row.part)
    return last.value if last.mode == "set" else sum(row.value for row in sent)


def _expected(rows: Sequence[OutboxRow], formula: str) -> int:
    """Return what Stripe should say about these rows."""
    hours = _by_hour(rows)
    told = [
        hour_ms
        for hour_ms in sorted(hours)
        if any(row.state not in ON_THE_WAY for row in hours[hour_ms])
    ]
    if formula == "last":
        return _hour_total(hours[told[-1]]) if told else 0
    return sum(_hour_total(hours[hour_ms]) for hour_ms in told)
