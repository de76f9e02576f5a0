"""Compares the ledger with Stripe's own totals, and settles what was in doubt."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from meterline_pricing import Calendar
from meterline_sidecar.clock import DAY_MS, HOUR_MS, Clock
from meterline_sidecar.decimals import Number, in_units, total_of
from meterline_sidecar.errors import RetryLater, StripeRefused
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
from meterline_sidecar.stripe.copy_guard import read_suspicion
from meterline_sidecar.stripe.expected import (
    by_hour,
    expected,
    hour_differences,
    hour_total,
    is_equal,
    verdict_on,
)
from meterline_sidecar.stripe.invoice_check import (
    ACCOUNT_STATUSES,
    FAILURES_IN_A_ROW_MAX,
)
from meterline_sidecar.stripe.replace import replace_row
from meterline_sidecar.stripe.settle import shorten
from meterline_sidecar.stripe.states import FAILED, WAITING
from meterline_sidecar.stripe.totals import (
    ZERO,
    MeterFacts,
    Span,
    StripeTotals,
)

SETTLE_MS: Final = HOUR_MS  # until Stripe's summaries are complete: nobody promises
FINAL_MS: Final = DAY_MS
"""What is equal this long after its end is not compared again by itself."""
HOURS_SHOWN: Final = 24
RETRY_S: Final = 60.0


class _Found(Struct, frozen=True):
    """What a comparison of one series came to."""

    span: Span
    ours: Number
    theirs: Decimal
    verdict: Verdict
    rows: Sequence[OutboxRow]

    @property
    def n_unresolved(self) -> int:
        return sum(row.state == "unresolved" for row in self.rows)


class Reconciler:
    """Reads Stripe's totals and compares them with the outbox.

    It holds for event names that nobody else reports: what another program sends
    shows as ``extra``. One read for each series and 100 hours with usage; what
    compares by itself reads a total, and those hours alone that it did not find equal
    before. Stripe grants at least 10,000 reads a month.
    """

    def __init__(
        self, database: Database, stripe: StripeCalls, *, clock: Clock
    ) -> None:
        self._database = database
        self._totals = StripeTotals(stripe)
        self._told_ms = 0
        """Until when another copy of this ledger may have told something."""
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
        spans = [_span(pair, start_ms=start_ms, end_ms=end_ms) for pair in pairs]
        return await self._compare_all(spans, {}) + _unmapped(unmapped)

    async def watch(self, *, start_ms: int, end_ms: int, series_max: int) -> int:
        """Compare series of a span: those in doubt, then those compared longest ago.

        Left out are those on which something is on its way, or was so recently that
        Stripe may not have added it up; and those that were equal well after its end.
        Returns how many were compared.

        Args:
            start_ms: the start of a month (UTC), so that what is found is kept.
        """
        async with self._database.reading() as tx:
            pairs = await reconciliation.series(tx, start_ms=start_ms, end_ms=end_ms)
            known = await reconciliation.kept(tx, start_ms=start_ms)
            doubted = await reconciliation.doubted(tx)
        checked = {pair: found.checked_ms for pair, found in known.items()}
        pairs.sort(key=lambda pair: (pair not in doubted, checked.get(pair, 0)))
        chosen: list[Span] = []
        for pair in pairs:
            span = _span(pair, start_ms=start_ms, end_ms=end_ms)
            is_open = not _is_final(known.get(pair), end_ms)
            if len(chosen) < series_max and is_open and await self._is_quiet(span):
                chosen.append(span)
        await self._compare_all(chosen, known)
        return len(chosen)

    async def _compare_all(
        self, spans: Sequence[Span], known: Mapping[tuple[str, str], Comparison]
    ) -> list[ReconciledSeries]:
        """Compare one series after the other; what one is refused is its own verdict.

        Args:
            known: what was found before; hours that were equal then are not read again.

        Raises:
            StripeRefused: the key may not read.
            RetryLater: Stripe cannot be asked now, whatever the series.
        """
        async with self._database.reading() as tx:
            suspicion = await read_suspicion(tx)
        self._told_ms = 0 if suspicion is None else suspicion.told_ms
        meters = await self._totals.meters() if spans else {}
        found: list[ReconciledSeries] = []
        n_failed = 0
        for span in spans:
            since_ms = _compared_until(
                known.get((span.event_name, span.stripe_customer))
            )
            try:
                line = await self._compare(
                    span, meters.get(span.event_name), since_ms=since_ms
                )
                n_failed = 0
            except StripeRefused as error:
                if error.status in ACCOUNT_STATUSES:
                    raise
                line = await self._refused(span, str(error))
            except RetryLater as error:
                n_failed += 1
                if n_failed == FAILURES_IN_A_ROW_MAX:
                    raise
                line = await self._refused(span, str(error))
            found.append(line)
        if n_failed == len(spans) > 0:
            raise RetryLater(found[-1].reason or "", after_s=RETRY_S)
        return found

    async def _refused(self, span: Span, reason: str) -> ReconciledSeries:
        """Return, and keep, the verdict on a series that Stripe says nothing about."""
        rows = await self._rows(span)
        found = _Found(span, expected(rows, "sum"), ZERO, "refused", rows)
        await self._keep(found)
        return self._line(found, reason=shorten(reason))

    async def _is_quiet(self, span: Span) -> bool:
        since_ms = self._clock.now_ms() - SETTLE_MS
        return all(
            row.state not in WAITING and (row.sent_ms or 0) <= since_ms
            for row in await self._rows(span)
        )

    async def _compare(
        self, span: Span, meter: MeterFacts | None, *, since_ms: int
    ) -> ReconciledSeries:
        rows = await self._rows(span)
        if meter is not None and any(row.state == "unresolved" for row in rows):
            await self._settle(span, meter, rows)
            rows = await self._rows(span)
        ours = expected(rows, "sum" if meter is None else meter.formula)
        theirs, hours = await self._read(span, meter, rows, since_ms=since_ms)
        is_same = is_equal(theirs, ours)
        is_in_doubt = any(row.state in WAITING and row.doubt_ms for row in rows)
        verdict: Verdict
        if any(row.state == "unresolved" for row in rows) or (
            is_in_doubt and (hours or not is_same)
        ):
            verdict = "unresolved"
        elif is_same and hours:
            verdict = "missing" if any(h.theirs < h.ours for h in hours) else "extra"
        else:
            verdict = verdict_on(theirs, ours)
        found = _Found(span, ours, theirs, verdict, rows)
        await self._keep(found)
        return self._line(found, hours=() if verdict == "equal" else tuple(hours))

    def _line(
        self,
        found: _Found,
        *,
        hours: tuple[HourDifference, ...] = (),
        reason: str | None = None,
    ) -> ReconciledSeries:
        rows = found.rows
        return ReconciledSeries(
            customer=rows[-1].customer,
            stripe_customer=found.span.stripe_customer,
            event_name=found.span.event_name,
            ours=found.ours,
            theirs=found.theirs,
            waiting=sum(row.state in WAITING for row in rows),
            unresolved=found.n_unresolved,
            failed=sum(row.state in FAILED for row in rows),
            verdict=found.verdict,
            reason=reason,
            is_fresh=not self._has_settled(rows),
            hours=hours[:HOURS_SHOWN],
        )

    async def _keep(self, found: _Found) -> None:
        span = found.span
        if Calendar().at(span.start_ms).start != span.start_ms:
            return
        ours, scale = in_units(found.ours)
        async with self._database.transaction() as tx:
            await reconciliation.save(
                tx,
                Comparison(
                    start_ms=span.start_ms,
                    end_ms=span.end_ms,
                    event_name=span.event_name,
                    stripe_customer=span.stripe_customer,
                    ours=ours,
                    scale=scale,
                    theirs=format(found.theirs, "f"),
                    unresolved=found.n_unresolved,
                    verdict=found.verdict,
                    checked_ms=self._clock.now_ms(),
                ),
            )

    async def _rows(self, span: Span) -> list[OutboxRow]:
        async with self._database.reading() as tx:
            return await reconciliation.rows_of(
                tx,
                span.event_name,
                span.stripe_customer,
                start_ms=span.start_ms,
                end_ms=span.end_ms,
            )

    async def _read(
        self,
        span: Span,
        meter: MeterFacts | None,
        rows: Sequence[OutboxRow],
        *,
        since_ms: int,
    ) -> tuple[Decimal, list[HourDifference]]:
        """Return Stripe's total, and the hours that differ.

        By the hour even where the totals are the same: what is lost in one hour and
        counted twice in another shows nowhere else. Hours before ``since_ms`` are read
        only if the totals differ.
        """
        if meter is None:
            return ZERO, []
        theirs = ZERO
        start_ms = max(span.start_ms, since_ms)
        if start_ms > span.start_ms:
            theirs = await self._totals.total(span, meter)
            if not is_equal(theirs, expected(rows, meter.formula)):
                start_ms = span.start_ms
        hours = await self._totals.hours(span, meter, start_ms, span.end_ms)
        if start_ms == span.start_ms:
            values = [hours[hour_ms] for hour_ms in sorted(hours)] or [ZERO]
            theirs = values[-1] if meter.formula == "last" else sum(values, ZERO)
        recent = [row for row in rows if row.hour_ms >= start_ms]
        return theirs, hour_differences(hours, recent)

    async def _settle(
        self, span: Span, meter: MeterFacts, rows: Sequence[OutboxRow]
    ) -> None:
        """Settle each hour in doubt whose total at Stripe leaves no doubt."""
        for hour_ms, parts in by_hour(rows).items():
            doubted = [row for row in parts if row.state == "unresolved"]
            if not doubted or not self._has_settled(parts):
                continue
            hours = await self._totals.hours(span, meter, hour_ms, hour_ms + HOUR_MS)
            theirs = hours.get(hour_ms, ZERO)
            known = [row for row in parts if row.state == "confirmed"]
            if is_equal(theirs, hour_total([*known, *doubted])):
                async with self._database.transaction() as tx:
                    await reconciliation.confirm(
                        tx,
                        [row.id for row in doubted],
                        reason="counted: Stripe's own total says so",
                        now_ms=self._clock.now_ms(),
                    )
            elif is_equal(theirs, hour_total(known)):
                await self._replace(doubted)

    def _has_settled(self, parts: Sequence[OutboxRow]) -> bool:
        """Say whether Stripe has had time to count what was sent last."""
        latest_ms = max(row.sent_ms or 0 for row in parts)
        if any(row.state == "unresolved" for row in parts):
            # What another copy told has a time of its own: no row here knows it.
            latest_ms = max(latest_ms, self._told_ms)
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


def _compared_until(known: Comparison | None) -> int:
    """Return up to when the hours of a series were equal and need not be read again.

    A day less: what is corrected within it is compared once more.
    """
    if known is None or known.verdict != "equal":
        return 0
    return known.end_ms - DAY_MS


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
            ours=(ours := total_of(map(hour_total, by_hour(found).values()))),
            theirs=ZERO,
            waiting=sum(row.state in WAITING for row in found),
            unresolved=0,
            failed=sum(row.state in FAILED for row in found),
            verdict=verdict_on(ZERO, ours),
        )
        for (customer, event_name), found in series.items()
    ]
