"""What a customer used day by day, on their own calendar."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import msgspec

from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import AGGREGATIONS, Meter
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.day_parts import Span
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.series import (
    Row,
    Series,
    rows_of,
    series_of,
    unique_series,
)
from meterline_sidecar.web.parts import Parts


class DayUsage(msgspec.Struct, frozen=True):
    """Usage on one day of the customer's calendar."""

    date: str
    quantity: Number | None
    """``None`` on a day without a value, where that is no 0."""


def days_of(series: Series, today: date = date.max) -> tuple[DayUsage, ...]:
    """Return a meter's usage day by day, without days that are still to come.

    But where usage is ahead of the clock: that is counted.

    Args:
        series: as ``read_daily`` has it.
        today: the customer's; a period that is over needs none.
    """
    values = zip(series.times_ms, series.lines[0].values, strict=True)
    days = [
        (datetime.fromtimestamp(at // 1000, UTC).date(), value) for at, value in values
    ]
    return tuple(
        DayUsage(day.isoformat(), value) for day, value in days if value or day <= today
    )


def today_of(parts: Parts, customer: Customer) -> date:
    """Return which day it is on a customer's calendar."""
    calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
    return calendar.day(parts.clock.now_ms())


async def read_daily(
    parts: Parts,
    tx: Tx,
    at: Counted,
    customer: Customer,
    period: Period,
    *,
    meters: Iterable[Meter] | None = None,
) -> dict[str, Series]:
    """Return each meter's usage by day of the customer's own calendar.

    Each day stands at its midnight in UTC, wherever it began for the customer: charts
    then show its date. Days that are still to come have no value.

    Args:
        meters: only these.
    """
    calendar = CustomerCalendar.of(parts.terms.terms, customer.id)
    shown_days = calendar.within(period.start, period.end)
    spans = [(day.start, day.end) for day in shown_days]
    starts = [start for start, _ in spans]
    midnights = [_midnight_ms(day.date) for day in shown_days]
    found = await _days(tx, at, customer, spans)

    def placed(meter: Meter) -> Iterable[Row]:
        for at_ms, labels, totals in rows_of(meter, found, is_grouped=False):
            if at_ms >= starts[0]:
                yield midnights[bisect_right(starts, at_ms) - 1], labels, totals

    shown = Period(midnights[0], midnights[-1] + DAY_MS, period.name)
    days = dict(zip(midnights, spans, strict=True))
    today_ms = _midnight_ms(today_of(parts, customer))
    found_by_meter: dict[str, Series] = {}
    for meter in parts.meters if meters is None else meters:
        if AGGREGATIONS[meter.aggregation].is_distinct:
            series = await unique_series(
                tx, at, meter, days, step_ms=DAY_MS, customer=customer.id
            )
        else:
            series = series_of(meter, placed(meter), shown, step_ms=DAY_MS)
        found_by_meter[meter.name] = series.begun_by(today_ms)
    return found_by_meter


async def _days(
    tx: Tx, at: Counted, customer: Customer, spans: Sequence[Span]
) -> store.Days:
    """Return what a customer used on days; nothing that it comes in is of two of them."""
    if any(start % DAY_MS for start, _ in spans):
        return await store.read_spans(
            tx, at.generation, customer=customer.id, spans=spans
        )
    start, end = spans[0][0], spans[-1][1]
    return await store.read_days(
        tx, at.generation, customer=customer.id, start=start, end=end
    )


def _midnight_ms(day: date) -> int:
    """Return when a day begins in UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
