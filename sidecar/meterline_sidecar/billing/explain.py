"""From a line of an invoice down to what it was counted from.

A line says which meter, and by which tiers it was priced. Behind it stand the days and
the subjects of which its quantity is the sum, and behind these the raw events. All of it
is read in one snapshot. Of a final invoice the quantity is what was billed; what is
counted now may be more or less, which is an adjustment elsewhere.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from meterline_pricing import Line, Period
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import Number, total_of
from meterline_sidecar.meters import (
    AGGREGATIONS,
    Meter,
    Totals,
    aggregations_of,
    quantity,
)
from meterline_sidecar.store import subjects as subject_store
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.packed_days import Block, Packed
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.usage import UsageRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.days import Day
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.summed import by_group

SUBJECTS_MAX: Final = 50
DAYS_PER_READ: Final = 5
"""A busy month has 60,000 windows: between reads of some days others are answered."""
NOTHING: Final = store.Days([], [], {})


class OnDay(NamedTuple):
    """What was used on one day of the customer's calendar."""

    day: date
    start: int
    """Where it begins within the line's time, in UTC milliseconds."""
    end: int
    quantity: Number


class OfSubject(NamedTuple):
    """What one subject used."""

    subject: str
    quantity: Number


class InWindow(NamedTuple):
    """What was used in one window of a day."""

    window_ms: int
    quantity: Number


class Behind(NamedTuple):
    """What stands behind a line."""

    line: Line
    meter: Meter | None
    """As it measured at the end of the period; ``None`` for fees, taxes and the like."""
    counted: Number | None
    """What the meter comes to now."""
    days: tuple[OnDay, ...]
    """Only those on which something was used; none where days do not add up."""
    subjects: tuple[OfSubject, ...]
    """Those that used most, first."""
    n_subjects: int
    windows: tuple[InWindow, ...] = ()
    """Those of the day that was asked for."""


async def behind(
    tx: Tx,
    at: Counted,
    terms: Terms,
    customer: Customer,
    period: Period,
    lines: Sequence[Line],
    *,
    day: Period | None = None,
) -> list[Behind]:
    """Return what stands behind lines of an invoice, each for the time that it is for.

    Args:
        at: of this snapshot; see ``counted``.
        day: whose windows are asked for.
    """
    counting: dict[tuple[int, int], set[str]] = defaultdict(set)
    for line in lines:
        if line.meter is not None:
            span = line.span or period
            counting[span.start, span.end].add(line.meter)
    found: dict[tuple[int, int], _InSpan] = {}
    for (start, end), names in counting.items():
        known = (terms.meter(name, end - 1) for name in sorted(names))
        meters = {meter.name: meter for meter in known if meter is not None}
        span = Period(start, end)
        days = CustomerCalendar.of(terms, customer.id).within(start, end)
        found[start, end] = await _in_span(tx, at, customer, span, days, meters, day)
    behind_lines: list[Behind] = []
    for line in lines:
        span = line.span or period
        used = found.get((span.start, span.end))
        behind_lines.append(_behind_line(line, used))
    return behind_lines


class _InSpan(NamedTuple):
    """What was used in a span of time, by meter and by what it is added up under."""

    meters: dict[str, Meter]
    days: Sequence[Day]
    whole: dict[str, dict[int, Number]]
    by_day: dict[str, dict[int, Number]]
    """Of days, by their place among them."""
    subjects: dict[str, dict[int, Number]]
    """By the ids of subjects."""
    windows: dict[str, dict[int, Number]]
    names: Mapping[int, str]
    """Of subjects."""


async def _in_span(
    tx: Tx,
    at: Counted,
    customer: Customer,
    span: Period,
    days: Sequence[Day],
    meters: dict[str, Meter],
    day: Period | None,
) -> _InSpan:
    used = NOTHING
    if meters:
        used = await store.read_days(
            tx, at.generation, customer=customer.id, start=span.start, end=span.end
        )
    subjects = _added(meters, used, lambda subject_id, _at_ms: subject_id)
    ids = {key for known in subjects.values() for key in known}
    return _InSpan(
        meters,
        days,
        whole=_added(meters, used, lambda _subject_id, _at_ms: 0),
        by_day=await _by_day(tx, at, customer, days, meters, used),
        subjects=subjects,
        windows=await _windows(tx, at, customer, _both(span, day), meters),
        names=await subject_store.names_of(tx, sorted(ids)) if ids else {},
    )


async def _by_day(
    tx: Tx,
    at: Counted,
    customer: Customer,
    days: Sequence[Day],
    meters: Mapping[str, Meter],
    used: store.Days,
) -> dict[str, dict[int, Number]]:
    """Return what was used on days, by their place among them.

    Args:
        used: of the whole span, by days in UTC: enough where those are the customer's.
    """
    starts = [day.start for day in days]

    def day_of(_subject_id: int, at_ms: int) -> int:
        return max(bisect_right(starts, at_ms) - 1, 0)

    if all(start % DAY_MS == 0 for start in starts[1:]):
        return _added(meters, used, day_of)
    found: dict[str, dict[int, Number]] = {name: {} for name in meters}
    for first in range(0, len(days), DAYS_PER_READ):
        spans = [(day.start, day.end) for day in days[first : first + DAYS_PER_READ]]
        some = await store.read_spans(
            tx, at.generation, customer=customer.id, spans=spans
        )
        for name, known in _added(meters, some, day_of).items():
            found[name] |= known
    return found


def _both(span: Period, day: Period | None) -> Period | None:
    """Return what two spans have in common; ``None`` for nothing."""
    if day is None:
        return None
    start, end = max(span.start, day.start), min(span.end, day.end)
    return Period(start, end) if start < end else None


def _behind_line(line: Line, used: _InSpan | None) -> Behind:
    meter = None if used is None else used.meters.get(line.meter or "")
    if used is None or meter is None:
        return Behind(line, None, None, (), (), 0)
    is_distinct = AGGREGATIONS[meter.aggregation].is_distinct
    users = _most_first(used.subjects[meter.name], used.names)
    return Behind(
        line,
        meter,
        None if is_distinct else used.whole[meter.name].get(0, 0),
        tuple(
            OnDay(*used.days[i], quantity)
            for i, quantity in sorted(used.by_day[meter.name].items())
        ),
        tuple(users[:SUBJECTS_MAX]),
        len(users),
        tuple(InWindow(*one) for one in sorted(used.windows[meter.name].items())),
    )


def _most_first(
    quantities: Mapping[int, Number], names: Mapping[int, str]
) -> list[OfSubject]:
    users = (OfSubject(names.get(i, ""), used) for i, used in quantities.items())
    return sorted(users, key=lambda one: (-one.quantity, one.subject))


async def _windows(
    tx: Tx,
    at: Counted,
    customer: Customer,
    day: Period | None,
    meters: Mapping[str, Meter],
) -> dict[str, dict[int, Number]]:
    if day is None:
        return {name: {} for name in meters}
    rows = await store.read_windows(
        tx, at.generation, customer=customer.id, start=day.start, end=day.end
    )
    # Whose it is makes no difference in a window.
    windows = [UsageRow(0, *row) for row in rows]
    return _added(
        meters, NOTHING._replace(rows=windows), lambda _subject_id, at_ms: at_ms
    )


def _added(
    meters: Mapping[str, Meter], used: store.Days, key_of: Callable[[int, int], int]
) -> dict[str, dict[int, Number]]:
    """Add usage up under keys, per meter: as a whole period is added up.

    Args:
        key_of: returns the key of a subject and a time.
    """
    aggregations = aggregations_of(meters.values())
    rows: dict[int, list[tuple[str, list[Totals]]]] = defaultdict(list)
    for subject_id, at_ms, labels, totals in used.rows:
        rows[key_of(subject_id, at_ms)].append((labels, [totals]))
    blocks: dict[int, list[Block]] = defaultdict(list)
    for subject_id, at_ms, block in used.packs:
        blocks[key_of(subject_id, at_ms)].append(block)
    found: dict[str, dict[int, Number]] = {name: {} for name in meters}
    for key in rows.keys() | blocks.keys():
        packed = Packed(blocks.get(key, []), used.labels)
        groups = by_group(aggregations, store.Sums(rows.get(key, []), packed))
        for name, totals in groups.items():
            found[name][key] = total_of([quantity(total) for total in totals.values()])
    return found
