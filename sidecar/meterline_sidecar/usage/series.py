"""Usage over time: what charts show, in spans of 15 minutes, an hour or a day."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from meterline_pricing import Period
from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.meters import Meter, Totals, aggregations_of, merge, quantity
from meterline_sidecar.store import rollups
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted

POINTS_MAX: Final = 1_000
GROUPS_MAX: Final = 8  # shown by name; the rest is one group, "others"
OTHERS: Final = "others"
STEPS: Final = {"15m": 15 * MINUTE_MS, "1h": HOUR_MS, "1d": DAY_MS}

Row = tuple[int, str, Totals]


class Line(msgspec.Struct, frozen=True):
    """One line of a chart."""

    label: str
    """The group's value; the meter's name where there are no groups."""
    values: list[int]
    total: int
    """What the line came to over the whole time: its highest value for a ``max``."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of a meter over time."""

    meter: str
    step_ms: int
    times_ms: list[int]
    """Where each span starts; without a hole, an unused span has zeros."""
    lines: list[Line]
    total: int
    """What the meter came to over the whole time."""


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

    Distinct values of different times can not be added up: a ``unique`` meter has no
    series, and its lines are empty.

    Args:
        at: of this snapshot; see ``counted``.
        span: whole steps; see ``aligned``.
        group_by: one of the meter's dimensions; a line for each of its values.
    """
    bounds = {"start": span.start, "end": span.end}
    rows: Iterable[Row]
    if customer is None:
        rows = await rollups.read_all(tx, at.generation, step_ms=step_ms, **bounds)
    elif step_ms == DAY_MS:
        found = await store.read_usage(tx, at.generation, customer=customer, **bounds)
        rows = [(row.window_ms, row.labels, row.totals) for row in found]
    else:
        rows = await store.read_windows(tx, at.generation, customer=customer, **bounds)
    return series_of(meter, rows, span, step_ms=step_ms, group_by=group_by)


def series_of(
    meter: Meter,
    rows: Iterable[Row],
    span: Period,
    *,
    step_ms: int,
    group_by: str | None = None,
) -> Series:
    """Return rows of totals as a series; pure."""
    aggregations = aggregations_of([meter])
    cells: dict[tuple[str, int], Totals] = defaultdict(dict)
    for at_ms, labels, totals in rows:
        if (total := totals.get(meter.name)) is not None:
            cell = cells[labels, at_ms // step_ms * step_ms]
            merge(cell, more={meter.name: total}, aggregations=aggregations)
    groups: dict[str, Totals] = defaultdict(dict)
    by_line: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    names: dict[str, str] = {}
    for (labels, at_ms), cell in cells.items():
        merge(groups[labels], more=cell, aggregations=aggregations)
        name = names.get(labels)
        if name is None:
            name = names[labels] = _name(meter, labels, group_by)
        by_line[name][at_ms] += quantity(cell[meter.name])
    totals_by_line: dict[str, int] = defaultdict(int)
    for labels, group in groups.items():
        totals_by_line[names[labels]] += quantity(group[meter.name])
    times_ms = list(range(span.start, span.end, step_ms))
    return Series(
        meter=meter.name,
        step_ms=step_ms,
        times_ms=times_ms,
        lines=_lines(by_line, totals_by_line, times_ms, meter.name),
        total=sum(totals_by_line.values()),
    )


def _name(meter: Meter, labels: str, group_by: str | None) -> str:
    if group_by is None:
        return meter.name
    return msgspec.json.decode(labels, type=dict[str, str]).get(group_by, "none")


def _lines(
    by_line: dict[str, dict[int, int]],
    totals: dict[str, int],
    times_ms: list[int],
    meter_name: str,
) -> list[Line]:
    """Return the lines, the largest first; what is beyond ``GROUPS_MAX`` as one."""
    ranked = sorted(by_line, key=lambda name: (-sum(by_line[name].values()), name))
    shown, rest = ranked[:GROUPS_MAX], ranked[GROUPS_MAX:]
    lines = [
        Line(name, [by_line[name].get(at, 0) for at in times_ms], totals[name])
        for name in shown
    ]
    if rest:
        values = [sum(by_line[name].get(at, 0) for name in rest) for at in times_ms]
        lines.append(Line(OTHERS, values, sum(totals[name] for name in rest)))
    return lines or [Line(meter_name, [0] * len(times_ms), 0)]
