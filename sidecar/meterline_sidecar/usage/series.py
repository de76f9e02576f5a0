"""Usage over time: what charts show, in spans of 15 minutes, an hour or a day."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.decimals import Number, plus, total_of
from meterline_sidecar.meters import (
    AGGREGATIONS,
    SUMS,
    Meter,
    Total,
    Totals,
    quantity,
)
from meterline_sidecar.properties import NONE
from meterline_sidecar.store import rollups
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import UNGROUPED
from meterline_sidecar.usage.summed import total_of_many

POINTS_MAX: Final = 1_000
GROUPS_MAX: Final = 8  # shown by name; the rest is one group, "others"
OTHERS: Final = "others"
STEPS: Final = {"15m": 15 * MINUTE_MS, "1h": HOUR_MS, "1d": DAY_MS}

Row = tuple[int, str, Totals]


class Line(msgspec.Struct, frozen=True):
    """One line of a chart."""

    label: str
    """The group's value; the meter's name where there are no groups."""
    values: list[Number | None]
    """``None`` where nothing was used and that is no 0: a ``max`` of no value."""
    total: Number
    """What the line came to over the whole time: its highest value for a ``max``."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of a meter over time."""

    meter: str
    step_ms: int
    times_ms: list[int]
    """Where each span starts, without a hole."""
    lines: list[Line]
    total: Number
    """What the meter came to over the whole time."""

    def begun_by(self, now_ms: int) -> "Series":
        """Return the series without a value in spans that are still to come.

        But where usage is ahead of the clock: that is counted.
        """

        def said(line: Line) -> list[Number | None]:
            return [
                value if value or at_ms <= now_ms else None
                for at_ms, value in zip(self.times_ms, line.values, strict=True)
            ]

        lines = [msgspec.structs.replace(one, values=said(one)) for one in self.lines]
        return msgspec.structs.replace(self, lines=lines)


def step_for(span: Period) -> int:
    """Return the span of a chart's points, in milliseconds, that suits a time."""
    length_ms = span.end - span.start
    if length_ms <= 2 * DAY_MS:
        return 15 * MINUTE_MS
    return HOUR_MS if length_ms <= 14 * DAY_MS else DAY_MS


def aligned(span: Period, step_ms: int) -> Period:
    """Return the span widened to whole steps, cut to ``POINTS_MAX`` at its start."""
    end = -(-span.end // step_ms) * step_ms
    start = max(span.start // step_ms * step_ms, end - POINTS_MAX * step_ms)
    return Period(start, end, span.name)


async def read_series(
    tx: Tx,
    at: Counted,
    meter: Meter,
    span: Period,
    *,
    step_ms: int,
    customer: str | None = None,
    group_by: str | None = None,
) -> Series:
    """Return a meter's usage over ``span``, of one customer or of everybody.

    Distinct values of different times cannot be added up: each span of a ``unique``
    meter is counted by itself, of one customer only; of everybody its lines are empty.

    Args:
        at: of this snapshot; see ``counted``.
        span: whole steps; see ``aligned``.
        group_by: one of the meter's dimensions; a line for each of its values.
    """
    bounds = {"start": span.start, "end": span.end}
    rows: Iterable[Row]
    if AGGREGATIONS[meter.aggregation].is_distinct and customer is not None:
        spans = {ms: (ms, ms + step_ms) for ms in range(span.start, span.end, step_ms)}
        return await unique_series(
            tx, at, meter, spans, step_ms=step_ms, customer=customer, group_by=group_by
        )
    if customer is None:
        rows = await rollups.read_all(tx, at.generation, step_ms=step_ms, **bounds)
    elif step_ms == DAY_MS:
        days = await store.read_days(tx, at.generation, customer=customer, **bounds)
        rows = rows_of(meter, days, is_grouped=group_by is not None)
    else:
        rows = await store.read_windows(tx, at.generation, customer=customer, **bounds)
    return series_of(meter, rows, span, step_ms=step_ms, group_by=group_by)


def rows_of(meter: Meter, days: store.Days, *, is_grouped: bool) -> Iterator[Row]:
    """Yield a meter's part of days; of packed ones all groups as one, where that is asked.

    Args:
        is_grouped: whether groups are told apart; those of a meter that does not add
            up always are.
    """
    name, aggregation = meter.name, meter.aggregation
    for row in days.rows:
        yield row.window_ms, row.labels, row.totals
    is_one = AGGREGATIONS[aggregation].add is SUMS.add and not is_grouped
    for _, day_ms, block in days.packs:
        column = block.column(name)
        if column and is_one:
            yield day_ms, UNGROUPED, {name: total_of_many(aggregation, column)}
        elif column:
            for group_id, total in zip(block.ids(), column, strict=True):
                yield day_ms, days.labels[group_id], {name: total}


async def unique_series(
    tx: Tx,
    at: Counted,
    meter: Meter,
    spans: Mapping[int, tuple[int, int]],
    *,
    step_ms: int,
    customer: str,
    group_by: str | None = None,
) -> Series:
    """Return how many different values a customer used in each span, and in all.

    Args:
        spans: from where a span stands in the chart to its start and end; in order,
            one begins where the one before ends.
    """

    async def count(start: int, end: int) -> dict[str, int]:
        found = await store.count_unique(
            tx, at.generation, customer=customer, start=start, end=end
        )
        by_name: dict[str, int] = defaultdict(int)
        for name, labels, n_values in found:
            if name == meter.name:
                by_name[_name(meter, labels, group_by)] += n_values
        return by_name

    edges = [edge for span in spans.values() for edge in span]
    totals = await count(min(edges), max(edges))
    by_line: dict[str, dict[int, int]] = defaultdict(dict)
    for at_ms, (start, end) in spans.items():
        for name, n_values in (await count(start, end)).items():
            by_line[name][at_ms] = n_values
    return Series(
        meter=meter.name,
        step_ms=step_ms,
        times_ms=list(spans),
        lines=_lines(by_line, totals, list(spans), meter),
        total=sum(totals.values()),
    )


def series_of(
    meter: Meter,
    rows: Iterable[Row],
    span: Period,
    *,
    step_ms: int,
    group_by: str | None = None,
) -> Series:
    """Return rows of totals as a series; pure."""
    cells: dict[tuple[str, int], list[Total]] = defaultdict(list)
    for at_ms, labels, totals in rows:
        if (total := totals.get(meter.name)) is not None:
            cells[labels, at_ms // step_ms * step_ms].append(total)
    groups: dict[str, list[Total]] = defaultdict(list)
    by_line: dict[str, dict[int, Number]] = defaultdict(dict)
    names: dict[str, str] = {}
    for (labels, at_ms), parts in cells.items():
        total = total_of_many(meter.aggregation, parts)
        groups[labels].append(total)
        name = names.get(labels)
        if name is None:
            name = names[labels] = _name(meter, labels, group_by)
        line = by_line[name]
        line[at_ms] = plus(line.get(at_ms, 0), quantity(total))
    totals_by_line: dict[str, Number] = defaultdict(int)
    for labels, parts in groups.items():
        name, total = names[labels], total_of_many(meter.aggregation, parts)
        totals_by_line[name] = plus(totals_by_line[name], quantity(total))
    times_ms = list(range(span.start, span.end, step_ms))
    return Series(
        meter=meter.name,
        step_ms=step_ms,
        times_ms=times_ms,
        lines=_lines(by_line, totals_by_line, times_ms, meter),
        total=total_of(totals_by_line.values()),
    )


def _name(meter: Meter, labels: str, group_by: str | None) -> str:
    if group_by is None:
        return meter.name
    return msgspec.json.decode(labels, type=dict[str, str]).get(group_by, NONE)


def _lines(
    by_line: Mapping[str, Mapping[int, Number]],
    totals: Mapping[str, Number],
    times_ms: list[int],
    meter: Meter,
) -> list[Line]:
    """Return the lines, the largest first; what is beyond ``GROUPS_MAX`` as one."""
    ranked = sorted(by_line, key=lambda name: (-totals[name], name))
    shown, rest = ranked[:GROUPS_MAX], ranked[GROUPS_MAX:]
    unused = 0 if AGGREGATIONS[meter.aggregation].is_zero_unused else None
    lines = [
        Line(name, [by_line[name].get(at, unused) for at in times_ms], totals[name])
        for name in shown
    ]
    if rest:
        sums: dict[int, Number] = defaultdict(int)
        for name in rest:
            for at_ms, value in by_line[name].items():
                sums[at_ms] = plus(sums[at_ms], value)
        values = [sums.get(at, unused) for at in times_ms]
        lines.append(Line(OTHERS, values, total_of(totals[name] for name in rest)))
    return lines or [Line(meter.name, [unused] * len(times_ms), 0)]
